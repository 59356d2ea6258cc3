"""What the daemon will open, checked before the fork: its files, and who else can read them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from groupchat.control import check_usable
from groupchat.core.errors import CannotOpen
from groupchat.daemon.options import Options
from groupchat.daemon.settings import certificate_path, control_path
from groupchat.daemon.startup import expiry, exposure
from groupchat.files.disk import Disk
from groupchat.log.database import Database
from groupchat.log.place import check_rescued


def check_files(options: Options, log_path: Path | None) -> Iterator[str]:
    """Check what the daemon will open: in its directory, and as its user. Yield warnings; raise GroupchatError."""
    shared = None if options["files"] is None else Path(options["files"])
    if options["db"] != ":memory:":
        path = Path(options["db"])
        _check_database(path, options["durability"].upper())
        yield from exposure("the group", path, shared)
    control = control_path(options)
    if control is not None:
        check_usable(control, options["control-group"] or "")
    kept = certificate_path(options)
    if options["quic"] and options["certificate"] is None and kept is not None and os.path.exists(kept):
        from groupchat.quic.certificate import load

        yield from expiry(f"The certificate {kept}", load(kept).expires)
        yield from exposure("the key for QUIC", kept, shared)
    if shared is not None:
        Disk(shared).close()
    if log_path is not None and os.path.exists(log_path):
        yield from exposure("the log", log_path, shared)
        if not os.access(log_path, os.W_OK, effective_ids=True):
            yield f"The user of the daemon may not write to {log_path}: it cannot be reopened after a rotation"


def _check_database(path: Path, synchronous: str) -> None:
    """Open the file of the group; if there is none, make one of that name in a directory that is removed again."""
    check_rescued(path)
    if os.path.exists(path):
        Database(path, synchronous).close()
        return
    if not os.path.isdir(path.parent):
        raise CannotOpen(f"cannot make {path}: {path.parent} is not a directory.")
    try:
        with TemporaryDirectory(prefix=".", dir=path.parent) as directory:
            Database(Path(directory, path.name)).close()
    except OSError as error:
        raise CannotOpen(f"cannot make {path}: {error.strerror}.") from error
    except CannotOpen as error:  # which names the file in that directory
        why = error.__cause__
        raise CannotOpen(f"cannot make {path}: {getattr(why, 'strerror', None) or why}.") from error


def exposures(options: Options, rundir: str) -> Iterator[str]:
    """Yield a warning for each secret file that is read before the fork and that others can read."""
    secrets = [
        ("the password", options["password-file"]),
        ("the passwords of operators", options["operator-file"]),
        ("the key for QUIC", options["certificate"]),
    ]
    for where in (*options["tcp"], *options["web"]):
        secrets += [("the key for TLS", key) for key in re.findall(r":privateKey=((?:[^:\\]|\\.)*)", where)]
    shared = None if options["files"] is None else Path(rundir, options["files"])
    for what, path in secrets:
        if path is not None:
            yield from exposure(what, Path(path), shared)
