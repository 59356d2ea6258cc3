"""The protocol itself, aioquic's, with bounds that the peer cannot move, and datagrams as large as come through."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from aioquic import tls
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import END_STATES, Limit, QuicConnection, QuicConnectionError, QuicReceiveContext
from aioquic.quic.packet import QuicErrorCode, QuicFrameType, QuicPacketType
from aioquic.quic.packet_builder import QuicDeliveryState, QuicPacketBuilder
from aioquic.quic.stream import QuicStream

from groupchat.quic import (
    FIRST_SIZE,
    LARGER_SIZES,
    LARGER_SIZES_HERE,
    LEAST_AHEAD,
    MAX_GAPS,
    MAX_HANDSHAKE,
    MAX_HANDSHAKE_GAPS,
    MOST_AHEAD,
    MOST_SILENCES,
    STREAMS,
    Address,
)


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

    def write(self, stream_id: int, data: bytes) -> None:
        """Write to a stream, unless the peer has said that it takes nothing more: the stream may not know that yet."""
        stream = self._streams.get(stream_id)
        if stream is not None and stream.sender._reset_error_code is None:
            self.send_stream_data(stream_id, data)

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

    def receive_datagram(self, data: bytes, addr: Any, now: float) -> None:
        """A client does not move before its handshake is confirmed: RFC 9000, section 9.

        aioquic takes the address that any packet of a handshake comes from for proven, though it may be forged.
        """
        if (
            self._is_client
            or self._handshake_confirmed
            or not self._network_paths
            or addr == self._network_paths[0].addr
        ):
            super().receive_datagram(data, addr, now)

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

    def _handle_crypto_frame(self, context: QuicReceiveContext, frame_type: int, buf: Any) -> None:
        super()._handle_crypto_frame(context, frame_type, buf)
        pieces = len(self._crypto_streams[context.epoch].receiver._ranges)
        if pieces > MAX_HANDSHAKE_GAPS or len(self.tls._receive_buffer) > MAX_HANDSHAKE:
            raise QuicConnectionError(QuicErrorCode.CRYPTO_BUFFER_EXCEEDED, frame_type, "Too much of a handshake")

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
