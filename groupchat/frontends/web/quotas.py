"""Limits on what happens at the same time: in all, and for each host."""

from __future__ import annotations

from collections import Counter
from math import inf

from groupchat.core.errors import NotNow
from groupchat.core.limits import MAX_WEB_UNSENT, MAX_WEB_UNSENT_EACH


class HostCounter:
    """A number for each host; `len()` is their sum."""

    def __init__(self) -> None:
        self._hosts: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._hosts.total()

    def add(self, host: str, count: int) -> None:
        self._hosts[host] += count
        if not self._hosts[host]:
            del self._hosts[host]


class Quota(HostCounter):
    """A count of the file transfers under way. `what` is a participle for the error, such as "sent"."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self._what = what

    def take(self, host: str, each: int, most: float = inf) -> None:
        """Count one more transfer, until `give_back`. Raise NotNow if there are too many."""
        if self._hosts[host] >= each or len(self) >= most:
            raise NotNow(f"Too many files are being {self._what}: try again later.")
        self.add(host, 1)

    def give_back(self, host: str) -> None:
        self.add(host, -1)


class Backlog(HostCounter):
    """A count of the bytes of long answers that are written, and not yet taken by their clients."""

    def check(self, host: str) -> None:
        """Raise NotNow if the backlog is too long to answer one more request of this host."""
        if self._hosts[host] >= MAX_WEB_UNSENT_EACH or len(self) >= MAX_WEB_UNSENT:
            raise NotNow("Read the answers that were sent to you first.")
