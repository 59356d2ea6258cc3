"""QUIC beside the five messages on one UDP port of a real daemon, with peers that mean well and peers that do not."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from aioquic.quic.packet import QuicFrameType
from aioquic.quic.packet_builder import QuicPacketBuilder

from groupchat.quic import MAX_GAPS, MAX_HANDSHAKE, STREAMS, WINDOW
from tests.daemon import Daemon, LineMember
from tests.quic_peer import QuicPeer, crypto_frame, stream_frame
from tests.test_conversation import ILLEGAL, DaemonTestCase

MB = 1_000_000
ASKED = b"* What is your name?\n"


class QuicTestCase(DaemonTestCase):
    def setUp(self) -> None:
        self.daemon = self.start("--quic", "--files", "shared", "--rate", "0")
        self.shared = Path(self.daemon.directory.name) / "shared"

    def peer(self, daemon: Daemon | None = None) -> QuicPeer:
        peer = QuicPeer((daemon or self.daemon).port)
        self.addCleanup(peer.close)
        return peer

    def memory(self) -> int:
        """What the daemon holds, in bytes."""
        status = Path(f"/proc/{self.daemon.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found
        return int(found[1]) * 1024

    def assertAlive(self) -> None:
        """Whether the daemon answers the five messages and QUIC, and has seen no bug."""
        member = self.member(self.daemon)
        self.assertEqual(member.ask("nonsense"), ILLEGAL)
        peer = self.peer().connect()
        stream = peer.ask(b"LINES\n")
        peer.until(lambda: ASKED in peer.heard.get(stream, b""))
        self.assertNotIn("Traceback", self.daemon.output)
        self.assertNotIn("A bug", self.daemon.output)


class TextTests(QuicTestCase):
    """What is no QUIC is text, whatever it begins with."""

    def test_text_that_begins_with_any_byte_is_told_that_it_is_illegal(self) -> None:
        member = self.member(self.daemon)
        for first in range(256):
            for size in (1, 2, 9, 60, 1_199, 1_200, 8_000):
                datagram = bytes([first]) + b"x" * (size - 1)
                member.send(datagram)
                self.assertEqual(member.receive(), ILLEGAL, (first, size))

    def test_letters_of_every_kind(self) -> None:
        member = self.member(self.daemon)
        for text in ("x" * 60_000, "é" * 3_000, "日本" * 1_000, "🙂" * 2_000, "Ä", "@", "~", "hello"):
            self.assertEqual(member.ask(text), ILLEGAL, text[:5])

    def test_a_datagram_that_is_too_short_to_begin_a_connection_is_text(self) -> None:
        """Or a small datagram with a forged address could be answered with a larger one."""
        member = self.member(self.daemon)
        self.assertEqual(member.ask(b"\xc0\xba\xba\xba\xba\x08" + bytes(8) + b"\x08" + bytes(500)), ILLEGAL)

    def test_pieces_of_real_quic_are_text_to_a_server_that_does_not_know_them(self) -> None:
        other = self.start("--quic")
        peer = self.peer(other).connect()
        member = self.member(self.daemon)
        peer.core.send_ping(1)
        (short,) = [datagram for datagram, _ in peer.core.datagrams_to_send(time.monotonic())]
        self.assertEqual(member.ask(short), ILLEGAL)

    def test_without_quic_all_of_it_is_text(self) -> None:
        plain = self.start()
        peer = self.peer(plain)
        peer.begin()
        self.assertEqual(peer.socket.recv(2048), ILLEGAL.encode())

    def test_random_bytes_of_quic_s_shape_are_survived(self) -> None:
        member = self.member(self.daemon)
        member.socket.settimeout(0.5)
        for number in range(300):
            datagram = bytes([0xC0 | number % 64]) + b"\0\0\0\1" + os.urandom(1_200 + number)
            member.send(datagram)
        self.assertAlive()


class HandshakeTests(QuicTestCase):
    def test_a_first_datagram_is_answered_with_less_and_nothing_is_kept(self) -> None:
        before = self.memory()
        for _ in range(1_000):
            peer = self.peer()
            peer.begin()
            received = peer.socket.recv(2048)
            self.assertLess(len(received), peer.sent / 4)
            self.assertEqual(received[0] & 0xF0, 0xF0)  # Retry
            peer.close()
        self.assertLess(self.memory() - before, 2 * MB)
        self.assertIn("0 connections", self.stopped())

    def stopped(self) -> str:
        return next(line for line in self.daemon.stop().splitlines() if "QUIC closes" in line)

    def test_a_forged_token_is_not_answered_and_an_honest_one_only_at_its_address(self) -> None:
        peer = self.peer()
        peer.begin()
        retry = peer.socket.recv(2048)
        peer.core.receive_datagram(retry, peer.where, time.monotonic())
        ((initial, _),) = peer.core.datagrams_to_send(time.monotonic())
        thief = self.peer()
        thief.send(initial)
        with self.assertRaises(TimeoutError):
            thief.socket.recv(2048)
        self.assertIn(retry[23:-16], initial)
        forged = initial.replace(retry[-40:-16], bytes(24))
        peer.send(forged)
        with self.assertRaises(TimeoutError):
            peer.socket.recv(2048)
        self.assertIn("0 connections", self.stopped())

    def test_one_that_never_answers_is_sent_three_times_what_it_sent_at_most(self) -> None:
        peer = self.peer()
        peer.begin()
        retry = peer.socket.recv(2048)
        peer.core.receive_datagram(retry, peer.where, time.monotonic())
        received = len(retry)
        peer.transmit()
        end = time.monotonic() + 3
        while time.monotonic() < end:
            try:
                received += len(peer.socket.recv(65_535))
            except TimeoutError:
                continue
        self.assertGreater(received, 1_200)
        self.assertLess(received, 3 * peer.sent)

    def test_an_unknown_version_is_told_which_there_are(self) -> None:
        peer = self.peer()
        peer.send(b"\xc0\xba\xba\xba\xba\x08" + bytes(8) + b"\x08" + bytes(8) + bytes(1_200))
        answer = peer.socket.recv(2048)
        self.assertEqual(answer[1:5], bytes(4))
        self.assertIn(bytes([0, 0, 0, 1]), answer[-8:])
        peer.send(bytes([0xC0]) + answer[1:] + bytes(1_200))  # which is not answered itself
        with self.assertRaises(TimeoutError):
            peer.socket.recv(2048)

    def test_one_who_speaks_something_else_over_quic_is_refused(self) -> None:
        peer = QuicPeer(self.daemon.port, alpn="h3")
        self.addCleanup(peer.close)
        peer.connect()
        self.assertFalse(peer.established)

    def test_a_thousand_half_open_handshakes_are_bounded_and_end_by_themselves(self) -> None:
        few = self.start("--quic", "--max-connections", "50")
        peers = []
        for _ in range(1_000):
            peer = QuicPeer(few.port)
            self.addCleanup(peer.close)
            peer.begin()
            peer.core.receive_datagram(peer.socket.recv(2048), peer.where, time.monotonic())
            peer.transmit()
            peers.append(peer)
        self.assertEqual(self.member(few).ask("nonsense"), ILLEGAL)
        end = time.monotonic() + 30
        late = self.peer(few)
        while not late.established:
            assert time.monotonic() < end
            late.close()
            late = self.peer(few)
            late.begin()
            late.wait(1)
        self.assertRegex(few.stop(), r"2\d connections, \d+ refused")


class BoundTests(QuicTestCase):
    def test_a_stream_of_which_only_the_far_end_comes_costs_little(self) -> None:
        """One datagram for what a receiver has to make room for."""
        peers = [self.peer().connect() for _ in range(10)]
        before = self.memory()
        for peer in peers:
            peer.frames(stream_frame(0, 60_000, b"x"))
            for step in range(1, 12):  # as the window would double again and again
                peer.wait(0.05)
                peer.frames(stream_frame(0, 60_000 + step, b"x"))
        self.assertLess(self.memory() - before, 10 * 2 * MB)
        self.assertAlive()

    def test_more_than_the_window_ends_the_connection(self) -> None:
        peer = self.peer().connect()
        peer.frames(stream_frame(0, WINDOW, b"x"))
        peer.until(lambda: bool(peer.reasons))
        self.assertEqual(peer.reasons, ["Over stream data limit"])
        self.assertAlive()

    def test_all_streams_at_the_end_of_their_windows_cost_little(self) -> None:
        peer = self.peer().connect()
        before = self.memory()
        for stream in range(STREAMS):
            peer.frames(stream_frame(4 * stream, 60_000, b"x" * 1_000))
        peer.wait(0.5)
        self.assertLess(self.memory() - before, 4 * MB)
        self.assertAlive()

    def test_more_streams_than_allowed_end_the_connection(self) -> None:
        peer = self.peer().connect()
        peer.frames(stream_frame(4 * STREAMS, 0, b"x"))
        peer.until(lambda: bool(peer.reasons))
        self.assertEqual(peer.reasons, ["Too many streams open"])
        self.assertAlive()

    def test_a_stream_in_thousands_of_pieces_ends_the_connection(self) -> None:
        peer = self.peer().connect()

        def pieces(first: int, count: int) -> None:
            def write(builder: QuicPacketBuilder) -> None:
                for number in range(first, first + count):
                    stream_frame(0, 2 + 2 * number, b"x")(builder)

            peer.frames(write)

        before = self.memory()
        for first in range(0, 2 * MAX_GAPS, 40):
            pieces(first, 40)
            peer.step()
            if peer.reasons:
                break  # its keys are soon forgotten
        peer.until(lambda: bool(peer.reasons))
        self.assertEqual(peer.reasons, ["Too many gaps"])
        self.assertLess(self.memory() - before, 4 * MB)
        self.assertAlive()

    def test_a_handshake_in_thousands_of_pieces_ends_the_connection(self) -> None:
        """Each piece costs time for each piece before it: that stops the reactor for minutes."""
        peer = self.peer().connect()
        for first in range(0, 200, 40):
            pieces = [crypto_frame(2 + 2 * number, b"x") for number in range(first, first + 40)]
            peer.frames(together(pieces))
        peer.until(lambda: bool(peer.reasons))
        self.assertEqual(peer.reasons, ["Too much of a handshake"])
        self.assertAlive()

    def test_a_handshake_without_end_ends_the_connection(self) -> None:
        peer = self.peer().connect()
        for offset in range(0, 2 * MAX_HANDSHAKE, 1_000):
            peer.frames(crypto_frame(offset, b"\1\xff\xff\xff" + bytes(996)))
            peer.step()
            if peer.reasons:
                break
        self.assertEqual(peer.reasons, ["Too much of a handshake"])
        self.assertAlive()

    def test_frames_that_make_no_sense_end_the_connection_alone(self) -> None:
        for frame in (b"\x3f", b"\x1f", b"\x02\xff\xff\xff\xff\xff\xff\xff\xff", b"\x0f\x00"):
            peer = self.peer().connect()

            def write(builder: QuicPacketBuilder, frame: bytes = frame) -> None:
                builder.start_frame(QuicFrameType.PING, capacity=20).push_bytes(frame)

            peer.frames(write)
            peer.until(lambda peer=peer: bool(peer.reasons))  # type: ignore[misc]
        self.assertAlive()

    def test_live_lines_that_are_not_read_from_the_beginning_leave_nothing(self) -> None:
        few = self.start("--quic", "--tcp", "0", "--max-per-host", "3")

        def write(builder: QuicPacketBuilder) -> None:
            for stream in (0, 4, 8):
                stream_frame(stream, 0, b"LINES\n")(builder)
                frame = builder.start_frame(QuicFrameType.STOP_SENDING, capacity=9)
                frame.push_uint_var(stream)
                frame.push_uint_var(0)

        peer = self.peer(few).connect()
        peer.frames(write)
        peer.wait(0.3)
        line = LineMember(few.tcp[0])
        self.addCleanup(line.close)
        self.assertIn("What is your name?", line.receive_until("?")[-1])
        self.assertNotIn("A bug", few.output)

    def test_somebody_who_asks_for_nothing_is_not_waited_for(self) -> None:
        short = self.start("--quic", "--name-within", "1")
        peer = self.peer(short).connect()
        silent = self.peer(short).connect()
        stream = silent.ask(b"LINES")
        peer.until(lambda: bool(peer.reasons))
        self.assertEqual(peer.reasons, ["Nothing was asked for."])
        silent.until(lambda: bool(silent.heard.get(stream)))
        self.assertIn(b"busy You asked for nothing", silent.heard[stream])

    def test_so_many_connections_of_one_address_and_no_more(self) -> None:
        few = self.start("--quic", "--max-per-host", "3")
        for _ in range(3):
            self.assertTrue(self.peer(few).connect().established)
        refused = self.peer(few)
        refused.begin()
        refused.wait(1.5)
        self.assertFalse(refused.established)


class SideBySideTests(QuicTestCase):
    def test_the_five_messages_and_lines_over_quic_are_one_conversation(self) -> None:
        alice = self.member(self.daemon)
        self.assertEqual(alice.ask("1 Alice"), "")
        bob = self.peer().connect()
        stream = bob.ask(b"LINES\n")
        bob.until(lambda: ASKED in bob.heard.get(stream, b""))
        bob.core.send_stream_data(stream, b"Bob\nhello over QUIC\n")
        bob.until(lambda: b"You are Bob" in bob.heard[stream])
        end = time.monotonic() + 20
        heard = ""
        while "hello" not in heard:
            assert time.monotonic() < end
            bob.step()
            heard += alice.ask("5")
        self.assertEqual(heard.replace("\n", ""), "Bob has joinedBob: hello over QUIC")
        alice.ask("2 hi Bob")
        bob.until(lambda: b"Alice: hi Bob\n" in bob.heard[stream])
        bob.core.send_stream_data(stream, b"", end_stream=True)
        bob.until(lambda: b"You have left the group" in bob.heard[stream])

    def test_one_socket_speaks_both(self) -> None:
        """And so proves that it is the member whose five messages come from there."""
        peer = self.peer()
        peer.socket.settimeout(5)
        peer.send(b"1 Alice")
        self.assertEqual(peer.socket.recv(2048), b"")
        peer.socket.settimeout(0.05)
        peer.connect()
        data = os.urandom(5_000)
        head = f"PUT {len(data)} {sha256(data).hexdigest()} photo.jpg\nBY ADDRESS\n".encode()
        stream = peer.ask(head + data, end=True)
        peer.until(lambda: b"ok photo.jpg\n" in peer.heard.get(stream, b""))
        self.assertEqual((self.shared / "photo.jpg").read_bytes(), data)
        watcher = self.member(self.daemon)
        watcher.ask("1 Watcher")
        other = self.peer().connect()
        stream = other.ask(head.replace(b"photo", b"other") + data, end=True)
        other.until(lambda: b"\n" in other.heard.get(stream, b""))
        self.assertTrue(other.heard[stream].startswith(b"no "), other.heard)
        self.assertEqual(sorted(path.name for path in self.shared.iterdir()), [".groupchat", "photo.jpg"])

    def test_names_that_lead_out_of_the_directory_are_refused(self) -> None:
        peer = self.peer().connect()
        outside = Path(self.daemon.directory.name)
        before = sorted(outside.rglob("*"))
        names = ["../../etc/passwd", "/etc/passwd", "CON", "nul.txt", ".", "..", ".hidden", "x" * 300, "a\\b", "a:b"]
        for name in [*names, "a/b", " ", "a ", "a.", "\u202eexe.jpg", "a\tb", "groupchat.sqlite/../x"]:
            head = f"PUT 1 {sha256(b'x').hexdigest()} {name}\nBY GUEST Eve\n"
            stream = peer.ask(head.encode() + b"x", end=True)
            peer.until(lambda stream=stream: b"\n" in peer.heard.get(stream, b""))  # type: ignore[misc]
            self.assertTrue(peer.heard[stream].startswith(b"no "), (name, peer.heard[stream]))
        for name in ["../groupchat.sqlite", "/etc/passwd", ".groupchat/index.json", ".", "..", "", "nothing"]:
            stream = peer.ask(f"GET 0 - {name}\n".encode(), end=True)
            peer.until(lambda stream=stream: b"\n" in peer.heard.get(stream, b""))  # type: ignore[misc]
            self.assertTrue(peer.heard[stream].startswith(b"no "), (name, peer.heard[stream]))
        self.assertEqual(sorted(outside.rglob("*")), before)

    def test_lies_about_size_and_hash_put_nothing_on_the_shelf(self) -> None:
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


def together(pieces: list[Callable[[QuicPacketBuilder], None]]) -> Callable[[QuicPacketBuilder], None]:
    def write(builder: QuicPacketBuilder) -> None:
        for piece in pieces:
            piece(builder)

    return write
