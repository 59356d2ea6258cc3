"""What comes of a file, on its way to the shelf: no more of it is taken than is written."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks

from groupchat.core.limits import FILE_CHUNK
from groupchat.files import IReceiving


class Inflow:
    """`hold` is called with True when nothing more is to come for now, and with False when it may again; `patience`
    with True while it is the other side that is waited for, and with False while it is the disk.
    """

    def __init__(self, hold: Callable[[bool], None], patience: Callable[[bool], None]) -> None:
        self.size = 0
        """How many bytes came, and are not written yet."""
        self.ended = False
        """Nothing more comes."""
        self._came: list[bytes] = []
        self._hold = hold
        self._held = False
        self._patience = patience
        self._stopped = False
        self._more: Deferred[None] | None = None  # fires when something came, or nothing will

    def feed(self, data: bytes) -> None:
        self._came.append(data)
        self.size += len(data)
        if self.size >= FILE_CHUNK and not self._held:
            self._held = True
            self._hold(True)
        self._wake()

    def end(self) -> None:
        """All of it came."""
        self.ended = True
        self._wake()

    def stop(self) -> None:
        """Nothing more will come, and nothing more is wanted: what came is written."""
        self._stopped = True
        self._wake()

    def _wake(self) -> None:
        more, self._more = self._more, None
        if more is not None:
            more.callback(None)

    def _take(self) -> bytes:
        data, self._came, self.size = b"".join(self._came), [], 0
        if self._held and not self._stopped:
            self._held = False
            self._hold(False)
        return data

    @inlineCallbacks
    def write_to(self, receiving: IReceiving) -> Generator[Deferred[Any], Any, None]:
        """Fires when all that comes is written, also if that is not the whole file."""
        while True:
            if self._came:
                self._patience(False)
                yield receiving.write(self._take())
            elif self.ended or self._stopped:
                return
            else:
                self._patience(True)
                self._more = Deferred()
                yield self._more
