"""The file that the daemon logs to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TextIO


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
