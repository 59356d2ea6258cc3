"""Numbers from outside: text from clients, servers and the command line, and times of files.

They are bounded before they are used. `int` takes a time that grows with the square of the digits, and fails for more
than 4,300 of them; the calendar ends with the year 9999.
"""

from __future__ import annotations

MAX_DIGITS = 19
"""The digits of 2**63 - 1."""

LATEST = 253_402_200_000.0
"""A time shortly before the end of the year 9999, in every time zone."""


def whole(text: str) -> int | None:
    """Return the number that 1 to 19 ASCII digits mean; None for any other text."""
    return int(text) if len(text) <= MAX_DIGITS and text.isascii() and text.isdigit() else None


def clamp_time(seconds: float) -> float:
    """Return a time, in seconds since the epoch, or the closest one that the calendar has."""
    return min(max(0.0, seconds), LATEST)
