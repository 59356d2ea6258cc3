"""One connection: its datagrams, its timer and its streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from aioquic.quic import events
from aioquic.quic.connection import stream_is_client_initiated
from aioquic.quic.packet import QuicErrorCode
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IDelayedCall, IProtocol
from twisted.python.failure import Failure

from groupchat.quic import Address
from groupchat.quic.core import Core
from groupchat.quic.scheduler import Scheduler
from groupchat.quic.stream import StreamTransport


class IConnectionOwner(Protocol):
    """The object that a connection reports to."""

    def established(self, connection: Connection) -> None:
        """The handshake is complete."""

    def ping_acknowledged(self, connection: Connection) -> None:
        """The peer has answered a ping."""

    def stream_opened(self, connection: Connection, stream: StreamTransport) -> None:
        """The peer has opened a stream: `connect` a protocol to it."""

    def id_issued(self, connection: Connection, cid: bytes) -> None:
        """Datagrams to this connection id belong to the connection, too."""

    def id_retired(self, connection: Connection, cid: bytes) -> None:
        """The connection id is no longer used."""

    def ended(self, connection: Connection, why: str) -> None:
        """The connection is over, for the reason that the peer or the protocol gave."""

    def survive(self, doing: str) -> None:
        """Log a bug: called while its exception is being handled."""


class Connection:
    """One connection and its streams. `send` sends a datagram; it may raise OSError, and the data is sent again."""

    def __init__(
        self,
        core: Core,
        scheduler: Scheduler,
        send: Callable[[bytes, Address], object],
        owner: IConnectionOwner,
    ) -> None:
        self.core = core
        self.is_established = False
        self.is_over = False
        self.streams: dict[int, StreamTransport] = {}
        self._scheduler = scheduler
        self._clock = scheduler.clock
        self._now = scheduler.now
        self._send = send
        self._owner = owner
        self._timer: IDelayedCall | None = None
        self._timer_at = 0.0

    def connect(self, address: Address) -> None:
        """Begin the handshake, as a client."""
        self.core.connect(address, self._now())
        self._changed()

    def open(self, protocol: IProtocol, first: bytes = b"") -> StreamTransport:
        """Open a stream and send `first` on it, once the handshake is complete."""
        stream = self._make_stream(self.core.get_next_available_stream_id())
        stream.window = self.core.configuration.max_stream_data
        self.core.send_stream_data(stream.id, first)
        self.streams[stream.id] = stream
        stream.connect(protocol)
        return stream

    def ping(self) -> None:
        """Ask the peer for a sign of life, which also keeps NATs from forgetting this connection."""
        if not self.is_over:
            self.core.send_ping(0)
            self._changed()

    def close(self, why: str = "") -> None:
        """Tell the peer, and end all streams at once. `ended` follows when RFC 9000's closing period is over."""
        if not self.is_over:
            self.core.close(error_code=QuicErrorCode.NO_ERROR, reason_phrase=why)
            self._end_streams(ConnectionDone())
            self.flush()

    def forget(self) -> None:
        """End the connection and its streams at once, without telling the peer or the owner."""
        if not self.is_over:
            self._stop(ConnectionLost())

    def _changed(self) -> None:
        if not self.is_over:
            self._scheduler.changed(self)

    # Receiving

    def take(self, datagram: bytes, address: Address) -> None:
        """Handle a datagram. Never raises."""
        if self.is_over:
            return
        try:
            self.core.receive_datagram(datagram, address, self._now())
            self._handle_events()
        except Exception:
            self._end_after_bug("handling a datagram of a connection")

    def _handle_events(self) -> None:
        while not self.is_over and (event := self.core.next_event()) is not None:
            match event:
                case events.StreamDataReceived():
                    self._stream(event.stream_id).received(event.data, event.end_stream)
                case events.StreamReset():
                    self._stream(event.stream_id).reset()
                case events.StopSendingReceived():
                    self._stream(event.stream_id).stopped()
                case events.HandshakeCompleted():
                    self.is_established = True
                    self._owner.established(self)
                case events.PingAcknowledged():
                    self._owner.ping_acknowledged(self)
                case events.ConnectionIdIssued():
                    self._owner.id_issued(self, event.connection_id)
                case events.ConnectionIdRetired():
                    self._owner.id_retired(self, event.connection_id)
                case events.ConnectionTerminated():
                    self._end(event.reason_phrase, is_clean=event.error_code == QuicErrorCode.NO_ERROR)

    def _stream(self, stream_id: int) -> StreamTransport:
        stream = self.streams.get(stream_id)
        if stream is None:
            stream = self._make_stream(stream_id)
            if stream_is_client_initiated(stream_id) != self.core.configuration.is_client:
                self.streams[stream_id] = stream
                self._owner.stream_opened(self, stream)
        return stream

    def _make_stream(self, stream_id: int) -> StreamTransport:
        return StreamTransport(self.core, stream_id, self._changed, self._owner.survive)

    # Sending

    def flush(self) -> None:
        """Send what there is to send, and set the timer. Never raises."""
        if self.is_over or self.core.get_peer_address() is None:
            return
        try:
            self._open_window()
            for datagram, address in self.core.datagrams_to_send(self._now()):
                try:
                    self._send(datagram, address)
                except OSError:
                    break  # the rest counts as lost on the way
            for stream in tuple(self.streams.values()):
                if stream.is_over and not self.core.has_stream(stream.id):
                    del self.streams[stream.id]
                else:
                    stream.resume()
            self._set_timer()
        except Exception:
            self._end_after_bug("sending for a connection")

    def _open_window(self) -> None:
        held = 0
        for stream_id, received in self.core.received.items():
            stream = self.streams.get(stream_id)
            held += received - (stream.consumed if stream is not None else 0)
        self.core.open_window(held)

    def _set_timer(self) -> None:
        """Set the only timer. It is not reset for a later time: to let it ring early is cheaper."""
        at = None if self.is_over else self.core.get_timer()
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
            self._end_after_bug("handling the timer of a connection")
        self.flush()

    # The end

    def _end_after_bug(self, doing: str) -> None:
        self._owner.survive(doing)
        self._end("a bug")

    def _end(self, why: str, *, is_clean: bool = False) -> None:
        if not self.is_over:
            self._stop(ConnectionDone() if is_clean else ConnectionLost(why))
            self._owner.ended(self, why)

    def _stop(self, reason: Exception) -> None:
        self.is_over = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        self._end_streams(reason)
        self.streams.clear()
        self.core.release()

    def _end_streams(self, reason: Exception) -> None:
        for stream in tuple(self.streams.values()):
            stream.end(Failure(reason))
