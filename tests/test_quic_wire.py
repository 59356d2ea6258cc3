"""QUIC beside the five messages on one UDP port of a real daemon, with honest peers and with hostile ones."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path

from aioquic.quic.packet import QuicFrameType
from aioquic.quic.packet_builder import QuicPacketBuilder

from groupchat.quic import MAX_GAPS, MAX_HANDSHAKE, MAX_STREAMS, WINDOW
from tests.daemon import ILLEGAL, Daemon, DaemonTestCase, LineMember
from tests.quic_peer import QuicPeer, crypto_frame, stream_frame

MB = 1_000_000
ASKED = b"* What is your name?\n"
SILENCE = 0.2
"""Seconds in which nothing may come."""


class QuicTestCase(DaemonTestCase):
    def setUp(self) -> None:
        self.daemon = self.start("--quic", "--files", "shared", "--rate", "0")
        self.shared = Path(self.daemon.directory.name) / "shared"

    def peer(self, daemon: Daemon | None = None, **options: str) -> QuicPeer:
        peer = QuicPeer((daemon or self.daemon).port, **options)
        self.addCleanup(peer.close)
        return peer

    def memory(self) -> int:
        """Return the resident memory of the daemon, in bytes."""
        status = Path(f"/proc/{self.daemon.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found
        return int(found[1]) * 1024

    def assertAlive(self) -> None:
        """Check that the daemon answers the five messages and QUIC, and has logged no bug."""
        member = self.member(self.daemon)
        self.assertEqual(member.ask("nonsense"), ILLEGAL)
        peer = self.peer().connect()
        peer.expect(peer.ask(b"LINES\n"), ASKED)
        self.assertNotIn("Traceback", self.daemon.output)
        self.assertNotIn("A bug", self.daemon.output)

    def assertSilent(self, peer: QuicPeer) -> None:
        with self.assertRaises(TimeoutError):
            peer.receive(SILENCE)


class TextTests(QuicTestCase):
    """A datagram that is not QUIC's is text, whatever its first byte."""

    def test_a_datagram_with_any_first_byte_is_text(self) -> None:
        member = self.member(self.daemon)
        for first in range(256):
            for size in (1, 2, 9, 60, 1_199, 1_200, 8_000):
                self.assertEqual(member.ask(bytes([first]) + b"x" * (size - 1)), ILLEGAL, (first, size))
        for text in ("x" * 60_000, "é" * 3_000, "日本" * 1_000, "🙂" * 2_000, "Ä", "@", "~", "hello"):
            self.assertEqual(member.ask(text), ILLEGAL, text[:5])

    def test_a_datagram_too_short_to_begin_a_connection_is_text(self) -> None:
        """Otherwise a small datagram with a forged address could be answered with a larger one."""
        member = self.member(self.daemon)
        self.assertEqual(member.ask(b"\xc0\xba\xba\xba\xba\x08" + bytes(8) + b"\x08" + bytes(500)), ILLEGAL)

    def test_datagrams_of_an_unknown_connection_are_text(self) -> None:
        other = self.start("--quic")
        peer = self.peer(other).connect()
        peer.core.send_ping(1)
        (short,) = [datagram for datagram, _ in peer.core.datagrams_to_send(time.monotonic())]
        self.assertEqual(self.member(self.daemon).ask(short), ILLEGAL)

    def test_all_datagrams_are_text_without_quic(self) -> None:
        self.assertEqual(self.peer(self.start()).begin(), ILLEGAL.encode())

    def test_random_bytes_in_long_headers_are_survived(self) -> None:
        member = self.member(self.daemon)
        for number in range(300):
            member.send(bytes([0xC0 | number % 64]) + b"\0\0\0\1" + os.urandom(1_200 + number))
        self.assertAlive()


