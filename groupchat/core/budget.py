"""The budget of plain datagrams: how many bytes the server sends to one host.

No datagram proves its address, so a reply may go to a victim that never asked. What is sent to one host (an IPv4
address, an IPv6 /64) is at most BUDGET bytes at once, BUDGET_RATE bytes per second, and BUDGET_FACTOR bytes for each
byte of a request from there, all with their headers. Loopback is exempt.

Each request pays for the first FREE bytes of its reply with what its own headers earn. So every request can be answered
at any time, and a host is here only while more was sent to it: usually none is, and nothing has to be counted.
"""

from __future__ import annotations

from collections.abc import Callable

from groupchat.core.limits import BUDGET, BUDGET_FACTOR, BUDGET_RATE
from groupchat.core.networks import is_loopback, network_of

HEADERS = 28
"""The bytes of the IPv4 and UDP headers of a datagram."""

FREE = HEADERS * BUDGET_FACTOR - HEADERS
"""The bytes of a reply that even an empty request pays for."""


def payer_of(host: str) -> str:
    """Return whose budget pays for replies to a host; "" if none does."""
    return "" if is_loopback(host) else network_of(host)


class Budget:
    """The budgets of all hosts. `spent` is how much each lacked, and when; whoever is not there lacks nothing."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self.spent: dict[str, tuple[float, float]] = {}
        self._seconds = seconds
        self._purged = 0.0

    def room(self, payer: str, received: int) -> int:
        """Return how many bytes the reply to a request of `received` bytes may have: at least FREE."""
        if payer not in self.spent:
            return FREE + BUDGET
        now = self._seconds()
        lacking = self._lacking(payer, now) - received * BUDGET_FACTOR
        if lacking <= 0:
            del self.spent[payer]
            return FREE + BUDGET
        self.spent[payer] = lacking, now
        return FREE + BUDGET - int(lacking)

    def pay(self, payer: str, sent: int) -> None:
        """Count a reply of `sent` bytes, after `room`. It is not needed for FREE bytes if nothing is lacking."""
        lacking, at = self.spent.get(payer) or (0.0, self._seconds())
        lacking += sent - FREE
        if lacking <= 0:
            self.spent.pop(payer, None)
        elif payer:
            self.spent[payer] = lacking, at
            if not 0 <= at - self._purged < 1:
                self._purge(at)

    def _lacking(self, payer: str, now: float) -> float:
        """Return how much is lacking now; it is not positive if that is nothing."""
        lacking, at = self.spent[payer]
        return lacking - (now - at) * BUDGET_RATE if now > at else lacking  # a clock may be set back

    def _purge(self, now: float) -> None:
        self._purged = now
        for payer in [payer for payer in self.spent if self._lacking(payer, now) <= 0]:
            del self.spent[payer]
