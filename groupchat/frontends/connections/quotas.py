"""Limits for each host on what happens at the same time, over all its connections. Loopback has none of them."""

from __future__ import annotations

from collections import Counter

from groupchat.core.errors import NotNow
from groupchat.core.networks import is_loopback, network_of


class HostCounter:
    """A number for each host, an IPv6 /64 being one; `len()` is their sum."""

    def __init__(self) -> None:
        self._hosts: Counter[str] = Counter()  # by network

    def __len__(self) -> int:
        return self._hosts.total()

    def of(self, host: str) -> int:
        return self._hosts[network_of(host)]

    def add(self, host: str, count: int) -> None:
        network = network_of(host)
        self._hosts[network] += count
        if not self._hosts[network]:
            del self._hosts[network]


class Quota(HostCounter):
    """A count of the file transfers under way: at most `each` of one host.

    `what` is a participle for the error, such as "sent".
    """

    def __init__(self, what: str, each: int) -> None:
        super().__init__()
        self._what = what
        self._each = each

    def take(self, host: str) -> None:
        """Count one more transfer, until `give_back`. Raise NotNow if there are too many."""
        if self.of(host) >= self._each and not is_loopback(host):
            raise NotNow(f"Too many files are being {self._what} by your address: try again later.")
        self.add(host, 1)

    def give_back(self, host: str) -> None:
        self.add(host, -1)
