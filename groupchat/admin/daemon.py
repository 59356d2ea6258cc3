"""Asks the daemon of a group over its control socket; without a daemon, does the same on the file.

Whichever answers, a request is the same: see control/server.py for its form.
"""

from __future__ import annotations

import json
import os
import pwd
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from groupchat.control.requests import Daemon, ask
from groupchat.control.server import VERSION
from groupchat.core.errors import GroupchatError, IllegalMessage
from groupchat.core.limits import Settings
from groupchat.log.sqlite import SqliteLog
from groupchat.service.audit import Audit, path_of
from groupchat.service.group_service import GroupService

Item = Mapping[str, Any]
Says = Callable[[str], None]

EVERYTHING = Settings(keep=1_000_000_000, keep_days=0, idle=0, hold=1_000_000_000, release=0)
"""Nothing is forgotten, and nobody leaves, for being old: only the daemon knows what its options say of that."""

SECONDS = 10.0
"""The longest time for which the daemon says nothing."""

LATER = ("erase", "log")
"""What may take longer."""


class NotDone(GroupchatError):
    """The daemon refused, or could not be asked. The text says why, in a sentence."""


class NoDaemon(GroupchatError):
    """No daemon listens on the socket."""


def control_of(log: Path) -> Path:
    """Return the path of the control socket of a log."""
    return log.with_name(f"{log.name}.control")


def audit_of(log: Path) -> Audit:
    """Return the audit trail of a log."""
    return Audit(path_of(log))


def asked(
    control: Path | None, log: Path, request: Mapping[str, Any], says: Says = lambda which: None
) -> Iterator[Item]:
    """Ask the daemon or, if none runs, the file. Yield what was answered. Raise NotDone, or LogError.

    `says` is told which of the two it is. Without a file, `control` is the only way.
    """
    path = control or control_of(log)
    try:
        connection = _connected(path)
    except NoDaemon as why:
        if control is not None or request["do"] in ("stop", "reload") or request.get("follow"):
            raise NotDone(f"No daemon listens on {path}.") from why
        if not log.exists():
            raise NotDone(f"No daemon listens on {path}, and there is no file {log}.") from why
        says(f"no daemon runs; {log} itself is used")
        yield from on_file(log, request, says)
    else:
        says(f"the daemon is asked, over {path}")
        yield from _over_socket(connection, request)


def _connected(path: Path) -> socket.socket:
    """Return a connection to the daemon. Raise NoDaemon, or NotDone."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(SECONDS)
        connection.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        raise NoDaemon from None
    except OSError as why:
        connection.close()
        raise NotDone(f"{path} cannot be used: {why.strerror or why}.") from why
    return connection


def _over_socket(connection: socket.socket, request: Mapping[str, Any]) -> Iterator[Item]:
    with closing(connection), connection.makefile("rb") as answers:
        if request["do"] in LATER:
            connection.settimeout(None)
        try:
            with suppress(BrokenPipeError):  # the daemon has said why before it closed
                connection.sendall(json.dumps({"version": VERSION, **request}).encode() + b"\n")
            for line in answers:
                answer = json.loads(line)
                if "error" in answer:
                    raise NotDone(answer["error"])
                if "done" in answer:
                    return
                yield answer["item"]
        except (OSError, ValueError) as why:
            raise NotDone(f"The daemon does not answer: {why}.") from why
    raise NotDone("The daemon ended before it had answered.")


def on_file(path: Path, request: Mapping[str, Any], says: Says) -> list[Item]:
    """Do what a request asks for on the file of a group that no daemon uses. Raise NotDone, or LogError."""
    from twisted.internet import reactor as the_reactor
    from twisted.internet.defer import Deferred, ensureDeferred, succeed

    reactor: Any = the_reactor

    found: list[Item] = []
    failed: list[BaseException] = []

    def left(name: str) -> Deferred[None]:
        says(
            f"the line of the shared file {name} is erased. Remove the file yourself: only the daemon knows where it is"
        )
        return succeed(None)

    async def run() -> None:
        audit = Audit(path_of(path))
        log = SqliteLog(path, reactor)
        service = GroupService(EVERYTHING, log, reactor, lambda: None, audit)
        service.eraser.remove_file = left
        try:
            await service.startService()
            daemon = Daemon(service, audit, reactor, dict, lambda: None, None)
            async for item in ask(daemon, dict(request), user()):
                found.append(item)
            await service.eraser.done()
        except Exception as why:
            failed.append(why)
        await service.stopService()

    def begin() -> None:
        ensureDeferred(run()).addBoth(lambda _: reactor.stop())

    _become_owner(path)
    reactor.callWhenRunning(begin)
    reactor.run(installSignalHandlers=False)
    for why in failed:
        raise NotDone(str(why)) if isinstance(why, IllegalMessage) else why
    return found


def _become_owner(path: Path) -> None:
    """If this is root, work as the owner of the file: what is made beside it has to be the daemon's."""
    if os.geteuid() == 0:
        status = path.stat()
        os.setegid(status.st_gid)
        os.seteuid(status.st_uid)


def user() -> str:
    """Return the name of the user."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
