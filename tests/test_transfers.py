"""Requests on streams: what the client is sent, what the group is told, and what it costs."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from groupchat.core.commands import Ban
from groupchat.core.errors import IllegalMessage, NotNow
from groupchat.core.limits import (
    FILE_CHUNK,
    MAX_DOWNLOADS_EACH,
    MAX_DOWNLOADS_HOST,
    MAX_LINE,
    MAX_LISTED,
    MAX_LISTED_HOST,
    MAX_UPLOADS_EACH,
    PASSWORD_CHECKS,
    Limits,
)
from groupchat.files import IReading, IReceiving, IShelf
from groupchat.frontends.transfers.server import STOP_SECONDS, Peer, TransferServer
from groupchat.frontends.transfers.stream import TransferStream
from tests.lobby import Lobby
from tests.shelves import ALICE, MemoryReading, MemoryReceiving, ShelfTestCase, hash_of
from tests.streams import HOST, StreamClient, StreamTestCase

KEY = "00112233445566778899aabbccddeeff"
DATA = bytes(range(256)) * 4000
BUSY = "busy The server is stopping: try again later.\n"


class FakeTests(StreamTestCase):
    def test_the_memory_shelf_provides_the_interfaces(self) -> None:
        self.shelf.files["a"] = b""
        verifyObject(IShelf, self.shelf)
        reading, receiving = MemoryReading(self.shelf, "a"), MemoryReceiving(self.shelf, "a", 0, "", ALICE)
        verifyObject(IReading, reading)
        verifyObject(IReceiving, receiving)
        reading.close()
        receiving.close()


class FirstLineTests(StreamTestCase):
    def test_a_malformed_request_is_refused(self) -> None:
        for line in ["\n", "HELLO\n", "GET / HTTP/1.1\r\n", "FILES \n", "\xff\n", "PUT 1\n"]:
            self.assertTrue(self.ask(line).startswith("no "), line)
        self.assertEqual(self.ask(b"GET 0 - \xff\n"), "no That is not UTF-8.\n")

    def test_a_line_needs_an_end_or_the_end_of_the_stream(self) -> None:
        self.assertTrue(self.ask("FILES" * MAX_LINE).startswith("no That line is longer"))
        client = self.open()
        client.send("FILES")
        client.end()
        self.assertEqual(client.received_text(), "ok 0\n")

    def test_an_empty_stream_is_refused(self) -> None:
        client = self.open()
        client.end()
        self.assertEqual(client.received_text(), "no There was no line.\n")

    def test_a_silent_stream_is_ended(self) -> None:
        silent, slow = self.open(), self.open()
        slow.send(f"PUT 1 {hash_of(b'a')} a\n")
        self.lobby.pass_time(61)
        for client in (silent, slow):
            self.assertTrue(client.received_text().startswith("busy "))
            self.assertTrue(client.is_over)
        self.assertFalse(client.transport.aborted)
        self.lobby.pass_time(61)
        self.assertTrue(client.transport.aborted)  # it does not take the answer either

    def test_a_lost_stream_leaves_nothing_behind(self) -> None:
        self.lobby.registry.stop()
        self.lobby.settle()
        before = len(self.lobby.clock.getDelayedCalls())
        for request in ["", "FILES\n", "GET 0 - a\n", "nonsense\n", f"PUT 1 {hash_of(b'a')} a\nBY ADDRESS\n"]:
            client = self.open()
            client.send(request)
            client.lose()
        self.lobby.settle()
        self.assertEqual(len(self.lobby.clock.getDelayedCalls()), before)
        self.assertEqual(
            (self.transfer_server.handlers, self.shelf.open_now, len(self.transfer_server.uploads)), ({}, 0, 0)
        )

    def test_a_bug_is_logged_and_answered(self) -> None:
        self.patch(self.shelf, "listing", lambda form: 1 / 0)
        self.assertEqual(self.ask("FILES\n"), "busy The server made a mistake: try again later.\n")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_stream_can_carry_live_lines(self) -> None:
        client = self.open()
        client.send("LINES\nCleo\nhello\n")
        heard = client.received_text()
        self.assertIn("* What is your name?\n", heard)
        self.assertIn("* You are Cleo.", heard)
        self.assertEqual(self.watch(), ["Cleo has joined", "Cleo: hello"])
        client.send("more\n")
        client.end()
        self.assertEqual(self.watch(), ["Cleo: more", "Cleo has left the group"])
        client.lose()
        self.assertEqual(self.lobby.registry.connections, {})

    def test_files_are_listed(self) -> None:
        self.assertEqual(self.ask("FILES\n"), "ok 0\n")
        self.shelf.files = {"a: b": b"abc", "ü": b""}
        self.assertEqual(self.ask("FILES\n"), f"ok 2\n3 {hash_of(b'abc')} 12 a: b\n0 {hash_of(b'')} 12 ü\n")
        self.assertEqual(self.transfer_server.handlers, {})

    def test_lists_of_one_host_are_limited(self) -> None:
        self.shelf.files = {f"{number}" + "x" * 200: b"" for number in range(10_000)}
        for host, most in [("10.0.0.9", MAX_LISTED_HOST), ("2001:db8::1", MAX_LISTED_HOST), ("127.0.0.1", MAX_LISTED)]:
            taken, answer = 0, "ok"
            for number in range(1, 100):
                answer = self.ask("FILES\n", self.another_peer(host.replace("::1", f"::{number:x}")))
                if not answer.startswith("ok"):
                    break
                taken += len(answer)
            self.assertTrue(answer.startswith("busy "))
            self.assertTrue(most - 3_000_000 < taken <= most, (host, taken))
            if most == MAX_LISTED_HOST:
                self.assertEqual(self.ask("FILES\n", self.another_peer("10.0.0.8"))[:2], "ok")
            for client in self.clients:
                if not client.is_lost:
                    client.lose()
        self.assertEqual(len(self.transfer_server._listed), 0)

    def test_lists_not_yet_taken_are_limited(self) -> None:
        self.shelf.files = {f"{number}" + "x" * 200: b"" for number in range(5_000)}
        answers = [self.ask("FILES\n")[:5] for _ in range(5)]
        self.assertEqual(answers, ["ok 50"] * 3 + ["busy "] * 2)
        for client in self.clients:
            client.lose()
        self.assertEqual(self.ask("FILES\n")[:5], "ok 50")


class BannedTests(StreamTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.lobby.program("Cleo", KEY)
        self.shelf.files["a"] = b"abc"
        self.lobby.service.operate(Ban("192.0.2.0/24", by="root", why="noise"))
        self.lobby.settle()

    def test_a_banned_address_is_told_why(self) -> None:
        banned = self.another_peer("192.0.2.7")
        for request in ["FILES\n", "GET 0 - a\n", f"PUT 1 {hash_of(b'a')} b\nBY KEY {KEY}\n"]:
            self.assertEqual(self.ask(request, banned), "no You may not be in this group: noise\n")
        self.assertTrue(self.ask("FILES\n").startswith("ok 1\n"))

    def test_an_upload_under_way_is_not_shared(self) -> None:
        client = self.put("b", b"abc", f"BY KEY {KEY}", peer=self.another_peer("198.51.100.7"))
        client.send(b"ab")
        self.lobby.service.operate(Ban("198.51.100.0/24", by="root"))
        self.lobby.settle()
        client.send(b"c")
        client.end()
        self.assertEqual(client.received_text(), "go 0\nno You may not be in this group.\n")
        self.assertNotIn("b", self.shelf.files)


class FirstLineByByteTests(FirstLineTests):
    step = 1


class PasswordTests(StreamTestCase):
    limits = Limits(password=b"a secret")

    def test_nothing_works_before_the_password(self) -> None:
        self.shelf.files["a"] = b"abc"
        for request in ["FILES\n", "GET 0 - a\n", f"PUT 1 {hash_of(b'a')} a\nBY ADDRESS\n", "GET 0 - b\n"]:
            self.assertTrue(self.ask(request).startswith("no This group has a password"))
        self.assertEqual(self.ask("PASSWORD a secret\n"), "ok\n")
        self.assertTrue(self.ask("FILES\n").startswith("ok 1\n"))
        self.assertTrue(self.ask("FILES\n", self.another_peer()).startswith("no "))

    def test_live_lines_ask_for_the_password(self) -> None:
        client = self.open()
        client.send("LINES\n")
        self.assertEqual(client.received_text(), "* What is the password?\n")

    def exhaust(self) -> None:
        """Give as many wrong passwords as a host may at once."""
        for _ in range(PASSWORD_CHECKS[0]):
            self.assertEqual(self.ask("PASSWORD wrong\n", self.another_peer()), "no That is not the password.\n")

    def test_wrong_passwords_of_one_connection_are_limited(self) -> None:
        for closed in (0, 0, 1):
            self.assertEqual(self.ask("PASSWORD wrong\n"), "no That is not the password.\n")
            self.assertEqual(len(self.closed), closed)
        self.assertEqual(self.ask("PASSWORD a secret\n"), "no That is not the password.\n")
        self.assertEqual(len(self.closed), 1)

    def test_streams_have_their_turn_by_connection(self) -> None:
        self.exhaust()
        guesser = self.another_peer()
        guesses = [self.open(guesser) for _ in range(5)]
        for guess in guesses:
            guess.send("PASSWORD wrong\n")
        owner = self.open()
        owner.send("PASSWORD a secret\n")
        self.lobby.clock.advance(1)
        self.assertEqual((guesses[0].received_text()[:2], owner.received_text()), ("no", ""))
        self.lobby.clock.advance(1)
        self.assertEqual(owner.received_text(), "ok\n")  # at no cost: so another one is checked
        self.assertEqual([guess.received_text()[:2] for guess in guesses[1:]], ["no", "", "", ""])
        self.assertEqual(self.closed, [])
        self.lobby.clock.advance(1)
        self.assertEqual(len(self.closed), 1)

    def test_a_lost_stream_waits_no_longer(self) -> None:
        self.exhaust()
        for _ in range(5):
            client = self.open(self.another_peer())
            client.send("PASSWORD a secret\n")
            client.lose()
        self.assertEqual(self.transfer_server.handlers, {})
        owner = self.open()
        owner.send("PASSWORD a secret\n")
        self.lobby.clock.advance(1)
        self.assertEqual((owner.received_text(), self.peer.attempts), ("ok\n", 0))

    def test_stopping_ends_what_waits(self) -> None:
        self.exhaust()
        client = self.open()
        client.send("PASSWORD a secret\n")
        self.transfer_server.stop()
        self.assertTrue(client.received_text().startswith("busy "))
        self.assertFalse(self.peer.trusted)


class GetTests(StreamTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.shelf.files["a"] = DATA
        self.size = len(DATA)

    def test_a_whole_file_is_sent(self) -> None:
        client = self.open()
        client.send("GET 0 - a\n")
        client.end()
        self.assertEqual(client.received(), f"ok {self.size} {hash_of(DATA)} 0\n".encode() + DATA)
        self.assertTrue(client.is_over)
        self.assertIsNone(client.transport.producer)
        self.assertEqual((self.transfer_server.handlers, self.shelf.open_now), ({}, 0))

    def test_an_empty_file_is_sent(self) -> None:
        self.shelf.files["empty"] = b""
        self.assertEqual(self.ask("GET 0 - empty\n"), f"ok 0 {hash_of(b'')} 0\n")

    def test_a_missing_file_is_refused(self) -> None:
        self.assertEqual(self.ask("GET 0 - b\n"), "no There is no file b.\n")

    def test_a_download_resumes_if_the_hash_matches(self) -> None:
        for offset, sha256, begin in [
            (10, hash_of(DATA), 10),
            (self.size, hash_of(DATA)[:16], self.size),
            (self.size + 1, hash_of(DATA), 0),
            (10, hash_of(b""), 0),
            (10, "-", 0),
        ]:
            client = self.open()
            client.send(f"GET {offset} {sha256} a\n")
            self.assertEqual(client.received(), f"ok {self.size} {hash_of(DATA)} {begin}\n".encode() + DATA[begin:])

    def test_a_file_is_sent_no_faster_than_it_is_taken(self) -> None:
        self.shelf.slow = True
        client = self.open()
        client.send("GET 0 - a\n")
        self.shelf.go_on()
        client.transport.sender.pauseProducing()
        self.shelf.go_on()
        self.shelf.go_on()
        self.assertEqual(self.shelf.waiting, [])
        self.assertEqual(len(client.received().split(b"\n", 1)[1]), 0)
        got = b""
        while not client.is_over:
            if client.transport.producer is not None:
                client.transport.sender.resumeProducing()
                if client.transport.producer is not None:
                    client.transport.sender.pauseProducing()
            self.shelf.go_on()
            data = client.received()
            self.assertLessEqual(len(data), FILE_CHUNK)
            got += data
        self.assertEqual(got, DATA)

    def paused(self) -> StreamClient:
        self.shelf.slow = True
        client = self.open()
        client.send("GET 0 - a\n")
        self.shelf.go_on()
        client.transport.sender.pauseProducing()
        self.shelf.go_on()
        return client

    def test_a_reader_that_takes_nothing_is_dropped(self) -> None:
        client = self.paused()
        self.lobby.pass_time(59)
        self.assertFalse(client.transport.aborted)
        self.lobby.pass_time(2)
        self.assertTrue(client.transport.aborted)
        self.assertEqual((self.transfer_server.handlers, self.shelf.open_now), ({}, 0))
        client.lose()

    def test_a_slow_reader_gets_smaller_chunks_and_is_kept(self) -> None:
        client = self.paused()
        client.received()
        sizes = []
        for _ in range(6):
            self.lobby.pass_time(50)
            client.transport.sender.resumeProducing()
            client.transport.sender.pauseProducing()
            self.shelf.go_on()
            sizes.append(len(client.received()))
        self.assertEqual(sizes[0], FILE_CHUNK)
        self.assertEqual(sizes[-1], FILE_CHUNK // 16)
        self.assertFalse(client.transport.aborted)
        client.transport.sender.resumeProducing()
        self.lobby.pass_time(600)  # the disk is slow now
        self.assertFalse(client.transport.aborted)

    def test_transfers_of_one_peer_are_limited(self) -> None:
        self.shelf.slow = True
        clients = [self.open() for _ in range(MAX_DOWNLOADS_EACH + 1)]
        for client in clients:
            client.send("GET 0 - a\n")
        self.assertEqual([client.received_text()[:5] for client in clients], [""] * MAX_DOWNLOADS_EACH + ["busy "])
        clients[0].lose()
        self.shelf.go_on()
        self.shelf.slow = False
        self.assertTrue(self.ask("GET 0 - none\n").startswith("no "))

    def test_downloads_of_one_host_are_limited(self) -> None:
        self.shelf.slow = True
        for host, count in [("10.0.0.9", MAX_DOWNLOADS_HOST), ("2001:db8::1", MAX_DOWNLOADS_HOST), ("127.0.0.1", 200)]:
            answers = []
            for number in range(count + 1):
                peer = self.another_peer(host.replace("::1", f"::{number:x}"))
                client = self.open(peer)
                client.send("GET 0 - a\n")
                answers.append(client.received_text()[:5])
            self.assertEqual(answers, [""] * count + ["" if host == "127.0.0.1" else "busy "], host)
        other = self.open(self.another_peer("10.0.0.8"))
        other.send("GET 0 - a\n")
        self.assertEqual(other.received_text(), "")
        for client in self.clients:
            client.lose()
        for _ in range(3):
            self.shelf.go_on()
        self.assertEqual(len(self.lobby.registry.downloads), 0)

    def test_a_lost_reader_leaves_nothing_open(self) -> None:
        self.shelf.slow = True
        for steps in range(3):
            client = self.open()
            client.send("GET 0 - a\n")
            for _ in range(steps):
                self.shelf.go_on()
            client.lose()
            self.shelf.go_on()
            self.assertEqual((self.transfer_server.handlers, self.shelf.open_now, self.shelf.waiting), ({}, 0, []))

    def test_a_download_of_a_changed_file_is_aborted(self) -> None:
        client = self.paused()
        self.shelf.refuses = NotNow("That file has changed meanwhile.")
        client.transport.sender.resumeProducing()
        self.shelf.go_on()
        self.assertTrue(client.transport.aborted)
        self.assertNotIn(b"changed", client.received())
        self.assertEqual(self.shelf.open_now, 0)

    def test_stopping_ends_transfers(self) -> None:
        client = self.paused()
        waiting = self.open()
        waiting.send("GET 0 - a\n")
        self.successResultOf(self.transfer_server.stop())
        self.assertTrue(client.transport.aborted)
        self.assertEqual(waiting.received_text(), BUSY)
        self.shelf.go_on()
        self.assertEqual(self.shelf.open_now, 0)
        self.assertEqual(self.ask("FILES\n"), BUSY)


class PutTests(StreamTestCase):
    def test_a_member_can_upload_with_its_key(self) -> None:
        self.lobby.program("Cleo", KEY)
        self.watch()
        client = self.put("a", b"abc", f"BY KEY {KEY}")
        client.send(b"abc")
        client.end()
        self.assertEqual(client.received_text(), "go 0\nok a\n")
        self.assertEqual(self.watch(), ["Cleo shared a (3 B)"])

    def test_a_guest_can_upload(self) -> None:
        client = self.put("a", b"", "BY GUEST Zoe")
        client.end()
        self.assertEqual(client.received_text(), "go 0\nok a\n")
        self.assertEqual(self.watch(), ["Zoe shared a (0 B)"])
        self.assertEqual(self.shelf.owners["a"].member, 0)

    def test_an_unknown_sender_is_refused(self) -> None:
        for by, why in [
            (f"BY KEY {KEY}", "no There is no such session."),
            ("BY KEY 12", "no A key is"),
            ("BY GUEST Bob", "no The name Bob is in use."),
            ("BY GUEST :", "no A name has no"),
            ("BY MAGIC", "no Write BY KEY"),
        ]:
            client = self.put("a", b"abc", by)
            self.assertTrue(client.received_text().startswith(why), by)
            self.assertTrue(client.is_over)
        self.assertTrue(
            self.put("a", b"", peer=self.another_peer("10.0.0.8")).received_text().startswith("no There is no such")
        )
        self.assertTrue(self.ask(f"PUT 1 {hash_of(b'')} {'a' * 300}\n").startswith("no The name of a file has at most"))
        self.assertEqual((self.shelf.open_now, len(self.transfer_server.uploads)), (0, 0))

    def test_an_upload_the_shelf_refuses_is_refused(self) -> None:
        for why, answer in [(NotNow("Full."), "busy Full.\n"), (IllegalMessage("Never."), "no Never.\n")]:
            self.shelf.refuses = why
            self.assertEqual(self.put("a", b"abc").received_text(), answer)

    def test_an_upload_resumes_where_it_stopped(self) -> None:
        for cut in range(4):
            first = self.put("a", b"abcd")
            first.send(b"abcd"[:cut])
            first.lose(cleanly=bool(cut % 2))
            again = self.put("a", b"abcd")
            self.assertEqual(again.received_text(), f"go {cut}\n")
            again.send(b"abcd"[cut:])
            again.end()
            self.assertEqual(again.received_text(), "ok a\n")
            self.assertEqual(self.shelf.files.pop("a"), b"abcd")
            self.lobby.pass_time(601)
            self.assertEqual(len(self.watch()), 1)

    def test_a_repeated_upload_is_answered_but_not_shared_again(self) -> None:
        for _ in range(2):
            client = self.put("a", b"abc")
            client.send(b"abc"[len(self.shelf.files) * 3 :])
            client.end()
            client.lose()
            self.lobby.settle()
        self.assertEqual(client.received_text(), "go 3\nok a\n")
        self.assertEqual(self.watch(), ["Alice shared a (3 B)"])
        self.assertEqual(self.shelf.files, {"a": b"abc"})

    def test_a_second_try_displaces_the_first_one(self) -> None:
        """The first sender may be gone, which the server may learn half a minute later."""
        first = self.put("a", b"abc")
        first.send(b"ab")
        self.assertEqual(first.received_text(), "go 0\n")
        second = self.put("a", b"abc")
        self.assertEqual(second.received_text(), "go 2\n")
        self.assertEqual(first.received_text(), "busy That file is sent on another connection now.\n")
        second.send(b"c")
        second.end()
        self.assertEqual(second.received_text(), "ok a\n")
        self.assertEqual(self.shelf.files, {"a": b"abc"})

    def test_a_finishing_upload_is_not_displaced(self) -> None:
        first = self.put("a", b"abc")
        first.send(b"abc")
        first.end()
        self.assertTrue(self.shelf.files)  # the group is not told yet
        self.assertEqual(self.put("a", b"abc").received_text(), "busy That file is being sent already.\n")
        self.assertEqual(first.received_text(), "go 0\nok a\n")

    def test_data_that_differs_from_the_request_is_refused(self) -> None:
        client = self.put("a", b"abc", sha256=hash_of(b"xyz"))
        client.send(b"abc")
        client.end()
        self.assertEqual(client.received_text(), "go 0\nno Its SHA-256 is another.\n")
        client = self.put("a", b"abc", size=2)
        client.send(b"abc")
        self.assertEqual(client.received_text(), "go 0\nno That is more.\n")
        client = self.put("a", b"abc", size=4)
        client.send(b"abc")
        client.end()
        self.assertEqual(client.received_text(), "go 0\nbusy Only 3 bytes came.\n")
        self.assertEqual((self.shelf.files, self.watch(), self.shelf.open_now), ({}, [], 0))

    def test_a_silent_upload_ends_and_its_part_is_kept(self) -> None:
        client = self.put("a", b"abcd")
        client.send(b"ab")
        self.lobby.pass_time(59)
        client.send(b"c")
        self.lobby.pass_time(59)
        self.assertEqual(client.received_text(), "go 0\n")
        self.lobby.pass_time(2)
        self.assertEqual(client.received_text(), "busy Nothing more came: send the rest later.\n")
        self.assertEqual(list(self.shelf.parts.values()), [b"abc"])

    def test_a_slow_disk_does_not_end_an_upload(self) -> None:
        self.shelf.slow = True
        client = self.put("a", b"abcd")
        self.lobby.pass_time(600)
        self.shelf.go_on()
        client.send(b"abcd")
        self.lobby.pass_time(600)
        self.assertEqual(client.received_text(), "go 0\n")
        for _ in range(4):
            self.shelf.go_on()
        client.end()
        self.lobby.pass_time(600)
        self.shelf.go_on()
        self.assertEqual(client.received_text(), "ok a\n")

    def test_transfers_of_one_peer_are_limited(self) -> None:
        clients = [self.put(f"{number}", b"%d" % number) for number in range(MAX_UPLOADS_EACH)]
        self.assertTrue(self.put("more", b"more").received_text().startswith("busy Too many"))
        clients[0].lose()
        self.assertEqual(self.put("more", b"more").received_text(), "go 0\n")

    def test_a_refused_share_is_withdrawn(self) -> None:
        client = self.put("a", b"abc", "BY GUEST Zoe")
        client.send(b"abc")
        self.lobby.ask(9, "1 Zoe")
        client.end()
        self.assertEqual(client.received_text(), "go 0\nno The name Zoe is in use.\n")
        self.assertEqual((self.shelf.files, self.shelf.events[-1]), ({}, "withdraw"))

    def test_a_share_that_cannot_be_stored_is_withdrawn(self) -> None:
        client = self.put("a", b"abc")
        client.send(b"abc")
        self.patch(self.lobby.service, "submit", lambda seat, command: seat.client.dropped(seat, command))
        client.end()
        self.assertEqual(client.received_text(), "go 0\nbusy The server cannot take that now: send it again.\n")
        self.assertEqual((self.shelf.files, len(self.shelf.parts)), ({}, 1))

    def test_stopping_ends_transfers(self) -> None:
        part, whole = self.put("a", b"abc"), self.put("b", b"xyz")
        part.send(b"ab")
        whole.send(b"xyz")
        self.shelf.slow = True
        whole.end()
        stopped = self.transfer_server.stop()
        self.assertEqual(part.received_text(), "go 0\n" + BUSY)
        self.assertNoResult(stopped)
        self.shelf.go_on()
        self.lobby.settle()
        self.successResultOf(stopped)
        self.assertEqual(whole.received_text(), "go 0\nok b\n")
        self.assertEqual((self.shelf.files, list(self.shelf.parts.values())), ({"b": b"xyz"}, [b"ab"]))

    def test_stopping_waits_a_bounded_time_for_the_group(self) -> None:
        client = self.put("a", b"abc")
        client.send(b"abc")
        asked: list[Any] = []
        self.patch(self.lobby.service, "submit", lambda *share: asked.append(share))
        client.end()
        stopped = self.transfer_server.stop()
        self.assertNoResult(stopped)
        self.lobby.clock.advance(STOP_SECONDS)
        self.successResultOf(stopped)
        for seat, command in asked:
            seat.client.answered(seat, command)


class PutByByteTests(PutTests):
    step = 1


class PutLargeTests(StreamTestCase):
    def test_a_member_can_upload_from_its_address(self) -> None:
        client = self.put("photo.jpg", DATA)
        self.assertEqual(client.received_text(), "go 0\n")
        client.send(DATA)
        self.assertEqual(client.received_text(), "")
        self.assertEqual(self.watch(), [])
        client.end()
        self.assertEqual(client.received_text(), "ok photo.jpg\n")
        self.assertTrue(client.is_over)
        self.assertEqual(self.watch(), ["Alice shared photo.jpg (1.0 MB)"])
        self.assertEqual(self.shelf.files, {"photo.jpg": DATA})
        self.assertEqual(
            (self.transfer_server.handlers, self.shelf.open_now, len(self.transfer_server.uploads)), ({}, 0, 0)
        )

    def test_the_sender_is_paused_while_the_disk_is_slow(self) -> None:
        self.shelf.slow = True
        client = self.put("a", bytes(10_000_000))
        self.shelf.go_on()
        self.assertEqual(client.received_text(), "go 0\n")
        sent = 0
        while sent < 10_000_000:
            self.assertFalse(client.transport.is_paused)
            while not client.transport.is_paused and sent < 10_000_000:
                client.send(bytes(50_000))
                sent += 50_000
            self.shelf.go_on()
        client.end()
        while not self.watch():
            self.shelf.go_on()
        self.assertEqual(client.received_text(), "ok a\n")
        self.assertLess(self.shelf.most_unwritten, FILE_CHUNK + 50_000)

    def test_a_sender_that_ignores_the_pause_is_aborted(self) -> None:
        self.shelf.slow = True
        client = self.put("a", bytes(10_000_000))
        for _ in range(100):
            client.send(bytes(50_000))
        self.assertTrue(client.transport.aborted)
        for _ in range(5):
            self.shelf.go_on()
        self.assertEqual((self.transfer_server.handlers, self.shelf.open_now), ({}, 0))


class Client(Protocol):
    """The client's end of a socket."""

    transport: Any

    def __init__(self) -> None:
        self.data = b""
        self.lost: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.lost.callback(self.data)


