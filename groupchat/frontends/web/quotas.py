"""Limits that all requests share: of answers that their readers do not take, and of requests for one upload."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from twisted.internet.defer import Deferred

from groupchat.core.errors import NotNow
from groupchat.core.limits import MAX_WEB_UNSENT, MAX_WEB_UNSENT_EACH
from groupchat.frontends.connections import HostCounter
from groupchat.frontends.transfers.upload import Upload


class Backlog(HostCounter):
    """A count of the bytes of long answers that are written, and not yet taken by their clients."""

    def check(self, host: str) -> None:
        """Raise NotNow if the backlog is too long to answer one more request of this host."""
        if self.of(host) >= MAX_WEB_UNSENT_EACH or len(self) >= MAX_WEB_UNSENT:
            raise NotNow("Read the answers that were sent to you first.")


class ResumedUploads:
    """The uploads that a request sends a part of now, by their keys: one request at a time."""

    def __init__(self) -> None:
        self._under_way: dict[str, tuple[Upload, list[Deferred[None]]]] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    async def displace(self, key: str) -> None:
        """End the request that sends a part of this upload: its connection may be gone without notice."""
        while (found := self._under_way.get(key)) is not None:
            upload, waiting = found
            ended: Deferred[None] = Deferred()
            waiting.append(ended)
            upload.stop()  # it may end at once
            await ended

    @contextmanager
    def sends(self, key: str, upload: Upload) -> Generator[None]:
        """Let this be the upload under way. None with this key may be, which `displace` makes sure of."""
        waiting: list[Deferred[None]] = []
        self._under_way[key] = upload, waiting
        try:
            yield
        finally:
            del self._under_way[key]
            for ended in waiting:
                ended.callback(None)
