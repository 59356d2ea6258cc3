"""Which of a client's own ids were used: what is sent again, since its answer was lost, takes effect once.

A sliding window, as that against replay in RFC 4303, section 3.4.3: exact for the newest ids, and no more than two
integers however many there were.
"""

from __future__ import annotations

WINDOW = 64
"""How far behind the highest id that was used another can be, and it is still known whether it was used."""

MAX_ID = 2**63 - 1
"""The highest id."""


class Ids:
    """The ids of one client. Bit n of `mask` is set if the id `last` - n was used."""

    __slots__ = ("last", "mask")

    def __init__(self, last: int = 0, mask: int = 0) -> None:
        self.last = last
        self.mask = mask

    def __contains__(self, number: int) -> bool:
        """Whether it was used, as far as is known: see `is_forgotten`."""
        return number <= self.last and bool(self.mask >> (self.last - number) & 1)

    def is_forgotten(self, number: int) -> bool:
        """Whether nobody knows any more if this was used."""
        return number <= self.last - WINDOW

    def use(self, number: int) -> bool:
        """Note that this is used now. Returns whether that may be: not if it was, or if nobody knows."""
        if self.is_forgotten(number) or number in self:
            return False
        if number > self.last:
            self.mask = self.mask << min(number - self.last, WINDOW) & (1 << WINDOW) - 1
            self.last = number
        self.mask |= 1 << self.last - number
        return True
