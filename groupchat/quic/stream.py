"""One stream of a connection, as the transport of a protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IHalfCloseableProtocol, IProtocol, ITransport
from twisted.python.failure import Failure
from zope.interface import implementer

from groupchat.quic import FIRST_WINDOW, WINDOW

if TYPE_CHECKING:
    from groupchat.quic.connection import Connection


@implementer(ITransport, IConsumer)
class QuicStream:
    """One stream of a connection: the transport of a protocol. `taken` is how much that came was given to it, in bytes.

    Its protocol is told of the end of input by `readConnectionLost` if it is half-closeable; otherwise, and when both
    sides have ended and all is delivered, by `connectionLost`.
    """

    def __init__(self, connection: Connection, stream_id: int) -> None:
        self.id = stream_id
        self.protocol: Any = None
        self.window = FIRST_WINDOW
        self.taken = 0
        self._connection = connection
        self._core = connection.core
        self._held = bytearray()  # what came while its protocol wanted nothing
        self._paused = False  # its protocol wants nothing
        self._ended = False  # nothing more comes
        self._told = False  # and its protocol knows
        self._finishing = False  # nothing more is to be written
        self._finished = False  # and the peer is told
        self._deaf = False  # what comes is not wanted any more
        self._producer: Any = None
        self._streaming = False
        self._asked = False  # the producer has been asked to go on
        self._full = False  # the producer has been asked to pause
        self.is_over = False

    def connect(self, protocol: IProtocol) -> None:
        self.protocol = protocol
        protocol.makeConnection(self)

    # Reading

    def received(self, data: bytes, end: bool) -> None:
        self._ended = self._ended or end
        if self._deaf or self.is_over:
            self._took(len(data))
        elif data:
            self._held += data
        self._deliver()

    def _deliver(self) -> None:
        while self._held and not self._paused and not self.is_over and self.protocol is not None:
            data = bytes(self._held)
            self._held.clear()
            self._took(len(data))
            self._call(self.protocol.dataReceived, data)
        if self._ended and not (self._held or self._told or self.is_over or self.protocol is None):
            self._told = True
            self._reading_over()

    def _reading_over(self) -> None:
        if IHalfCloseableProtocol.providedBy(self.protocol) and not self._deaf:
            self._call(self.protocol.readConnectionLost)
        else:
            self._finish()
        self.go_on()

    def _took(self, count: int) -> None:
        self.taken += count
        self.window = max(self.window, min(self.taken, WINDOW))  # more at once, the more was of use
        self._core.taken(self.id, self.taken, self.window)
        self._connection.changed()

    def pauseProducing(self) -> None:
        """Give nothing more to the protocol; the peer is not let send more than the window."""
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        self._deliver()

    def stopProducing(self) -> None:
        self.loseConnection()

    # Writing

    def write(self, data: bytes) -> None:
        if self._finishing or self.is_over or not data:
            return
        self._core.write(self.id, data)
        self._connection.changed()
        self._asked = False
        if self._producer is not None and self._streaming and self._is_full(1) and not self._full:
            self._full = True
            self._call(self._producer.pauseProducing)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def _is_full(self, part: int) -> bool:
        """Whether as much waits as may: of this stream its share, or a part of it."""
        most = self._core.most_unsent // max(1, len(self._connection.streams)) // part
        return self._core.unsent(self.id) > most

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._producer, self._streaming = producer, streaming
        self._asked = self._full = False
        self._connection.changed()  # which asks it to go on

    def unregisterProducer(self) -> None:
        self._producer = None
        if self._finishing:
            self._finish()

    def go_on(self) -> None:
        """Let the producer go on if there is room; and end, once both sides have."""
        if self.is_over:
            return
        producer = self._producer
        if producer is not None and not self._is_full(2):
            if self._streaming and self._full:
                self._full = False
                self._call(producer.resumeProducing)
            elif not self._streaming and not self._asked:
                self._asked = True
                self._call(producer.resumeProducing)
        if self._finished and (self._ended or self._deaf) and not self._held and self._core.is_sent(self.id):
            self.end(Failure(ConnectionDone()))

    def loseWriteConnection(self) -> None:
        """Nothing more is written, once the producer has unregistered."""
        self._finishing = True
        if self._producer is None:
            self._finish()

    def loseConnection(self) -> None:
        """The same, and nothing more is read."""
        self._be_deaf()
        self.loseWriteConnection()

    def _be_deaf(self) -> None:
        if not self._deaf:
            self._deaf = True
            if not self._ended:
                self._core.refuse(self.id)
            self._took(len(self._held))
            self._held.clear()

    def _finish(self) -> None:
        self._finishing = True
        if not self._finished and not self.is_over:
            self._finished = True
            self._core.finish(self.id)
            self._connection.changed()

    def abortConnection(self) -> None:
        if not self.is_over:
            self._core.abort(self.id)
            self.end(Failure(ConnectionAborted()))

    # The end

    def was_reset(self) -> None:
        """The peer sends nothing more, and what it sent before need not have come. (Or it was asked not to.)"""
        self._ended = True
        if self._deaf:
            self.go_on()
        elif not self.is_over:
            self._core.abort(self.id)
            self.end(Failure(ConnectionLost("the other side broke it off")))

    def is_not_read(self) -> None:
        """The peer takes nothing more. What it says still comes."""
        self._finishing = self._finished = True
        if not self.is_over and IHalfCloseableProtocol.providedBy(self.protocol):
            self._call(self.protocol.writeConnectionLost)

    def end(self, reason: Failure) -> None:
        """It is over: its protocol is told, once."""
        if self.is_over:
            return
        self.is_over = True
        self._took(len(self._held))
        self._held.clear()
        self._connection.changed()
        producer, self._producer = self._producer, None
        if producer is not None:
            self._call(producer.stopProducing)
        if self.protocol is not None:
            self._call(self.protocol.connectionLost, reason)

    def _call(self, function: Callable[..., object], *arguments: Any) -> None:
        try:
            function(*arguments)
        except Exception:
            self._connection.survive("handling a stream")
            self.abortConnection()

    # Who it is

    @property
    def connection(self) -> Connection:
        return self._connection

    def getPeer(self) -> IPv4Address | IPv6Address:
        host, port = (self._core.get_peer_address() or ("", 0))[:2]
        return (IPv6Address if ":" in host else IPv4Address)("UDP", host, port)

    def getHost(self) -> IPv4Address:
        return IPv4Address("UDP", "", 0)
