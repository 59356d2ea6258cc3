"""The -wal of a file that was not closed. See https://sqlite.org/fileformat.html#the_write_ahead_log

SQLite reads it up to the first page whose checksum is wrong, and takes that for the place where a loss of power cut it
off. If more than two commits follow, it is damage: with synchronous=FULL, a commit is on the disk before the next one
is written. Behind one that was cut off may be what an earlier loss of power left of another.
"""

from __future__ import annotations

import sys
from array import array
from pathlib import Path

CUT_OFF = 2
"""Commits that may be behind the place where a loss of power cut a -wal off."""

_HEADER, _FRAME_HEADER = 32, 24
_PAGE_SIZES = [1 << power for power in range(9, 17)]
_BIG_ENDIAN = 0x377F0683
_MAGIC = (0x377F0682, _BIG_ENDIAN)
"""A -wal begins with one of these, which tells the byte order of the numbers that checksums are made of."""

_Sum = tuple[int, int]


def lost_commits(path: Path) -> int:
    """Return how many commits in a -wal are lost by damage: 0 if there are none, or there is no such file."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return 0
    with file:
        header = file.read(_HEADER)
        magic, page_size = _number(header, 0), _number(header, 8)
        little = magic != _BIG_ENDIAN
        total = _add((0, 0), header[:24], little)
        sound = magic in _MAGIC and total == (_number(header, 24), _number(header, 28))
        if page_size not in _PAGE_SIZES:
            page_size = 4096  # the number is damaged
        salts = header[16:24] if sound else b""
        lost = 0
        while len(head := file.read(_FRAME_HEADER)) == _FRAME_HEADER:
            salts = salts or head[8:16]
            page = file.read(page_size)
            if sound and head[8:16] == salts:
                total = _add(_add(total, head[:8], little), page, little)
                sound = total == (_number(head, 16), _number(head, 20))
            else:
                sound = False
            lost += not sound and head[8:16] == salts and head[4:8] != bytes(4)
    return lost if lost > CUT_OFF else 0


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")


def _add(total: _Sum, data: bytes, little: bool) -> _Sum:
    """Continue a checksum."""
    first, second = total
    numbers = array("I", data[: len(data) // 8 * 8])
    if little != (sys.byteorder == "little"):
        numbers.byteswap()
    pairs = iter(numbers)
    for one, two in zip(pairs, pairs, strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + two + first) & 0xFFFFFFFF
    return first, second