class HandshakeTests(QuicTestCase):
    def stopped(self) -> str:
        """Stop the daemon, and return what it logs of its connections."""
        return next(line for line in self.daemon.stop().splitlines() if "QUIC closes" in line)

    def test_a_first_datagram_leaves_no_state(self) -> None:
        """The answer is smaller than the datagram."""
        for number in range(600):
            if number == 100:
                before = self.memory()
            peer = self.peer()
            retry = peer.begin()
            self.assertLess(len(retry), peer.sent / 4)
            self.assertEqual(retry[0] & 0xF0, 0xF0)  # Retry
            peer.close()
        self.assertLess(self.memory() - before, MB)
        self.assertIn("0 connections", self.stopped())

    def test_a_forged_or_stolen_token_is_not_answered(self) -> None:
        peer, thief = self.peer(), self.peer()
        retry = peer.prove_address()
        ((initial, _),) = peer.core.datagrams_to_send(time.monotonic())
        thief.send(initial)
        self.assertSilent(thief)
        self.assertIn(retry[23:-16], initial)
        peer.send(initial.replace(retry[-40:-16], bytes(24)))
        self.assertSilent(peer)
        self.assertIn("0 connections", self.stopped())

    def test_a_silent_peer_is_sent_at_most_three_times_its_bytes(self) -> None:
        peer = self.peer()
        received = len(peer.prove_address())
        peer.transmit()
        received += len(peer.receive())
        end = time.monotonic() + 1.5
        while (left := end - time.monotonic()) > 0:
            try:
                received += len(peer.receive(left))
            except TimeoutError:
                break
        self.assertGreater(received, 1_200)
        self.assertLess(received, 3 * peer.sent)

    def test_an_unknown_version_is_answered_with_the_known_ones(self) -> None:
        peer = self.peer()
        peer.send(b"\xc0\xba\xba\xba\xba\x08" + bytes(8) + b"\x08" + bytes(8) + bytes(1_200))
        answer = peer.receive()
        self.assertEqual(answer[1:5], bytes(4))
        self.assertIn(bytes([0, 0, 0, 1]), answer[-8:])
        peer.send(bytes([0xC0]) + answer[1:] + bytes(1_200))  # such an answer is not answered itself
        self.assertSilent(peer)

    def test_another_application_protocol_is_refused(self) -> None:
        self.assertFalse(self.peer(alpn="h3").connect().established)

    def test_the_number_of_half_open_handshakes_is_bounded(self) -> None:
        few = self.start("--quic", "--max-connections", "50")
        for _ in range(100):
            peer = self.peer(few)
            peer.prove_address()
            peer.transmit()
        self.assertEqual(self.member(few).ask("nonsense"), ILLEGAL)
        self.assertRegex(few.stop(), r"[2-4]\d connections, [5-7]\d refused")  # on a slow machine some end meanwhile

    def test_connections_of_one_address_are_limited(self) -> None:
        few = self.start("--quic", "--max-per-host", "3")
        for _ in range(3):
            self.assertTrue(self.peer(few).connect().established)
        refused = self.peer(few)
        refused.prove_address()
        refused.transmit()
        self.assertSilent(refused)
        self.assertIn("3 connections, 1 refused", few.stop())


