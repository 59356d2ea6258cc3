"""One QUIC connection as Twisted sees it: its streams are transports. Both sides use it; nothing here knows of groups.

aioquic's core does the protocol (RFC 9000, 9001, 9002), and no I/O: here it gets datagrams, the time, and its bounds.
Two rules. What the peer can make this side hold is what it was allowed, whatever it sends: see `Core`. And whatever
there is to do is done in turns, so that the rest of the reactor is never kept waiting for long: see `Turns`.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Any
from typing import Protocol as Interface

from aioquic import tls
from aioquic.quic import events
from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE, QuicConfiguration
from aioquic.quic.connection import END_STATES, Limit, QuicConnection, QuicReceiveContext
from aioquic.quic.packet import QuicErrorCode, QuicFrameType, QuicPacketType
from aioquic.quic.packet_builder import QuicDeliveryState, QuicPacketBuilder
from aioquic.quic.stream import QuicStream
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IHalfCloseableProtocol,
    IProtocol,
    IReactorTime,
    ITransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

ALPN = "groupchat"
"""What both sides say that they speak: RFC 7301."""

STREAMS = 16
"""How many streams a client may have open at once."""

FIRST_WINDOW = 64 * 1024
"""How much of a stream may come before anybody has taken any of it, in bytes."""

WINDOW = 1024 * 1024
"""How much of all streams of a connection may have come that nobody has taken yet, in bytes."""

MOST_SILENCES = 3
"""After how many attempts in vain to hear of the peer datagrams are small again."""

MAX_GAPS = 1_000
"""How many pieces of one stream may be there behind a gap: each costs a hundred bytes, however short it is."""

FIRST_SIZE = SMALLEST_MAX_DATAGRAM_SIZE
LARGER_SIZES = (1_452,)
LARGER_SIZES_HERE = (1_452, 16_000)
"""How large datagrams are at first, in bytes, and which are tried then: RFC 8899. On one machine they may be larger."""

LEAST_AHEAD, MOST_AHEAD = 64 * 1024, 1024 * 1024
"""How much may be written to a connection that the peer has not acknowledged, in bytes: less, the slower it is."""

TURN = 0.003
"""For how many seconds datagrams are dealt with before the rest of the reactor has its turn."""

MAX_WAITING = 2_000
"""How many datagrams may wait for their turn. What is beyond that is lost, as it may be on the way."""

Address = tuple[str, int]

# What a peer does wrong is told in the words of this program, and not on standard error for each of its packets.
logging.getLogger("quic").setLevel(logging.CRITICAL)


class Core(QuicConnection):
    """The protocol, with bounds that the peer cannot move.

    aioquic doubles what it lets in whenever half of it was used, taken or not; a peer that sends the last byte first
    makes it hold, and fill with zeros, whatever it likes. Here more is let in only once what came was taken.
    """

    def __init__(self, window: int, *, configuration: QuicConfiguration, **more: Any) -> None:
        super().__init__(configuration=configuration, **more)
        self._window = window
        self._tried: Address | None = None  # where larger datagrams were tried
        self._local_max_streams_bidi.value = self._local_max_streams_bidi.sent = STREAMS
        self._local_max_streams_uni.value = self._local_max_streams_uni.sent = 0

    def unsent(self, stream_id: int) -> int:
        """How much was written to a stream and not acknowledged, in bytes."""
        stream = self._streams.get(stream_id)
        return 0 if stream is None else len(stream.sender._buffer)

    def all_unsent(self) -> int:
        """The same, of all streams."""
        return sum(len(stream.sender._buffer) for stream in self._streams.values())

    @property
    def most_unsent(self) -> int:
        """How much that may be: what is under way at this pace, and as much again."""
        return min(MOST_AHEAD, max(LEAST_AHEAD, 2 * self._loss.congestion_window))

    def is_sent(self, stream_id: int) -> bool:
        """Whether all that was written to a stream, and its end, was acknowledged."""
        stream = self._streams.get(stream_id)
        return stream is None or stream.sender.is_finished

    def is_theirs(self, stream_id: int) -> bool:
        """Whether it is the peer that has opened a stream."""
        return (stream_id % 2 == 0) != self._is_client

    def knows(self, stream_id: int) -> bool:
        """Whether anything is still to be done about a stream."""
        return stream_id in self._streams

    def finish(self, stream_id: int) -> None:
        """Nothing more is written to a stream."""
        stream = self._streams.get(stream_id)
        if stream is not None and stream.sender._reset_error_code is None:
            self.send_stream_data(stream_id, b"", end_stream=True)

    def refuse(self, stream_id: int) -> None:
        """Ask the peer to send nothing more to a stream."""
        stream = self._streams.get(stream_id)
        if stream is not None and not stream.receiver.is_finished:
            self.stop_stream(stream_id, QuicErrorCode.NO_ERROR)

    def abort(self, stream_id: int) -> None:
        """Give a stream up, whatever was written to it."""
        if self.knows(stream_id):
            self.reset_stream(stream_id, QuicErrorCode.NO_ERROR)
        self.refuse(stream_id)

    def taken(self, stream_id: int, count: int, window: int) -> None:
        """So many bytes of a stream were taken in all: let in as many as `window` beyond them."""
        stream = self._streams.get(stream_id)
        if stream is not None and count + window - stream.max_stream_data_local >= window // 2:
            stream.max_stream_data_local = count + window

    def let_in(self, held: int) -> None:
        """So many bytes that came are not taken yet, of all streams: let in what there is room for beyond them."""
        limit = self._local_max_data
        room = limit.used - held + self._window
        if room - limit.value >= self._window // 2:
            limit.value = room

    @property
    def received(self) -> dict[int, int]:
        """Up to where something came, by the ids of the streams."""
        return {stream_id: stream.receiver.highest_offset for stream_id, stream in self._streams.items()}

    @property
    def proven_address(self) -> Address | None:
        """Where the peer is, if it is known to be there: a datagram alone proves nothing of where it comes from."""
        path = self._network_paths[0] if self._network_paths else None
        return path.addr[:2] if path is not None and path.is_validated else None

    @property
    def peer_certificate(self) -> Any:
        """The certificate that the server has shown, and those behind it: of the package cryptography."""
        return self.tls._peer_certificate, self.tls._peer_certificate_chain

    # Larger datagrams, which cost much less for each byte, where they come through

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Any]]:
        path = self._network_paths[0]
        is_ending = self._close_pending or self._state in END_STATES  # then it is silent, and soon forgotten
        if self._handshake_confirmed and path.addr != self._tried and not is_ending:
            self._send_up_to(FIRST_SIZE)
            if path.is_validated:
                self._tried = path.addr
                sizes = LARGER_SIZES_HERE if _is_here(path.addr) else LARGER_SIZES
                return [datagram for size in sizes for datagram in self._try(size, now)] + super().datagrams_to_send(
                    now
                )
        return super().datagrams_to_send(now)

    def handle_timer(self, now: float) -> None:
        super().handle_timer(now)
        if self._loss._pto_count >= MOST_SILENCES:  # such as when the way leads over another network now
            self._send_up_to(FIRST_SIZE)

    def _try(self, size: int, now: float) -> list[tuple[bytes, Any]]:
        """A datagram of this size that says nothing. That it is lost means nothing but that it was too large."""
        assert self._version is not None
        builder = QuicPacketBuilder(
            host_cid=self.host_cid,
            is_client=self._is_client,
            max_datagram_size=size,
            packet_number=self._packet_number,
            peer_cid=self._peer_cid.cid,
            version=self._version,
        )
        builder.start_packet(QuicPacketType.ONE_RTT, self._cryptos[tls.Epoch.ONE_RTT])
        ping = builder.start_frame(QuicFrameType.PING, handler=self._on_try, handler_args=(size,))
        ping.push_bytes(bytes(builder.remaining_buffer_space))
        packet: Any = builder._packet
        packet.in_flight = False
        return self._flush_builder(
            builder=builder, network_path=self._network_paths[0], peer_cid=self._peer_cid.cid, now=now
        )

    def _on_try(self, delivery: QuicDeliveryState, size: int) -> None:
        if delivery == QuicDeliveryState.ACKED and size > self._max_datagram_size:
            self._send_up_to(size)

    def _send_up_to(self, size: int) -> None:
        recovery: Any = self._loss
        self._max_datagram_size = recovery._pacer._max_datagram_size = recovery._cc._max_datagram_size = size

    # Bounds

    def _handle_stream_frame(self, context: QuicReceiveContext, frame_type: int, buf: Any) -> None:
        start = buf.tell()
        stream = self._streams.get(buf.pull_uint_var())
        buf.seek(start)
        super()._handle_stream_frame(context, frame_type, buf)
        if stream is not None and len(stream.receiver._ranges) > MAX_GAPS:
            self.close(error_code=QuicErrorCode.INTERNAL_ERROR, reason_phrase="Too many gaps")

    def _write_stream_limits(self, builder: QuicPacketBuilder, space: Any, stream: QuicStream) -> None:
        most, stream_id = stream.max_stream_data_local, stream.stream_id
        if stream_id is not None and most != stream.max_stream_data_local_sent and not stream.receiver.is_finished:
            frame = builder.start_frame(
                QuicFrameType.MAX_STREAM_DATA,
                capacity=1 + 8 + 8,
                handler=self._on_max_stream_data_delivery,
                handler_args=(stream,),
            )
            frame.push_uint_var(stream_id)
            frame.push_uint_var(most)
            stream.max_stream_data_local_sent = most

    def _write_connection_limits(self, builder: QuicPacketBuilder, space: Any) -> None:
        self._write_limit(builder, self._local_max_data, 1)
        self._write_limit(builder, self._local_max_streams_bidi, STREAMS // 2)

    def _write_limit(self, builder: QuicPacketBuilder, limit: Limit, step: int) -> None:
        if limit.value - limit.sent >= step:
            frame = builder.start_frame(
                limit.frame_type,
                capacity=1 + 8,
                handler=self._on_connection_limit_delivery,
                handler_args=(limit,),
            )
            frame.push_uint_var(limit.value)
            limit.sent = limit.value


def _is_here(address: Address) -> bool:
    """Whether this is on the same machine."""
    try:
        return ip_address(address[0].partition("%")[0]).is_loopback
    except ValueError:
        return False


class Owner(Interface):
    """Who has a connection."""

    def established(self, connection: Connection) -> None:
        """Its handshake is complete."""

    def answered(self, connection: Connection) -> None:
        """The peer has answered a ping."""

    def opened(self, connection: Connection, stream: Stream) -> None:
        """The peer has opened a stream: `connect` a protocol to it."""

    def issued(self, connection: Connection, cid: bytes) -> None:
        """It is known by this id as well."""

    def retired(self, connection: Connection, cid: bytes) -> None:
        """It is known by this id no longer."""

    def ended(self, connection: Connection, why: str) -> None:
        """It is over: why, in words."""

    def survive(self, doing: str) -> None:
        """There was a bug: the exception is being handled."""


class Turns:
    """Deals with the datagrams that came, and sends what is to be sent, for TURN seconds at a time.

    `now` counts seconds, and is never set back, as the time of day may be.
    """

    def __init__(self, clock: IReactorTime, now: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.now = now
        self.lost = 0
        self._waiting: deque[tuple[Connection, bytes, Address]] = deque()
        self._changed: dict[Connection, None] = {}
        self._soon = False

    def received(self, connection: Connection, datagram: bytes, address: Address) -> None:
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append((connection, datagram, address))
            self._wake()
        else:
            self.lost += 1

    def changed(self, connection: Connection) -> None:
        """It may have something to send."""
        self._changed[connection] = None
        self._wake()

    def _wake(self) -> None:
        if not self._soon:
            self._soon = True
            self.clock.callLater(0, self._turn)

    def _turn(self) -> None:
        until = time.perf_counter() + TURN
        while self._waiting and time.perf_counter() < until:
            connection, datagram, address = self._waiting.popleft()
            connection.take(datagram, address)
            self._changed[connection] = None
        for connection in tuple(self._changed):  # each once, the longest waiting first, and one at least
            del self._changed[connection]
            connection.flush()
            if time.perf_counter() > until + TURN:
                break
        self._soon = False
        if self._waiting or self._changed:
            self._wake()


class Connection:
    """One connection, and its streams. `send` sends a datagram, and may raise OSError: what is lost is sent again."""

    def __init__(
        self,
        core: Core,
        turns: Turns,
        send: Callable[[bytes, Address], object],
        owner: Owner,
    ) -> None:
        self.core = core
        self.is_established = False
        self.is_over = False
        self.streams: dict[int, Stream] = {}
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

    def open(self, protocol: IProtocol, first: bytes = b"") -> Stream:
        """Open a stream that begins with this, once the handshake is complete."""
        stream = Stream(self, self.core.get_next_available_stream_id())
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

    def _stream(self, stream_id: int) -> Stream:
        stream = self.streams.get(stream_id)
        if stream is None:
            stream = Stream(self, stream_id)
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
            held += 0 if stream is None or stream.is_over else upto - stream.taken
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


@implementer(ITransport, IConsumer)
class Stream:
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
        self._held: list[bytes] = []  # that came while its protocol wanted nothing
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
            self._held.append(data)
        self._deliver()

    def _deliver(self) -> None:
        while self._held and not self._paused and not self.is_over and self.protocol is not None:
            data = self._held.pop(0)
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
        self._core.send_stream_data(self.id, data)
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
            self._took(sum(map(len, self._held)))
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
