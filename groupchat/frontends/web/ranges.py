"""The Range header: which bytes of a file a client asks for. RFC 9110, section 14. Pure."""

from __future__ import annotations

import re

from groupchat.core.limits import MAX_SIZE
from groupchat.core.numbers import whole

_RANGE = re.compile(r"([0-9]*)-([0-9]*)")


def requested(header: str | None, size: int) -> range | None:
    """Return the bytes of a file of this size that a Range asks for; an empty range if the file has none of these.

    None means all bytes: there is no Range, it is malformed, has another unit, or several ranges.
    """
    unit, _, ranges = (header or "").partition("=")
    asked = [one.strip(" \t") for one in ranges.split(",")]
    match = _RANGE.fullmatch("".join(asked)) if sum(map(bool, asked)) == 1 else None
    if match is None or unit.lower() != "bytes" or match[0] == "-":
        return None
    if not match[1]:
        last = _number(match[2])
        return range(max(0, size - last), size) if size or not last else None
    first, end = _number(match[1]), _number(match[2]) + 1 if match[2] else MAX_SIZE + 1
    return range(first, max(first, min(size, end))) if first < end else None


def _number(digits: str) -> int:
    """Return a number, or MAX_SIZE if it is larger than any file."""
    found = whole(digits.lstrip("0") or "0")
    return MAX_SIZE if found is None else min(found, MAX_SIZE)
