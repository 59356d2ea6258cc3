"""The file that the daemon logs to, or what stands in for it."""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from twisted.logger import ILogObserver

from groupchat.core.errors import CannotStart
from groupchat.daemon.observers import observer_for
from groupchat.daemon.options import Options


class LogFile:
    """A file to which lines are appended. It may be truncated at any time, or renamed before `reopen`.

    Raises OSError if it cannot be opened. `owner` (a user and a group) is given the file if it is made.
    """

    def __init__(self, path: Path, owner: tuple[int, int] | None = None) -> None:
        self.path = path.absolute()
        is_new = not self.path.exists()
        self.file = self._opened()
        if is_new and owner is not None:
            os.fchown(self.file.fileno(), *owner)

    def _opened(self) -> TextIO:
        """Open the file. If it is made, only its owner can read it."""

        def without_waiting(path: str, flags: int) -> int:
            handle = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o600)  # of a pipe
            os.set_blocking(handle, True)
            return handle

        return open(self.path, "a", encoding="utf-8", errors="backslashreplace", opener=without_waiting)

    def reopen(self) -> None:
        """Go on in the file that has this path now. Raises OSError, and goes on in the old one then."""
        with self._opened() as new:
            os.dup2(new.fileno(), self.file.fileno(), inheritable=False)


def log_path(twistd: Mapping[str, Any]) -> Path | None:
    """Return the file to log to, as twistd has it; None if it logs otherwise."""
    name = twistd["logfile"] or ("" if twistd["nodaemon"] else "twistd.log")
    return Path(name).absolute() if name not in ("", "-") and not twistd["syslog"] and not twistd["logger"] else None


def open_log_file(twistd: Mapping[str, Any]) -> LogFile | None:
    path, uid, gid = log_path(twistd), twistd["uid"], twistd["gid"]
    if path is None:
        return None
    owner = -1 if uid is None else uid, pwd.getpwuid(uid).pw_gid if gid is None and uid is not None else gid or -1
    try:
        return LogFile(path, owner)
    except OSError as error:
        raise CannotStart(f"--logfile {path}: {error.strerror or error}.") from error


def observer_of(options: Options, log_file: LogFile | None) -> ILogObserver | None:
    """Return what writes the log; None if twistd was told to log elsewhere. Raise CannotStart."""
    twistd: Any = options.parent
    if twistd["syslog"] or twistd["logger"]:
        if options["log-json"]:
            raise CannotStart("--log-json is for a log file, or standard output: not with --syslog or --logger.")
        return None
    return observer_for(sys.stdout if log_file is None else log_file.file, as_json=bool(options["log-json"]))
