"""Names that were seen, for completion."""

from __future__ import annotations

MAX_NAMES = 10_000


class RecentNames(dict[str, None]):
    """At most MAX_NAMES names, each once, in the order in which they were last seen."""

    def add(self, *names: str) -> None:
        for name in names:
            self.discard(name)
            self[name] = None
        while len(self) > MAX_NAMES:
            del self[next(iter(self))]

    def discard(self, name: str) -> None:
        self.pop(name, None)