class SocketTests(ShelfTestCase):
    """A transfer over TCP, to and from a disk."""

    @inlineCallbacks
    def test_files_go_to_a_disk_and_back_over_tcp(self) -> Generator[Deferred[Any], Any, None]:
        lobby = Lobby()
        transfer_server = TransferServer(lobby.registry, self.shelf, lambda peer: None)
        peer = Peer(HOST, lambda: (HOST, 1), lambda why: None, trusted=True)
        factory: Any = Factory()
        factory.protocol = lambda: TransferStream(transfer_server, peer)
        port: Any = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)

        @inlineCallbacks
        def ask(request: bytes, data: bytes = b"") -> Generator[Deferred[Any], Any, bytes]:
            endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
            client = yield connectProtocol(endpoint, Client())
            client.transport.write(request)
            if data:
                yield self.until(lambda: client.data.startswith(b"go 0\n"))
                client.transport.write(data)
            client.transport.loseWriteConnection()
            lost: list[bytes] = []
            client.lost.addCallback(lost.append)

            def is_lost() -> bool:
                lobby.settle()
                return bool(lost)

            yield self.until(is_lost)
            return lost[0]

        data = DATA * 3
        head = f"PUT {len(data)} {hash_of(data)} photo.jpg\nBY GUEST Zoe\n".encode()
        self.assertEqual((yield ask(head, data)), b"go 0\nok photo.jpg\n")
        self.assertEqual((self.directory / "photo.jpg").read_bytes(), data)
        listed = yield ask(b"FILES\n")
        self.assertTrue(listed.startswith(f"ok 1\n{len(data)} {hash_of(data)} ".encode()))
        fetched = yield ask(b"GET 0 - photo.jpg\n")
        self.assertEqual(fetched, f"ok {len(data)} {hash_of(data)} 0\n".encode() + data)
        self.assertEqual((yield ask(b"GET 0 - ../x\n")), b"no Write GET OFFSET SHA256 NAME.\n")
        self.assertEqual(transfer_server.handlers, {})
