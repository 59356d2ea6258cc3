"""What is checked before `twistd` forks. After the fork, the reason of a failure would reach only the log.

Two rules. A check does what the daemon is going to do: in its directory, and as its user. And a problem is one line,
which names the option.
"""

from __future__ import annotations

import errno
import json
import os
import pwd
import socket
import stat
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from twisted.python.util import switchUID

from groupchat.core.errors import CannotStart, GroupchatError

EXPIRES_SOON = timedelta(days=14)
"""The validity that is left to a certificate when the log begins to warn."""


def rehearse(twistd: Mapping[str, Any], check: Callable[[], Iterable[str]]) -> list[str]:
    """Call `check` in a child process that has the root, the directory and the user of the daemon. Raise CannotStart.

    Return the warnings that `check` yields. `twistd` has the options of twistd.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            with open(writing, "w") as report:
                json.dump(_outcome(twistd, check), report)
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading) as report:
        outcome = report.read()
    os.waitpid(child, 0)
    problem, found = json.loads(outcome or '["the checks before the start were killed", []]')
    if problem:
        raise CannotStart(problem)
    return list(found)


def _outcome(twistd: Mapping[str, Any], check: Callable[[], Iterable[str]]) -> tuple[str, list[str]]:
    """Return what is wrong, and the warnings."""
    try:
        _become_the_daemon(twistd)
        return "", list(check())
    except GroupchatError as why:
        return str(why), []
    except ImportError as why:
        return f"the user of the daemon cannot read its modules: {why}", []
    except BaseException as why:
        return f"the checks before the start failed: {type(why).__name__}: {why}", []


def _become_the_daemon(twistd: Mapping[str, Any]) -> None:
    """Do what twistd does after the fork. Raise CannotStart."""
    rundir, root, umask = twistd["rundir"], twistd["chroot"], twistd["umask"]
    if root is not None:
        with _named("--chroot", root):
            os.chroot(root)
        rundir = "/" if rundir == "." else rundir
    with _named("--rundir", rundir):
        os.chdir(rundir)
    if umask is not None or not twistd["nodaemon"]:
        os.umask(0o077 if umask is None else umask)
    if twistd["pidfile"]:
        with _named("--pidfile", twistd["pidfile"]):
            check_writable(twistd["pidfile"])
    uid, gid = twistd["uid"], twistd["gid"]
    warnings.simplefilter("ignore")  # that the user does not change
    with _named("--uid" if gid is None else "--uid and --gid", f"{uid}" if gid is None else f"{uid}, {gid}"):
        try:
            gid = pwd.getpwuid(uid).pw_gid if uid is not None and gid is None else gid
            switchUID(uid, gid, twistd["euid"])
        except KeyError:
            raise OSError(errno.ENOENT, "There is no such user") from None


@contextmanager
def _named(option: str, value: str) -> Iterator[None]:
    """Turn an OSError into a CannotStart that names an option and its value."""
    try:
        yield
    except OSError as error:
        raise CannotStart(f"{option} {value}: {error.strerror or error}.") from error


def check_writable(path: str | Path) -> None:
    """Raise OSError unless a file can be written, or made. If it is not there, it is not made."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC))
    except FileNotFoundError:
        tempfile.TemporaryFile(dir=os.path.dirname(path) or ".").close()


class Ports(ExitStack):
    """Stands in for the reactor of an endpoint, which fails to listen if the port is not available: OSError.

    The ports are held until `close`, so that two options cannot name the same one.
    """

    def __init__(self, directory: str | None, passed: Collection[int] = ()) -> None:
        """`directory` is where the daemon will run; None if that cannot be seen from here.

        Ports for which sockets were `passed` are available.
        """
        super().__init__()
        self._passed = passed
        self._directory = directory
        self.expiries: list[datetime] = []
        """When the certificates of the endpoints for TLS expire."""

    def hold(self, listening: socket.socket) -> None:
        self.enter_context(closing(listening))

    def listenTCP(self, port: int, factory: object, backlog: int = 50, interface: str = "") -> None:
        if port in self._passed:
            return
        listening = socket.socket(socket.AF_INET6 if ":" in interface else socket.AF_INET)
        self.hold(listening)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((interface, port))
        listening.listen(backlog)

    def listenSSL(
        self, port: int, factory: object, contextFactory: Any, backlog: int = 50, interface: str = ""
    ) -> None:
        contextFactory.getContext()
        self.expiries.append(contextFactory.certificate.to_cryptography().not_valid_after_utc)
        self.listenTCP(port, factory, backlog, interface)

    def listenUNIX(
        self, address: str, factory: object, backlog: int = 50, mode: int = 0o666, wantPID: bool = False
    ) -> None:
        if self._directory is None:
            return
        path = os.path.join(self._directory, address)
        with closing(socket.socket(socket.AF_UNIX)) as probe:
            if not os.path.lexists(f"{path}.lock"):
                probe.bind(path)
                os.unlink(path)
            elif not probe.connect_ex(path):  # if nobody answers, Twisted removes it: its owner was killed
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def expiry(what: str, until: datetime) -> Iterator[str]:
    """Yield a warning if a certificate has expired, or will soon."""
    now = datetime.now(UTC)
    if until - now < EXPIRES_SOON:
        yield f"{what} {'expired' if until < now else 'expires'} on {until:%Y-%m-%d}: replace it, and restart"


def exposure(what: str, path: Path, shared: Path | None) -> Iterator[str]:
    """Yield a warning if every user of this machine can read a file, or every member, as it is in a shared folder."""
    with suppress(OSError):
        whole = path.resolve()
        if shared is not None and whole.parent == shared.resolve() and not whole.name.startswith("."):
            yield f"Every member can fetch {what}, {path}: choose another directory for --files"
        if whole.stat().st_mode & stat.S_IROTH and all(
            parent.stat().st_mode & stat.S_IXOTH for parent in whole.parents
        ):
            yield f"Every user of this machine can read {what}, {path}: chmod o-r {path}"
