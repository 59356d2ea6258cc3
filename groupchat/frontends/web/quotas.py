"""The limit of answers that their readers do not take: in all, and for each host."""

from __future__ import annotations

from groupchat.core.errors import NotNow
from groupchat.core.limits import MAX_WEB_UNSENT, MAX_WEB_UNSENT_EACH
from groupchat.frontends.connections import HostCounter


class Backlog(HostCounter):
    """A count of the bytes of long answers that are written, and not yet taken by their clients."""

    def check(self, host: str) -> None:
        """Raise NotNow if the backlog is too long to answer one more request of this host."""
        if self.of(host) >= MAX_WEB_UNSENT_EACH or len(self) >= MAX_WEB_UNSENT:
            raise NotNow("Read the answers that were sent to you first.")
