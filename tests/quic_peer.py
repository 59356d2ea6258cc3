"""A QUIC client that an attacker might use: it blocks, and sends whatever frames a test likes."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

from aioquic.buffer import Buffer
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import QuicFrameType, QuicPacketType
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.tls import Epoch

from groupchat.quic import ALPN
from tests.daemon import LineMember


class QuicPeer:
    """One connection to a server on this machine.

    `heard` has the data of each stream, `ended` the streams that are complete, `reasons` why the connection was closed.
    """

    def __init__(self, port: int, *, alpn: str = ALPN) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(0.05)
        self.where = ("127.0.0.1", port)
        configuration = QuicConfiguration(
            alpn_protocols=[alpn], is_client=True, verify_mode=ssl.CERT_NONE, idle_timeout=60.0
        )
        self.core = QuicConnection(configuration=configuration)
        self.heard: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.reasons: list[str] = []
        self.established = False
        self._acknowledged = 0  # pings
        self.sent = 0  # bytes

    def connect(self) -> QuicPeer:
        self.core.connect(self.where, time.monotonic())
        core: Any = self.core
        self.until(lambda: core._handshake_confirmed or bool(self.reasons))
        return self

    def begin(self) -> bytes:
        """Send the first datagram only, and return the answer."""
        self.core.connect(self.where, time.monotonic())
        self.transmit()
        return self.receive()

    def prove_address(self) -> bytes:
        """Take the server's Retry, answer nothing yet, and return it."""
        retry = self.begin()
        self.core.receive_datagram(retry, self.where, time.monotonic())
        return retry

    def transmit(self) -> None:
        for datagram, _ in self.core.datagrams_to_send(time.monotonic()):
            self.send(datagram)

    def send(self, datagram: bytes) -> None:
        self.sent += len(datagram)
        self.socket.sendto(datagram, self.where)

    def receive(self, seconds: float = 60.0) -> bytes:
        """Return the next datagram. Raise TimeoutError if none comes in so many seconds."""
        self.socket.settimeout(seconds)
        try:
            return self.socket.recv(65_535)
        finally:
            self.socket.settimeout(0.05)

    def step(self) -> None:
        """Send what there is to send, and handle what comes within a moment."""
        self.transmit()
        try:
            datagram = self.socket.recv(65_535)
        except TimeoutError:
            pass
        else:
            self.core.receive_datagram(datagram, self.where, time.monotonic())
        timer = self.core.get_timer()
        if timer is not None and timer <= time.monotonic():
            self.core.handle_timer(time.monotonic())
        while event := self.core.next_event():
            self._note(event)

    def _note(self, event: Any) -> None:
        match event:
            case events.HandshakeCompleted():
                self.established = True
            case events.PingAcknowledged():
                self._acknowledged += 1
            case events.StreamDataReceived():
                self.heard[event.stream_id] = self.heard.get(event.stream_id, b"") + event.data
                if event.end_stream:
                    self.ended.add(event.stream_id)
            case events.ConnectionTerminated():
                self.reasons.append(event.reason_phrase)

    def until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        """Run until a condition holds. Raise AssertionError if it does not in so many seconds."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"the condition never held: {self.reasons} {self.heard}"
            self.step()

    def expect(self, stream: int, part: bytes = b"\n") -> bytes:
        """Run until the data of a stream contains this, and return all of it."""
        self.until(lambda: part in self.heard.get(stream, b""))
        return self.heard[stream]

    def reason(self) -> str:
        """Run until the connection is closed, and return why."""
        self.until(lambda: bool(self.reasons))
        return self.reasons[0]

    def settle(self) -> None:
        """Run until the server has handled all that was sent."""
        before = self._acknowledged
        self.core.send_ping(before)
        self.until(lambda: self._acknowledged > before)

    def ask(self, data: bytes, *, end: bool = False) -> int:
        """Open a stream, send this on it, and return its id."""
        stream = self.core.get_next_available_stream_id()
        self.core.send_stream_data(stream, data, end)
        self.transmit()
        return stream

    def is_taken(self, stream: int) -> bool:
        """Return True if all data of a stream, and its end, was acknowledged."""
        core: Any = self.core
        sender = core._streams[stream].sender if stream in core._streams else None
        return sender is None or sender.is_finished or (not sender._buffer and sender._buffer_fin is None)

    def frames(self, write: Callable[[QuicPacketBuilder], None]) -> None:
        """Send a packet with frames that aioquic would never send."""
        core: Any = self.core
        builder = QuicPacketBuilder(
            host_cid=core.host_cid,
            is_client=True,
            max_datagram_size=1200,
            packet_number=core._packet_number,
            peer_cid=core._peer_cid.cid,
            version=core._version,
        )
        builder.start_packet(QuicPacketType.ONE_RTT, core._cryptos[Epoch.ONE_RTT])
        write(builder)
        datagrams, _ = builder.flush()
        core._packet_number = builder.packet_number
        for datagram in datagrams:
            self.send(datagram)

    def close(self) -> None:
        self.socket.close()


def stream_frame(stream: int, offset: int, data: bytes) -> Callable[[QuicPacketBuilder], None]:
    """Return a writer of a piece of a stream, at any offset."""
    return _frame(QuicFrameType.STREAM_BASE | 6, data, stream, offset, len(data))


def crypto_frame(offset: int, data: bytes) -> Callable[[QuicPacketBuilder], None]:
    """Return a writer of a piece of a handshake, at any offset."""
    return _frame(QuicFrameType.CRYPTO, data, offset, len(data))


def _frame(kind: int, data: bytes, *numbers: int) -> Callable[[QuicPacketBuilder], None]:
    def write(builder: QuicPacketBuilder) -> None:
        frame: Buffer = builder.start_frame(kind, capacity=24 + len(data))
        for number in numbers:
            frame.push_uint_var(number)
        frame.push_bytes(data)

    return write


class QuicLine(LineMember):
    """A connection for live lines over QUIC."""

    def __init__(self, port: int) -> None:
        self._peer = QuicPeer(port).connect()
        self._stream = self._peer.ask(b"LINES\n")
        self._read = 0

    def write(self, data: bytes, *, end: bool = False) -> None:
        self._peer.core.send_stream_data(self._stream, data, end)
        self._peer.until(lambda: self._peer.is_taken(self._stream))

    def receive(self) -> str:
        def end() -> int:
            return self._heard().find(b"\n", self._read)

        self._peer.until(lambda: end() >= 0)
        line, self._read = self._heard()[self._read : end()], end() + 1
        return line.decode()

    def receive_all(self) -> list[str]:
        self._peer.until(lambda: self._stream in self._peer.ended)
        rest, self._read = self._heard()[self._read :], len(self._heard())
        return rest.decode().splitlines()

    def _heard(self) -> bytes:
        return self._peer.heard.get(self._stream, b"")

    def end(self) -> None:
        self.write(b"", end=True)

    def cut(self) -> None:
        self._peer.core.reset_stream(self._stream, 0)
        self._peer.transmit()

    def close(self) -> None:
        self._peer.core.close()
        self._peer.transmit()
        self._peer.close()
