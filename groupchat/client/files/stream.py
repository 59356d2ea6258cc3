"""The stream of one request about files: read and written at the pace of the slower side."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionClosed, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from groupchat.client.text import clean

MAX_LINE = 8 * 1024
"""The longest line in bytes that is accepted from a server."""

MAX_UNREAD = 256 * 1024
"""The most bytes that may wait to be read before the stream is paused."""


class RefusedError(Exception):
    """The server refused the request; `str()` is its reason."""


class BusyError(Exception):
    """The server cannot do it now; it may be asked again later."""


class ProtocolError(Exception):
    """The server's answer breaks the protocol."""


@implementer(IHalfCloseableProtocol, IPushProducer)
class RequestStream(Protocol):
    """One stream. At most one of `line` and `read` may be awaited at a time, and one `write`."""

    def __init__(self) -> None:
        self._unread = bytearray()
        self._reading: Deferred[None] | None = None
        self._writing: Deferred[None] | None = None
        self._blocked = False  # the other side takes no more for now
        self._paused = False
        self._input_ended = False
        self._lost: Failure | None = None

    @property
    def _transport(self) -> Any:
        return self.transport

    # The transport

    def connectionMade(self) -> None:
        self._transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        self._unread += data
        if len(self._unread) > MAX_UNREAD and not self._paused:
            self._paused = True
            self._transport.pauseProducing()
        self._wake()

    def readConnectionLost(self) -> None:
        self._input_ended = True
        self._wake()

    def writeConnectionLost(self) -> None:
        """Do nothing: the answer that can be read says why."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost = reason
        self._wake()

    def pauseProducing(self) -> None:
        self._blocked = True

    def resumeProducing(self) -> None:
        self._blocked = False
        self._wake_writer()

    def stopProducing(self) -> None:
        """Do nothing: `connectionLost` is called as well."""

    def _wake(self) -> None:
        waiting, self._reading = self._reading, None
        if waiting is not None:
            waiting.callback(None)
        self._wake_writer()

    def _wake_writer(self) -> None:
        waiting, self._writing = self._writing, None
        if waiting is not None:
            waiting.callback(None)

    # The owner

    @property
    def is_answered(self) -> bool:
        """True if there is something to read, or nothing more will come."""
        return bool(self._unread) or self._input_ended or self._lost is not None

    async def raw_line(self) -> bytes:
        """Return the next line, whatever it says. Raises ProtocolError, or why the connection was lost."""
        while (end := self._unread.find(b"\n")) < 0:
            if len(self._unread) > MAX_LINE:
                raise ProtocolError("the server speaks another protocol")
            if self._input_ended or self._lost is not None:
                raise self._why_lost()
            await self._more()
        line = bytes(self._unread[:end])
        self._took(end + 1)
        return line

    async def line(self) -> str:
        """Return the next line. Raises RefusedError, BusyError, ProtocolError, or why the connection was lost."""
        try:
            said = (await self.raw_line()).decode()
        except UnicodeDecodeError as error:
            raise ProtocolError("the server speaks another protocol") from error
        verb, _, why = said.partition(" ")
        if verb == "no":
            raise RefusedError(clean(why.encode()))
        if verb == "busy":
            raise BusyError(clean(why.encode()))
        return said

    async def read(self) -> bytes:
        """Return at least a byte, or nothing at the end. Raises why the connection was lost."""
        while not self._unread:
            if self._input_ended:
                return b""
            if self._lost is not None:
                raise self._why_lost()
            await self._more()
        data = bytes(self._unread)
        self._took(len(data))
        return data

    async def write(self, data: bytes) -> None:
        """Write, and return once the other side takes more, has answered, or is gone."""
        if self._lost is None:
            self._transport.write(data)
            if self._blocked and not self.is_answered:
                self._writing = Deferred()
                await self._writing

    def finish(self) -> None:
        """End the output; the answer can still be read."""
        if self._lost is None:
            self._transport.unregisterProducer()
            self._transport.loseWriteConnection()

    def close(self) -> None:
        """Close the stream once all is written."""
        if self._lost is None:
            self._transport.loseConnection()

    def abort(self) -> None:
        if self._lost is None:
            self._transport.abortConnection()

    def _took(self, count: int) -> None:
        del self._unread[:count]
        if self._paused and len(self._unread) <= MAX_UNREAD // 2:
            self._paused = False
            if not self._input_ended and self._lost is None:
                self._transport.resumeProducing()

    def _more(self) -> Deferred[None]:
        self._reading = Deferred()
        return self._reading

    def _why_lost(self) -> Exception:
        value = self._lost.value if self._lost is not None else None
        return value if isinstance(value, ConnectionClosed) else ConnectionLost("the connection ended")
