"""The small file beside a log with the highest number that a line was given: FILE.highest.

It stays where it is when the log is replaced by a copy that was made earlier, so that the numbers can go on above it.
It is one line: the number, and its CRC-32 in hex. A loss of power leaves the old file or the new one.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from zlib import crc32

from groupchat.core.errors import Damaged, Unavailable
from groupchat.core.numbering import LARGEST
from groupchat.core.numbers import whole

_MOST = 64
"""The file is shorter than this, in bytes."""


def beside(log: Path) -> Path:
    return log.with_name(f"{log.name}.highest")


def save(log: Path, number: int) -> None:
    """Write the number for a log. Raise Unavailable if that is not possible now."""
    path = beside(log)
    part = path.with_name(f"{path.name}.part")
    try:
        part.unlink(missing_ok=True)
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(_line(number))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise Unavailable(f"{path} cannot be written: {error.strerror}") from error


def load(log: Path) -> int:
    """Return the number for a log, 0 if there is none. Raise Damaged if it cannot be told."""
    path = beside(log)
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            found = file.read(_MOST)
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise Damaged(f"{path} cannot be read: {error.strerror}") from error
    number = whole(found.partition(b" ")[0].decode("latin-1"))
    if number is None or number > LARGEST or found != _line(number):
        raise Damaged(f"{path} is damaged")
    return number


def _line(number: int) -> bytes:
    digits = b"%d" % number
    return b"%b %08x\n" % (digits, crc32(digits))