class BoundTests(QuicTestCase):
    def test_the_far_end_of_a_stream_costs_little_memory(self) -> None:
        """A receiver makes room for all that comes before it."""
        peers = [self.peer().connect() for _ in range(10)]
        before = self.memory()
        for peer in peers:
            peer.frames(stream_frame(0, 60_000, b"x"))
            for step in range(1, 12):  # the window would double again and again
                peer.settle()
                peer.frames(stream_frame(0, 60_000 + step, b"x"))
            peer.settle()
        self.assertLess(self.memory() - before, 10 * 2 * MB)
        self.assertAlive()

    def test_the_far_ends_of_all_streams_cost_little_memory(self) -> None:
        peer = self.peer().connect()
        before = self.memory()
        for stream in range(MAX_STREAMS):
            peer.frames(stream_frame(4 * stream, 60_000, b"x" * 1_000))
        peer.settle()
        self.assertLess(self.memory() - before, 4 * MB)
        self.assertAlive()

    def test_forbidden_frames_end_only_their_connection(self) -> None:
        def raw(frame: bytes) -> Callable[[QuicPacketBuilder], None]:
            return lambda builder: builder.start_frame(QuicFrameType.PING, capacity=20).push_bytes(frame)

        cases = {
            "Over stream data limit": [stream_frame(0, WINDOW, b"x")],
            "Too many streams open": [stream_frame(4 * MAX_STREAMS, 0, b"x")],
            "": [raw(b"\x3f"), raw(b"\x1f"), raw(b"\x02" + b"\xff" * 8), raw(b"\x0f\x00")],
        }
        for reason, frames in cases.items():
            for frame in frames:
                peer = self.peer().connect()
                peer.frames(frame)
                self.assertIn(reason, peer.reason())
        self.assertAlive()

    def test_a_stream_in_thousands_of_pieces_ends_the_connection(self) -> None:
        peer = self.peer().connect()
        before = self.memory()
        for first in range(0, 2 * MAX_GAPS, 40):
            peer.frames(together(stream_frame(0, 2 + 2 * number, b"x") for number in range(first, first + 40)))
            peer.step()
            if peer.reasons:
                break  # the keys are soon forgotten
        self.assertEqual(peer.reason(), "Too many gaps")
        self.assertLess(self.memory() - before, 4 * MB)
        self.assertAlive()

    def test_a_handshake_in_many_pieces_ends_the_connection(self) -> None:
        """Each piece costs time for each piece before it, which could block the reactor for minutes."""
        peer = self.peer().connect()
        for first in range(0, 200, 40):
            peer.frames(together(crypto_frame(2 + 2 * number, b"x") for number in range(first, first + 40)))
        self.assertEqual(peer.reason(), "Too much of a handshake")
        self.assertAlive()

    def test_an_endless_handshake_ends_the_connection(self) -> None:
        peer = self.peer().connect()
        for offset in range(0, 2 * MAX_HANDSHAKE, 1_000):
            peer.frames(crypto_frame(offset, b"\1\xff\xff\xff" + bytes(996)))
            if offset % 10_000 == 0:
                peer.step()
            if peer.reasons:
                break
        self.assertEqual(peer.reason(), "Too much of a handshake")
        self.assertAlive()

    def test_live_lines_that_nobody_reads_leave_nothing_behind(self) -> None:
        few = self.start("--quic", "--tcp", "0", "--max-per-host", "3")

        def write(builder: QuicPacketBuilder) -> None:
            for stream in (0, 4, 8):
                stream_frame(stream, 0, b"LINES\n")(builder)
                frame = builder.start_frame(QuicFrameType.STOP_SENDING, capacity=9)
                frame.push_uint_var(stream)
                frame.push_uint_var(0)

        peer = self.peer(few).connect()
        for stream in (0, 4, 8):
            peer.core.send_stream_data(stream, b"LINES\n")  # sent later: aioquic must know what it gets answers to
        peer.frames(write)
        peer.settle()

        def is_there_room() -> bool:
            line = LineMember(few.tcp[0])
            try:
                return "too many connections" not in line.receive()
            finally:
                line.close()

        peer.until(is_there_room)
        self.assertNotIn("A bug", few.output)

    def test_a_peer_that_asks_for_nothing_is_closed(self) -> None:
        short = self.start("--quic", "--timeout", "1")
        peer = self.peer(short).connect()
        silent = self.peer(short).connect()
        stream = silent.ask(b"LINES")
        self.assertEqual(peer.reason(), "Nothing was asked for.")
        self.assertIn(b"busy You asked for nothing", silent.expect(stream))


