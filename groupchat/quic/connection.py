"""One connection: datagrams in and out, its timer, and its streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol as Interface

from aioquic.quic import events
from aioquic.quic.packet import QuicErrorCode
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IDelayedCall, IProtocol
from twisted.python.failure import Failure

from groupchat.quic import Address
from groupchat.quic.core import Core
from groupchat.quic.stream import QuicStream
from groupchat.quic.turns import Turns


class IConnectionOwner(Interface):
    """Who has a connection."""

    def established(self, connection: Connection) -> None:
        """Its handshake is complete."""

    def answered(self, connection: Connection) -> None:
        """The peer has answered a ping."""

    def opened(self, connection: Connection, stream: QuicStream) -> None:
        """The peer has opened a stream: `connect` a protocol to it."""

    def issued(self, connection: Connection, cid: bytes) -> None:
        """It is known by this id as well."""

    def retired(self, connection: Connection, cid: bytes) -> None:
        """It is known by this id no longer."""

    def ended(self, connection: Connection, why: str) -> None:
        """It is over: why, in words."""

    def survive(self, doing: str) -> None:
        """There was a bug: the exception is being handled."""


class Connection:
    """One connection, and its streams. `send` sends a datagram, and may raise OSError: what is lost is sent again."""

    def __init__(
        self,
        core: Core,
        turns: Turns,
        send: Callable[[bytes, Address], object],
        owner: IConnectionOwner,
    ) -> None:
        self.core = core
        self.is_established = False
        self.is_over = False
        self.streams: dict[int, QuicStream] = {}
        self._turns = turns
        self._clock = turns.clock
        self._now = turns.now
        self._send = send
        self._owner = owner
        self._timer: IDelayedCall | None = None
        self._timer_at = 0.0

    def connect(self, address: Address) -> None:
        """Begin, as a client."""
        self.core.connect(address, self._now())
        self.changed()

    def open(self, protocol: IProtocol, first: bytes = b"") -> QuicStream:
        """Open a stream that begins with this, once the handshake is complete."""
        stream = QuicStream(self, self.core.get_next_available_stream_id())
        stream.window = self.core.configuration.max_stream_data
        self.core.send_stream_data(stream.id, first)
        self.streams[stream.id] = stream
        stream.connect(protocol)
        return stream

    def ping(self) -> None:
        """See whether the peer is still there, and keep what is between the two from forgetting this connection."""
        self.core.send_ping(0)
        self.changed()

    def close(self, why: str = "") -> None:
        """Tell the peer, and end all streams at once. `ended` follows, after a moment in which its last words come."""
        if not self.is_over:
            self.core.close(error_code=QuicErrorCode.NO_ERROR, reason_phrase=why)
            self._end_streams(Failure(ConnectionDone()))
            self.flush()

    def forget(self) -> None:
        """Let go of it at once, and tell nobody but its streams."""
        self.is_over = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._end_streams(Failure(ConnectionLost()))

    def changed(self) -> None:
        if not self.is_over:
            self._turns.changed(self)

    # What comes

    def take(self, datagram: bytes, address: Address) -> None:
        """Deal with a datagram. Never raises."""
        if self.is_over:
            return
        try:
            self.core.receive_datagram(datagram, address, self._now())
            self._handle_events()
        except Exception:
            self._owner.survive("handling a datagram of a connection")
            self._end("a bug")

    def _handle_events(self) -> None:
        while not self.is_over and (event := self.core.next_event()) is not None:
            match event:
                case events.StreamDataReceived():
                    self._stream(event.stream_id).received(event.data, event.end_stream)
                case events.StreamReset():
                    self._stream(event.stream_id).was_reset()
                case events.StopSendingReceived():
                    self._stream(event.stream_id).is_not_read()
                case events.HandshakeCompleted():
                    self.is_established = True
                    self._owner.established(self)
                case events.PingAcknowledged():
                    self._owner.answered(self)
                case events.ConnectionIdIssued():
                    self._owner.issued(self, event.connection_id)
                case events.ConnectionIdRetired():
                    self._owner.retired(self, event.connection_id)
                case events.ConnectionTerminated():
                    self._end(event.reason_phrase, gently=event.error_code == QuicErrorCode.NO_ERROR)

    def _stream(self, stream_id: int) -> QuicStream:
        stream = self.streams.get(stream_id)
        if stream is None:
            stream = QuicStream(self, stream_id)
            if self.core.is_theirs(stream_id):
                self.streams[stream_id] = stream
                self._owner.opened(self, stream)
        return stream

    # What goes

    def flush(self) -> None:
        """Send what is to be sent, and see when something is to be done next. Never raises."""
        if self.is_over or self.core.get_peer_address() is None:
            return
        try:
            self._let_in()
            for datagram, address in self.core.datagrams_to_send(self._now()):
                try:
                    self._send(datagram, address)
                except OSError:
                    break  # what is not sent counts as lost on the way
            for stream in tuple(self.streams.values()):
                if stream.is_over and not self.core.knows(stream.id):
                    del self.streams[stream.id]
                else:
                    stream.go_on()
            self._set_timer()
        except Exception:
            self._owner.survive("sending for a connection")
            self._end("a bug")

    def _let_in(self) -> None:
        held = 0
        for stream_id, upto in self.core.received.items():
            stream = self.streams.get(stream_id)
            held += upto - (stream.taken if stream is not None else 0)
        self.core.let_in(held)

    def _set_timer(self) -> None:
        """One timer is enough, and one that comes too early does no harm: most are put off again and again."""
        at = self.core.get_timer()
        if at is None:
            return
        if self._timer is None or not self._timer.active():
            self._timer = self._clock.callLater(max(0.0, at - self._now()), self._ring)
            self._timer_at = at
        elif at < self._timer_at:
            self._timer.reset(max(0.0, at - self._now()))
            self._timer_at = at

    def _ring(self) -> None:
        try:
            at = self.core.get_timer()
            if at is not None and at <= self._now():
                self.core.handle_timer(self._now())
            self._handle_events()
        except Exception:
            self._owner.survive("minding the time of a connection")
            self._end("a bug")
        self.flush()

    def _end(self, why: str, *, gently: bool = False) -> None:
        if not self.is_over:
            self.is_over = True
            if self._timer is not None and self._timer.active():
                self._timer.cancel()
            self._end_streams(Failure(ConnectionDone() if gently else ConnectionLost(why)))
            self._owner.ended(self, why)

    def _end_streams(self, reason: Failure) -> None:
        for stream in tuple(self.streams.values()):
            stream.end(reason)

    def survive(self, doing: str) -> None:
        self._owner.survive(doing)
