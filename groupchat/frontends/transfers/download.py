"""GET: a file from the shelf to a stream. It is read no faster than it is taken, one chunk ahead."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from groupchat.core.errors import NotNow
from groupchat.core.limits import FILE_CHUNK
from groupchat.files import IReading
from groupchat.frontends.transfers.server import Answer, Peer, TransferServer
from groupchat.wire import files as wire_files
from groupchat.wire.files import Get

LEAST = FILE_CHUNK // 16
"""The least that is written at once, in bytes: what somebody slow takes within the time that is waited for."""

SLOW = 1.0
"""Who takes so many seconds for a chunk is given less at once."""


@implementer(IPushProducer)
class Sending(Answer):
    """One file. It waits until the hash is known; then whoever takes nothing for too long is dropped."""

    def __init__(self, transfer_server: TransferServer, peer: Peer, asked: Get) -> None:
        super().__init__(transfer_server, peer)
        self._asked = asked
        self._chunk = FILE_CHUNK
        self._full: Deferred[None] | None = None  # fires when the transport takes more
        self._since = 0.0  # when that began
        self._begun = False  # what is written is the file

    @inlineCallbacks
    def begin(self) -> Generator[Deferred[Any], Any, None]:
        self.transfer_server.begin_download(self.peer)
        try:
            reading: IReading = yield self.transfer_server.shelf.open(self._asked.name)
            try:
                yield self._send_file(reading)
            finally:
                yield reading.close()
        finally:
            self.peer.downloads -= 1

    @inlineCallbacks
    def _send_file(self, reading: IReading) -> Generator[Deferred[Any], Any, None]:
        size, sha256 = reading.file.size, reading.file.sha256 or "-"
        offset = self._asked.begin(size, sha256)
        if self.is_over:
            return
        self._begun = True
        self.transport.write(wire_files.sending(size, sha256, offset))
        self.transport.registerProducer(self, True)
        try:
            while offset < size and not self.is_over:
                data: bytes = yield reading.read(offset, self._chunk)
                if self._full is not None:
                    yield self._full
                if not self.is_over:
                    self.transport.write(data)
                    offset += len(data)
        except NotNow:
            self.abort()  # the size was said: what is there now is no part of that file
        finally:
            self._stop_producing()
        if not self.is_over:
            self.transfer_server.sent += 1
            self.end()

    def _stop_producing(self) -> None:
        if not self.is_lost:
            self.transport.unregisterProducer()

    def pauseProducing(self) -> None:
        if self._full is None and not self.is_over:
            self._full = Deferred()
            self._since = self.transfer_server.registry.clock.seconds()
            self.wait(self.transfer_server.stall)

    def resumeProducing(self) -> None:
        if self._full is None:
            return
        slow = self.transfer_server.registry.clock.seconds() - self._since > SLOW
        self._chunk = max(LEAST, self._chunk // 2) if slow else min(FILE_CHUNK, self._chunk * 2)
        if not self.over:
            self.wait(0)
        self._wake()

    def stopProducing(self) -> None:
        self._wake()

    def stopped(self) -> None:
        self._wake()

    def _wake(self) -> None:
        full, self._full = self._full, None
        if full is not None:
            full.callback(None)

    def stop(self) -> None:
        if self._begun:
            self.abort()
        else:
            super().stop()
