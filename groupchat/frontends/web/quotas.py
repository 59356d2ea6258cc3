"""Limits on what happens at the same time: in all, and for each host."""

from __future__ import annotations

from collections import Counter

from groupchat.core.errors import NotNow
from groupchat.core.limits import MAX_WEB_UNTAKEN, MAX_WEB_UNTAKEN_EACH


class Quota:
    """A count of the file transfers under way. `what` is a participle for the error, such as "sent"."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._hosts: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._hosts.total()

    def take(self, host: str, each: int, most: int) -> None:
        """Count one more transfer, until `give_back`. Raise NotNow if there are too many."""
        if self._hosts[host] >= each or len(self) >= most:
            raise NotNow(f"Too many files are being {self._what}: try again later.")
        self._hosts[host] += 1

    def give_back(self, host: str) -> None:
        _subtract(self._hosts, host, 1)


class Backlog:
    """A count of the bytes of long answers that are written, and not yet taken by their clients."""

    def __init__(self) -> None:
        self._hosts: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._hosts.total()

    def add(self, host: str, size: int) -> None:
        self._hosts[host] += size

    def remove(self, host: str, size: int) -> None:
        _subtract(self._hosts, host, size)

    def check(self, host: str) -> None:
        """Raise NotNow if the backlog is too long to answer one more request of this host."""
        if self._hosts[host] >= MAX_WEB_UNTAKEN_EACH or len(self) >= MAX_WEB_UNTAKEN:
            raise NotNow("Read the answers that were sent to you first.")


def _subtract(hosts: Counter[str], host: str, count: int) -> None:
    hosts[host] -= count
    if not hosts[host]:
        del hosts[host]