class SideBySideTests(QuicTestCase):
    def test_five_messages_and_lines_are_one_conversation(self) -> None:
        alice = self.member(self.daemon)
        self.assertEqual(alice.ask("1 Alice"), "")
        bob = self.peer().connect()
        stream = bob.ask(b"LINES\n")
        bob.expect(stream, ASKED)
        bob.core.send_stream_data(stream, b"Bob\nhello over QUIC\n")
        bob.expect(stream, b"You are Bob")
        end = time.monotonic() + 20
        heard = ""
        while "hello" not in heard:
            assert time.monotonic() < end
            bob.step()
            heard += alice.ask("5")
        self.assertEqual(heard.replace("\n", ""), "Bob has joinedBob: hello over QUIC")
        alice.ask("2 hi Bob")
        bob.expect(stream, b"Alice: hi Bob\n")
        bob.core.send_stream_data(stream, b"", end_stream=True)
        bob.expect(stream, b"You have left the group")

    def test_one_socket_can_use_both(self) -> None:
        """This proves that it belongs to the member of the five messages."""
        peer = self.peer()
        peer.send(b"1 Alice")
        self.assertEqual(peer.receive(), b"")
        peer.connect()
        data = os.urandom(5_000)
        head = f"PUT {len(data)} {sha256(data).hexdigest()} photo.jpg\nBY ADDRESS\n".encode()
        peer.expect(peer.ask(head + data, end=True), b"ok photo.jpg\n")
        self.assertEqual((self.shared / "photo.jpg").read_bytes(), data)
        self.member(self.daemon).ask("1 Watcher")
        other = self.peer().connect()
        answer = other.expect(other.ask(head.replace(b"photo", b"other") + data, end=True))
        self.assertTrue(answer.startswith(b"no "), answer)
        self.assertEqual(sorted(path.name for path in self.shared.iterdir()), [".groupchat", "photo.jpg"])

    def test_names_that_lead_out_of_the_directory_are_refused(self) -> None:
        peer = self.peer().connect()
        outside = Path(self.daemon.directory.name)
        before = sorted(outside.rglob("*"))
        names = ["../../etc/passwd", "/etc/passwd", "CON", "nul.txt", ".", "..", ".hidden", "x" * 300, "a\\b", "a:b"]
        names += ["a/b", " ", "a ", "a.", "\u202eexe.jpg", "a\tb", "groupchat.sqlite/../x"]
        uploads = [f"PUT 1 {sha256(b'x').hexdigest()} {name}\nBY GUEST Eve\nx" for name in names]
        names = ["../groupchat.sqlite", "/etc/passwd", ".groupchat/index.json", ".", "..", "", "nothing"]
        for request in uploads + [f"GET 0 - {name}\n" for name in names]:
            answer = peer.expect(peer.ask(request.encode(), end=True))
            self.assertTrue(answer.startswith(b"no "), (request, answer))
        self.assertEqual(sorted(outside.rglob("*")), before)

    def test_a_false_size_or_hash_puts_nothing_on_the_shelf(self) -> None:
        data, digest = b"x" * 100_000, sha256(b"x" * 100_000).hexdigest()
        peer = self.peer().connect()
        for size, said, sent in [
            (100_000, "0" * 64, data),
            (99_999, digest, data),
            (100_001, digest, data),
            (10**15, digest, data),
            (0, digest, b""),
        ]:
            stream = peer.ask(f"PUT {size} {said} lie\nBY GUEST Eve\n".encode() + sent, end=True)
            peer.until(lambda stream=stream: refused(peer.heard.get(stream, b"")))  # type: ignore[misc]
        self.assertFalse((self.shared / "lie").exists())
        self.assertAlive()


def refused(heard: bytes) -> bool:
    return heard.removeprefix(b"go 0\n").startswith((b"no ", b"busy "))


def together(frames: Iterable[Callable[[QuicPacketBuilder], None]]) -> Callable[[QuicPacketBuilder], None]:
    def write(builder: QuicPacketBuilder) -> None:
        for frame in frames:
            frame(builder)

    return write
