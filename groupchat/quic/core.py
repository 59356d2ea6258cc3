"""The QUIC protocol: aioquic's connection, with bounds that the peer cannot move."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from aioquic.quic.connection import QuicConnection, QuicConnectionError, QuicReceiveContext
from aioquic.quic.packet import QuicErrorCode
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.stream import QuicStream

from groupchat.quic import (
    MAX_GAPS,
    MAX_HANDSHAKE,
    MAX_HANDSHAKE_GAPS,
    MAX_SEND_BUFFER,
    MAX_STREAMS,
    MIN_SEND_BUFFER,
    Address,
)


class Core(QuicConnection):
    """A connection that holds no more than the windows of its configuration, whatever the peer sends.

    aioquic doubles a flow-control limit as soon as half of it is used, even if nothing was consumed. It also fills gaps
    with zeros, so that a peer which sends the last byte first makes it allocate any amount of memory. Here a limit
    grows only when data was consumed.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._local_max_streams_bidi.value = self._local_max_streams_bidi.sent = MAX_STREAMS
        self._local_max_streams_uni.value = self._local_max_streams_uni.sent = 0

    # Sending

    def unacknowledged(self, stream_id: int) -> int:
        """Return how many bytes were written to a stream and are not acknowledged."""
        stream = self._streams.get(stream_id)
        return 0 if stream is None else len(stream.sender._buffer)

    @property
    def send_buffer(self) -> int:
        """The number of bytes that all streams may have unacknowledged: twice what is under way at the current rate."""
        return min(MAX_SEND_BUFFER, max(MIN_SEND_BUFFER, 2 * self._loss.congestion_window))

    def is_full(self, stream_id: int, fraction: float = 1.0) -> bool:
        """Return True if a stream fills more than a fraction of its share of the send buffer."""
        return self.unacknowledged(stream_id) > self.send_buffer / max(1, len(self._streams)) * fraction

    def is_acknowledged(self, stream_id: int) -> bool:
        """Return True if all data of a stream and its end were acknowledged."""
        stream = self._streams.get(stream_id)
        return stream is None or stream.sender.is_finished

    def has_stream(self, stream_id: int) -> bool:
        """Return False once both sides of a stream are finished."""
        return stream_id in self._streams

    def write(self, stream_id: int, data: bytes, *, end: bool = False) -> None:
        """Write to a stream. Do nothing if the peer asked for no more data, which the stream may not know yet."""
        with suppress(RuntimeError, ValueError):  # the stream was reset, or is finished
            self.send_stream_data(stream_id, data, end)

    def abort(self, stream_id: int) -> None:
        """Reset both sides of a stream. Data that is not sent yet is discarded."""
        self.reset_stream(stream_id, QuicErrorCode.NO_ERROR)
        self.stop_reading(stream_id)

    # Receiving

    def stop_reading(self, stream_id: int) -> None:
        """Ask the peer to send no more on a stream."""
        stream = self._streams.get(stream_id)
        if stream is not None and not stream.receiver.is_finished:
            self.stop_stream(stream_id, QuicErrorCode.NO_ERROR)

    @property
    def received(self) -> dict[int, int]:
        """The highest offset received on each stream, by stream id."""
        return {stream_id: stream.receiver.highest_offset for stream_id, stream in self._streams.items()}

    def open_stream_window(self, stream_id: int, consumed: int, window: int) -> None:
        """Allow the peer to send `window` bytes more on a stream than were consumed."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.receiver.is_finished:
            return
        if consumed + window - stream.max_stream_data_local >= window // 2:
            stream.max_stream_data_local = consumed + window

    def open_window(self, held: int) -> None:
        """Allow the peer to fill the connection's window, in which `held` bytes are not consumed yet."""
        window, limit = self.configuration.max_data, self._local_max_data
        allowed = limit.used - held + window
        if allowed - limit.value >= window // 2:
            limit.value = allowed

    # The peer

    @property
    def proven_address(self) -> Address | None:
        """The peer's address, or None until the peer has answered from there: senders of datagrams can be forged."""
        path = self._network_paths[0] if self._network_paths else None
        return path.addr[:2] if path is not None and path.is_validated else None

    @property
    def peer_certificate(self) -> tuple[Any, list[Any]]:
        """The certificate that the server has shown, or None, and its chain: objects of the package cryptography."""
        return self.tls._peer_certificate, self.tls._peer_certificate_chain

    def receive_datagram(self, data: bytes, addr: Any, now: float) -> None:
        """Handle a datagram, unless a client changed its address during the handshake: RFC 9000, section 9.

        aioquic would take any address for proven from which a packet of the handshake comes, though it may be forged.
        """
        moved = self.get_peer_address() not in (None, addr)
        if self.configuration.is_client or self._loss.handshake_confirmed or not moved:
            super().receive_datagram(data, addr, now)

    def release(self) -> None:
        """Drop the state of a connection that is over, but for its last address.

        aioquic's objects refer to each other in circles, 300 of them for each connection. The garbage collector would
        find them, but only in a full collection: see `daemon.limit_collections`.
        """
        paths = self._network_paths
        for space in self._loss.spaces:
            space.sent_packets.clear()  # each refers to its space
        vars(self).clear()
        self._network_paths, self._streams = paths, {}

    # Bounds: overridden private methods

    def _handle_stream_frame(self, context: QuicReceiveContext, frame_type: int, buf: Any) -> None:
        super()._handle_stream_frame(context, frame_type, buf)
        if any(len(stream.receiver._ranges) > MAX_GAPS for stream in self._streams.values()):
            raise QuicConnectionError(QuicErrorCode.INTERNAL_ERROR, frame_type, "Too many gaps")

    def _handle_crypto_frame(self, context: QuicReceiveContext, frame_type: int, buf: Any) -> None:
        super()._handle_crypto_frame(context, frame_type, buf)
        gaps = len(self._crypto_streams[context.epoch].receiver._ranges)
        if gaps > MAX_HANDSHAKE_GAPS or len(self.tls._receive_buffer) > MAX_HANDSHAKE:
            raise QuicConnectionError(QuicErrorCode.CRYPTO_BUFFER_EXCEEDED, frame_type, "Too much of a handshake")

    def _write_stream_limits(self, builder: QuicPacketBuilder, space: Any, stream: QuicStream) -> None:
        """Announce a limit as it is. aioquic would double it, were the bytes received not hidden from it here."""
        receiver = stream.receiver
        highest, receiver.highest_offset = receiver.highest_offset, 0
        try:
            super()._write_stream_limits(builder, space, stream)
        finally:
            receiver.highest_offset = highest

    def _write_connection_limits(self, builder: QuicPacketBuilder, space: Any) -> None:
        """Announce the limits as they are, in the same way."""
        limit = self._local_max_data
        used, limit.used = limit.used, 0
        try:
            super()._write_connection_limits(builder, space)
        finally:
            limit.used = used
