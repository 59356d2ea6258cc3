"""The ids that a client used for its commands, so that a command which it sends again takes effect once.

This is a sliding window like the one against replay in RFC 4303, section 3.4.3: exact for the newest ids, and two
integers however many ids there were.
"""

from __future__ import annotations

WINDOW = 64
"""The number of ids, up to the highest that was used, of which it is known if they were used."""

MAX_ID = 2**63 - 1
"""The highest id."""


class Ids:
    """The ids of one client. Bit n of `mask` is set if the id `last` - n was used."""

    __slots__ = ("last", "mask")

    def __init__(self, last: int = 0, mask: int = 0) -> None:
        self.last = last
        self.mask = mask

    def __contains__(self, number: int) -> bool:
        """Return True if the id is known to have been used."""
        return number <= self.last and bool(self.mask >> (self.last - number) & 1)

    def is_forgotten(self, number: int) -> bool:
        """Return True if the id is too old to tell."""
        return number <= self.last - WINDOW

    def use(self, number: int) -> bool:
        """Record an id as used. Return False if it was used before, or is too old to tell."""
        if self.is_forgotten(number) or number in self:
            return False
        if number > self.last:
            self.mask = self.mask << min(number - self.last, WINDOW) & (1 << WINDOW) - 1
            self.last = number
        self.mask |= 1 << self.last - number
        return True
