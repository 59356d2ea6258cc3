"""How much there is at the same time: in all, and of one host."""

from __future__ import annotations

from collections import Counter

from groupchat.core.errors import NotNow
from groupchat.core.limits import MAX_WEB_UNSENT, MAX_WEB_UNSENT_EACH


class Turns:
    """How many do something."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._hosts: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._hosts.total()

    def take(self, host: str, each: int, most: int) -> None:
        """One more. To be given back. Raises NotNow if there are too many."""
        if self._hosts[host] >= each or len(self) >= most:
            raise NotNow(f"Too many files are being {self._what}: try again later.")
        self._hosts[host] += 1

    def give_back(self, host: str) -> None:
        self._hosts[host] -= 1
        if not self._hosts[host]:
            del self._hosts[host]


class Untaken:
    """How many bytes of long answers wait to be taken."""

    def __init__(self) -> None:
        self._hosts: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._hosts.total()

    def hold(self, host: str, size: int) -> None:
        self._hosts[host] += size

    def let_go(self, host: str, size: int) -> None:
        self._hosts[host] -= size
        if not self._hosts[host]:
            del self._hosts[host]

    def check(self, host: str) -> None:
        """Raises NotNow if there are too many."""
        if self._hosts[host] >= MAX_WEB_UNSENT_EACH or len(self) >= MAX_WEB_UNSENT:
            raise NotNow("Take the answers that you have first.")
