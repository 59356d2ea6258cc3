"""One stream of a connection, as the transport of a protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum, auto
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IHalfCloseableProtocol, IProtocol, ITransport
from twisted.python.failure import Failure
from zope.interface import implementer

from groupchat.quic import FIRST_WINDOW, WINDOW
from groupchat.quic.core import Core


class Input(Enum):
    """The states of the direction from the peer, in order."""

    OPEN = auto()
    ENDED = auto()
    """The peer sent its end, but the protocol is paused and does not know yet."""
    CLOSED = auto()
    """The protocol was told of the end, or wants no more: what still comes is discarded."""


class Output(Enum):
    """The states of the direction to the peer, in order."""

    OPEN = auto()
    CLOSING = auto()
    """Nothing more is written, but the producer has not unregistered yet."""
    CLOSED = auto()
    """The end was written, or the peer wants no more."""


@implementer(ITransport, IConsumer)
class StreamTransport:
    """The transport of one stream. `consumed` counts the bytes that its protocol has been given.

    The protocol is told of the end of input by `readConnectionLost` if it is half-closeable; otherwise the stream is
    closed then. `connectionLost` follows once both sides have ended and all data is acknowledged. `changed` is called
    when there may be something to send, and `survive` while an exception of the protocol is being handled.
    """

    way = "quic"

    def __init__(
        self, core: Core, stream_id: int, changed: Callable[[], object], survive: Callable[[str], object]
    ) -> None:
        self.id = stream_id
        self.core = core
        self.protocol: Any = None
        self.window = FIRST_WINDOW
        self.consumed = 0
        self.is_over = False
        self._changed = changed
        self._survive = survive
        self._input = Input.OPEN
        self._received = bytearray()  # while the protocol is paused
        self._is_paused = False
        self._output = Output.OPEN
        self._producer: Any = None
        self._is_push_producer = False
        self._resume_producer = False  # when there is room

    def connect(self, protocol: IProtocol) -> None:
        self.protocol = protocol
        protocol.makeConnection(self)

    # Reading

    def received(self, data: bytes, end: bool) -> None:
        if self._input is Input.CLOSED or self.is_over:
            self._consume(len(data))
            if end:
                self._close_output()
                self.resume()
            return
        self._received += data
        if end:
            self._input = Input.ENDED
        self._deliver()

    def _deliver(self) -> None:
        while self._received and not self._is_paused and not self.is_over and self.protocol is not None:
            data = bytes(self._received)
            self._discard()
            self._call(self.protocol.dataReceived, data)
        if self._input is Input.ENDED and not (self._received or self.is_over or self.protocol is None):
            self._input = Input.CLOSED
            if IHalfCloseableProtocol.providedBy(self.protocol):
                self._call(self.protocol.readConnectionLost)
            else:
                self._close_output()
            self.resume()

    def _discard(self) -> None:
        count = len(self._received)
        self._received.clear()
        self._consume(count)

    def _consume(self, count: int) -> None:
        self.consumed += count
        self.window = max(self.window, min(self.consumed, WINDOW))  # grows with what was useful
        self.core.open_stream_window(self.id, self.consumed, self.window)
        self._changed()

    def pauseProducing(self) -> None:
        """Give the protocol no more data. The peer can send no more than the window."""
        self._is_paused = True

    def resumeProducing(self) -> None:
        self._is_paused = False
        self._deliver()

    def stopProducing(self) -> None:
        self.loseConnection()

    # Writing

    def write(self, data: bytes) -> None:
        if self._output is not Output.OPEN or self.is_over or not data:
            return
        self.core.write(self.id, data)
        self._changed()
        if self._producer is None or self._resume_producer:
            return
        if not self._is_push_producer:
            self._resume_producer = True
        elif self.core.is_full(self.id):
            self._resume_producer = True
            self._call(self._producer.pauseProducing)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._producer, self._is_push_producer = producer, streaming
        self._resume_producer = not streaming
        self._changed()

    def unregisterProducer(self) -> None:
        self._producer = None
        if self._output is Output.CLOSING:
            self._close_output()

    def resume(self) -> None:
        """Resume the producer if there is room, or end the stream if both sides have ended."""
        is_waiting = self._producer is not None and self._resume_producer and not self.is_over
        if is_waiting and not self.core.is_full(self.id, 0.5):
            self._resume_producer = False
            self._call(self._producer.resumeProducing)
        is_closed = self._input is Input.CLOSED and self._output is Output.CLOSED
        if is_closed and not self.is_over and self.core.is_acknowledged(self.id):
            self.end(Failure(ConnectionDone()))

    def loseWriteConnection(self) -> None:
        """Close the output as soon as there is no producer."""
        if self._output is Output.OPEN:
            self._output = Output.CLOSING
        if self._producer is None:
            self._close_output()

    def loseConnection(self) -> None:
        """Read no more, and close the output as soon as there is no producer."""
        if self._input is not Input.CLOSED:
            if self._input is Input.OPEN:
                self.core.stop_reading(self.id)
            self._input = Input.CLOSED
            self._discard()
        self.loseWriteConnection()

    def _close_output(self) -> None:
        if self._output is not Output.CLOSED and not self.is_over:
            self._output = Output.CLOSED
            self.core.write(self.id, b"", end=True)
            self._changed()

    def abortConnection(self) -> None:
        self._abort(ConnectionAborted())

    def _abort(self, reason: Exception) -> None:
        if not self.is_over:
            self.core.abort(self.id)
            self.end(Failure(reason))

    # The end

    def reset(self) -> None:
        """Handle the end of a peer that sends no more, perhaps because `loseConnection` asked it to."""
        if self._input is Input.CLOSED:
            self.resume()
        else:
            self._abort(ConnectionLost("the other side reset the stream"))

    def stopped(self) -> None:
        """Handle a peer that reads no more. Its own data still arrives."""
        self._output = Output.CLOSED
        if not self.is_over and IHalfCloseableProtocol.providedBy(self.protocol):
            self._call(self.protocol.writeConnectionLost)

    def end(self, reason: Failure) -> None:
        """Tell the producer and the protocol, once, that the stream is over."""
        if self.is_over:
            return
        self.is_over = True
        self._discard()
        producer, self._producer = self._producer, None
        if producer is not None:
            self._call(producer.stopProducing)
        protocol, self.protocol = self.protocol, None  # it knows its transport: a circle
        if protocol is not None:
            self._call(protocol.connectionLost, reason)

    def _call(self, function: Callable[..., object], *arguments: Any) -> None:
        try:
            function(*arguments)
        except Exception:
            self._survive("handling a stream")
            self.abortConnection()

    # Addresses

    def getPeer(self) -> IPv4Address | IPv6Address:
        host, port = (self.core.get_peer_address() or ("", 0))[:2]
        return (IPv6Address if ":" in host else IPv4Address)("UDP", host, port)

    def getHost(self) -> IPv4Address:
        return IPv4Address("UDP", "", 0)
