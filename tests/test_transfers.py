"""Streams on which files are asked for: what each is told, what the group is told, and what it costs."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from groupchat.core.errors import IllegalMessage, NotNow
from groupchat.core.limits import FILE_CHUNK, MAX_DOWNLOADS_EACH, MAX_LINE, MAX_UPLOADS_EACH, Limits
from groupchat.files import IReading, IReceiving, IShelf
from groupchat.frontends.transfers.server import STOP_SECONDS, Peer, TransferServer
from groupchat.frontends.transfers.stream import TransferStream
from tests.lobby import Lobby
from tests.shelves import ALICE, MemoryReading, MemoryReceiving, ShelfTestCase, hash_of
from tests.streams import HOST, Asker, DeskTestCase

KEY = "00112233445566778899aabbccddeeff"
DATA = bytes(range(256)) * 4000
BUSY = "busy The server is stopping: try again later.\n"


class FakeTests(DeskTestCase):
    def test_interfaces(self) -> None:
        self.shelf.files["a"] = b""
        verifyObject(IShelf, self.shelf)
        reading, receiving = MemoryReading(self.shelf, "a"), MemoryReceiving(self.shelf, "a", 0, "", ALICE)
        verifyObject(IReading, reading)
        verifyObject(IReceiving, receiving)
        reading.close()
        receiving.close()


class FirstLineTests(DeskTestCase):
    def test_what_is_no_request(self) -> None:
        for line in ["\n", "HELLO\n", "GET / HTTP/1.1\r\n", "FILES \n", "\xff\n", "PUT 1\n"]:
            self.assertTrue(self.ask(line).startswith("no "), line)
        self.assertEqual(self.ask(b"GET 0 - \xff\n"), "no That is not UTF-8.\n")

    def test_a_line_without_end(self) -> None:
        self.assertTrue(self.ask("FILES" * MAX_LINE).startswith("no That line is longer"))
        asker = self.open()
        asker.send("FILES")
        asker.end()
        self.assertEqual(asker.said(), "ok 0\n")

    def test_an_end_and_nothing_else(self) -> None:
        asker = self.open()
        asker.end()
        self.assertEqual(asker.said(), "no There was no line.\n")

    def test_silence(self) -> None:
        silent, slow = self.open(), self.open()
        slow.send(f"PUT 1 {hash_of(b'a')} a\n")
        self.lobby.pass_time(61)
        for asker in (silent, slow):
            self.assertTrue(asker.said().startswith("busy "))
            self.assertTrue(asker.is_over)
        self.assertFalse(asker.pipe.aborted)
        self.lobby.pass_time(61)
        self.assertTrue(asker.pipe.aborted)  # it does not take even that

    def test_who_is_gone_leaves_nothing(self) -> None:
        self.lobby.registry.stop()
        self.lobby.settle()
        before = len(self.lobby.clock.getDelayedCalls())
        for request in ["", "FILES\n", "GET 0 - a\n", "nonsense\n", f"PUT 1 {hash_of(b'a')} a\nBY ADDRESS\n"]:
            asker = self.open()
            asker.send(request)
            asker.lose()
        self.lobby.settle()
        self.assertEqual(len(self.lobby.clock.getDelayedCalls()), before)
        self.assertEqual(
            (self.transfer_server.handlers, self.shelf.open_now, len(self.transfer_server.uploads)), ({}, 0, 0)
        )

    def test_a_bug_is_survived(self) -> None:
        self.patch(self.shelf, "listing", lambda: 1 / 0)
        self.assertEqual(self.ask("FILES\n"), "busy The server made a mistake: try again later.\n")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_live_lines(self) -> None:
        asker = self.open()
        asker.send("LINES\nCleo\nhello\n")
        heard = asker.said()
        self.assertIn("* What is your name?\n", heard)
        self.assertIn("* You are Cleo.", heard)
        self.assertEqual(self.watch(), ["Cleo has joined", "Cleo: hello"])
        asker.send("more\n")
        asker.end()
        self.assertEqual(self.watch(), ["Cleo: more", "Cleo has left the group"])
        asker.lose()
        self.assertEqual(self.lobby.registry.connections, {})

    def test_files(self) -> None:
        self.assertEqual(self.ask("FILES\n"), "ok 0\n")
        self.shelf.files = {"a: b": b"abc", "ü": b""}
        self.assertEqual(self.ask("FILES\n"), f"ok 2\n3 {hash_of(b'abc')} 12 a: b\n0 {hash_of(b'')} 12 ü\n")
        self.assertEqual(self.transfer_server.handlers, {})

    def test_lists_that_nobody_takes(self) -> None:
        self.shelf.files = {f"{number}" + "x" * 200: b"" for number in range(5_000)}
        answers = [self.ask("FILES\n")[:5] for _ in range(5)]
        self.assertEqual(answers, ["ok 50"] * 3 + ["busy "] * 2)
        for asker in self.askers:
            asker.lose()
        self.assertEqual(self.ask("FILES\n")[:5], "ok 50")


class FirstLineByByteTests(FirstLineTests):
    step = 1


class PasswordTests(DeskTestCase):
    limits = Limits(password=b"a secret")

    def test_nothing_before_it(self) -> None:
        self.shelf.files["a"] = b"abc"
        for request in ["FILES\n", "GET 0 - a\n", f"PUT 1 {hash_of(b'a')} a\nBY ADDRESS\n", "GET 0 - b\n"]:
            self.assertTrue(self.ask(request).startswith("no This group has a password"))
        self.assertEqual(self.ask("PASSWORD a secret\n"), "ok\n")
        self.assertTrue(self.ask("FILES\n").startswith("ok 1\n"))
        self.assertTrue(self.ask("FILES\n", self.another_peer()).startswith("no "))

    def test_live_lines_ask_for_it_themselves(self) -> None:
        asker = self.open()
        asker.send("LINES\n")
        self.assertEqual(asker.said(), "* What is the password?\n")

    def test_wrong_ones_are_slow_and_few(self) -> None:
        askers = [self.open() for _ in range(5)]
        for asker in askers:
            asker.send("PASSWORD wrong\n")
        self.assertEqual("".join(asker.said() for asker in askers), "")
        self.lobby.pass_time(1.9)
        self.assertEqual("".join(asker.said() for asker in askers), "")
        self.lobby.clock.advance(0.2)
        self.assertEqual("".join(asker.said() for asker in askers), "no That is not the password.\n")
        self.assertEqual(self.closed, [])
        self.lobby.clock.pump([2.1] * 3)
        self.assertEqual(len(self.closed), 1)

    def test_the_right_one_waits_too_while_somebody_guesses(self) -> None:
        guesser, owner = self.open(self.another_peer()), self.open()
        guesser.send("PASSWORD wrong\n")
        owner.send("PASSWORD a secret\n")
        self.assertEqual(owner.said(), "")
        self.lobby.clock.advance(2.1)
        self.assertEqual(owner.said(), "ok\n")


class GetTests(DeskTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.shelf.files["a"] = DATA
        self.size = len(DATA)

    def test_all_of_it(self) -> None:
        asker = self.open()
        asker.send("GET 0 - a\n")
        asker.end()
        self.assertEqual(asker.heard(), f"ok {self.size} {hash_of(DATA)} 0\n".encode() + DATA)
        self.assertTrue(asker.is_over)
        self.assertIsNone(asker.pipe.producer)
        self.assertEqual((self.transfer_server.handlers, self.shelf.open_now), ({}, 0))

    def test_nothing_in_it(self) -> None:
        self.shelf.files["empty"] = b""
        self.assertEqual(self.ask("GET 0 - empty\n"), f"ok 0 {hash_of(b'')} 0\n")

    def test_what_is_not_there(self) -> None:
        self.assertEqual(self.ask("GET 0 - b\n"), "no There is no file b.\n")

    def test_the_rest_of_it(self) -> None:
        for offset, sha256, begin in [
            (10, hash_of(DATA), 10),
            (self.size, hash_of(DATA)[:16], self.size),
            (self.size + 1, hash_of(DATA), 0),
            (10, hash_of(b""), 0),
            (10, "-", 0),
        ]:
            asker = self.open()
            asker.send(f"GET {offset} {sha256} a\n")
            self.assertEqual(asker.heard(), f"ok {self.size} {hash_of(DATA)} {begin}\n".encode() + DATA[begin:])

    def test_no_faster_than_it_is_taken(self) -> None:
        self.shelf.slow = True
        asker = self.open()
        asker.send("GET 0 - a\n")
        self.shelf.go_on()
        asker.pipe.sends.pauseProducing()
        self.shelf.go_on()
        self.shelf.go_on()
        self.assertEqual(self.shelf.waiting, [])
        self.assertEqual(len(asker.heard().split(b"\n", 1)[1]), 0)
        got = b""
        while not asker.is_over:
            if asker.pipe.producer is not None:
                asker.pipe.sends.resumeProducing()
                if asker.pipe.producer is not None:
                    asker.pipe.sends.pauseProducing()
            self.shelf.go_on()
            data = asker.heard()
            self.assertLessEqual(len(data), FILE_CHUNK)
            got += data
        self.assertEqual(got, DATA)

    def paused(self) -> Asker:
        self.shelf.slow = True
        asker = self.open()
        asker.send("GET 0 - a\n")
        self.shelf.go_on()
        asker.pipe.sends.pauseProducing()
        self.shelf.go_on()
        return asker

    def test_who_takes_nothing_is_dropped(self) -> None:
        asker = self.paused()
        self.lobby.pass_time(59)
        self.assertFalse(asker.pipe.aborted)
        self.lobby.pass_time(2)
        self.assertTrue(asker.pipe.aborted)
        self.assertEqual((self.transfer_server.handlers, self.shelf.open_now), ({}, 0))
        asker.lose()

    def test_who_is_slow_is_given_less_at_once_and_not_dropped(self) -> None:
        asker = self.paused()
        asker.heard()
        sizes = []
        for _ in range(6):
            self.lobby.pass_time(50)
            asker.pipe.sends.resumeProducing()
            asker.pipe.sends.pauseProducing()
            self.shelf.go_on()
            sizes.append(len(asker.heard()))
        self.assertEqual(sizes[0], FILE_CHUNK)
        self.assertEqual(sizes[-1], FILE_CHUNK // 16)
        self.assertFalse(asker.pipe.aborted)

    def test_not_too_many_at_once(self) -> None:
        self.shelf.slow = True
        askers = [self.open() for _ in range(MAX_DOWNLOADS_EACH + 1)]
        for asker in askers:
            asker.send("GET 0 - a\n")
        self.assertEqual([asker.said()[:5] for asker in askers], [""] * MAX_DOWNLOADS_EACH + ["busy "])
        askers[0].lose()
        self.shelf.go_on()
        self.shelf.slow = False
        self.assertTrue(self.ask("GET 0 - none\n").startswith("no "))

    def test_who_is_gone(self) -> None:
        self.shelf.slow = True
        for steps in range(3):
            asker = self.open()
            asker.send("GET 0 - a\n")
            for _ in range(steps):
                self.shelf.go_on()
            asker.lose()
            self.shelf.go_on()
            self.assertEqual((self.transfer_server.handlers, self.shelf.open_now, self.shelf.waiting), ({}, 0, []))

    def test_a_file_that_changes_is_not_mixed(self) -> None:
        asker = self.paused()
        self.shelf.refuses = NotNow("That file has changed meanwhile.")
        asker.pipe.sends.resumeProducing()
        self.shelf.go_on()
        self.assertTrue(asker.pipe.aborted)
        self.assertNotIn(b"changed", asker.heard())
        self.assertEqual(self.shelf.open_now, 0)

    def test_stopping(self) -> None:
        asker = self.paused()
        waiting = self.open()
        waiting.send("GET 0 - a\n")
        self.successResultOf(self.transfer_server.stop())
        self.assertTrue(asker.pipe.aborted)
        self.assertEqual(waiting.said(), BUSY)
        self.shelf.go_on()
        self.assertEqual(self.shelf.open_now, 0)
        self.assertEqual(self.ask("FILES\n"), BUSY)


class PutTests(DeskTestCase):
    def test_a_member_by_key(self) -> None:
        self.lobby.program("Cleo", KEY)
        self.watch()
        asker = self.put("a", b"abc", f"BY KEY {KEY}")
        asker.send(b"abc")
        asker.end()
        self.assertEqual(asker.said(), "go 0\nok a\n")
        self.assertEqual(self.watch(), ["Cleo shared a (3 B)"])

    def test_a_guest(self) -> None:
        asker = self.put("a", b"", "BY GUEST Zoe")
        asker.end()
        self.assertEqual(asker.said(), "go 0\nok a\n")
        self.assertEqual(self.watch(), ["Zoe shared a (0 B)"])
        self.assertEqual(self.shelf.owners["a"].member, 0)

    def test_who_cannot(self) -> None:
        for by, why in [
            (f"BY KEY {KEY}", "no There is no such session."),
            ("BY KEY 12", "no A key is"),
            ("BY GUEST Bob", "no The name Bob is in use."),
            ("BY GUEST :", "no A name has no"),
            ("BY MAGIC", "no Write BY KEY"),
        ]:
            asker = self.put("a", b"abc", by)
            self.assertTrue(asker.said().startswith(why), by)
            self.assertTrue(asker.is_over)
        self.assertTrue(self.put("a", b"", peer=self.another_peer("10.0.0.8")).said().startswith("no There is no such"))
        self.assertTrue(self.ask(f"PUT 1 {hash_of(b'')} {'a' * 300}\n").startswith("no The name of a file has at most"))
        self.assertEqual((self.shelf.open_now, len(self.transfer_server.uploads)), (0, 0))

    def test_what_the_shelf_refuses(self) -> None:
        for why, answer in [(NotNow("Full."), "busy Full.\n"), (IllegalMessage("Never."), "no Never.\n")]:
            self.shelf.refuses = why
            self.assertEqual(self.put("a", b"abc").said(), answer)

    def test_goes_on_where_it_stopped(self) -> None:
        for cut in range(4):
            first = self.put("a", b"abcd")
            first.send(b"abcd"[:cut])
            first.lose(cleanly=bool(cut % 2))
            again = self.put("a", b"abcd")
            self.assertEqual(again.said(), f"go {cut}\n")
            again.send(b"abcd"[cut:])
            again.end()
            self.assertEqual(again.said(), "ok a\n")
            self.assertEqual(self.shelf.files.pop("a"), b"abcd")
            self.lobby.pass_time(601)
            self.assertEqual(len(self.watch()), 1)

    def test_who_did_not_hear_the_answer_is_told_again_and_the_group_is_not(self) -> None:
        for _ in range(2):
            asker = self.put("a", b"abc")
            asker.send(b"abc"[len(self.shelf.files) * 3 :])
            asker.end()
            asker.lose()
            self.lobby.settle()
        self.assertEqual(asker.said(), "go 3\nok a\n")
        self.assertEqual(self.watch(), ["Alice shared a (3 B)"])
        self.assertEqual(self.shelf.files, {"a": b"abc"})

    def test_another_try_goes_on_at_once_where_the_one_before_it_is(self) -> None:
        """Whose sender may be gone: the server does not know that for half a minute."""
        first = self.put("a", b"abc")
        first.send(b"ab")
        self.assertEqual(first.said(), "go 0\n")
        second = self.put("a", b"abc")
        self.assertEqual(second.said(), "go 2\n")
        self.assertEqual(first.said(), "busy That file is sent on another connection now.\n")
        second.send(b"c")
        second.end()
        self.assertEqual(second.said(), "ok a\n")
        self.assertEqual(self.shelf.files, {"a": b"abc"})

    def test_not_twice_at_once(self) -> None:
        first = self.put("a", b"abc")
        first.send(b"abc")
        first.end()
        self.assertTrue(self.shelf.files)  # but the group is not told yet
        self.assertEqual(self.put("a", b"abc").said(), "busy That file is being sent already.\n")
        self.assertEqual(first.said(), "go 0\nok a\n")

    def test_lies(self) -> None:
        asker = self.put("a", b"abc", sha256=hash_of(b"xyz"))
        asker.send(b"abc")
        asker.end()
        self.assertEqual(asker.said(), "go 0\nno Its SHA-256 is another.\n")
        asker = self.put("a", b"abc", size=2)
        asker.send(b"abc")
        self.assertEqual(asker.said(), "go 0\nno That is more.\n")
        asker = self.put("a", b"abc", size=4)
        asker.send(b"abc")
        asker.end()
        self.assertEqual(asker.said(), "go 0\nbusy Only 3 bytes came.\n")
        self.assertEqual((self.shelf.files, self.watch(), self.shelf.open_now), ({}, [], 0))

    def test_silence_keeps_what_came(self) -> None:
        asker = self.put("a", b"abcd")
        asker.send(b"ab")
        self.lobby.pass_time(59)
        asker.send(b"c")
        self.lobby.pass_time(59)
        self.assertEqual(asker.said(), "go 0\n")
        self.lobby.pass_time(2)
        self.assertEqual(asker.said(), "busy Nothing more came: send the rest later.\n")
        self.assertEqual(list(self.shelf.parts.values()), [b"abc"])

    def test_a_slow_disk_is_no_silence(self) -> None:
        self.shelf.slow = True
        asker = self.put("a", b"abcd")
        self.lobby.pass_time(600)
        self.shelf.go_on()
        asker.send(b"abcd")
        self.lobby.pass_time(600)
        self.assertEqual(asker.said(), "go 0\n")

    def test_not_too_many_at_once(self) -> None:
        askers = [self.put(f"{number}", b"%d" % number) for number in range(MAX_UPLOADS_EACH)]
        self.assertTrue(self.put("more", b"more").said().startswith("busy Too many"))
        askers[0].lose()
        self.assertEqual(self.put("more", b"more").said(), "go 0\n")

    def test_a_refused_share_is_withdrawn(self) -> None:
        asker = self.put("a", b"abc", "BY GUEST Zoe")
        asker.send(b"abc")
        self.lobby.ask(9, "1 Zoe")
        asker.end()
        self.assertEqual(asker.said(), "go 0\nno The name Zoe is in use.\n")
        self.assertEqual((self.shelf.files, self.shelf.events[-1]), ({}, "withdraw"))

    def test_a_share_that_cannot_be_stored_is_withdrawn(self) -> None:
        asker = self.put("a", b"abc")
        asker.send(b"abc")
        self.patch(self.lobby.service, "submit", lambda seat, command: seat.client.dropped(seat, command))
        asker.end()
        self.assertEqual(asker.said(), "go 0\nbusy The server cannot take that now: send it again.\n")
        self.assertEqual((self.shelf.files, len(self.shelf.parts)), ({}, 1))

    def test_stopping(self) -> None:
        part, whole = self.put("a", b"abc"), self.put("b", b"xyz")
        part.send(b"ab")
        whole.send(b"xyz")
        self.shelf.slow = True
        whole.end()
        stopped = self.transfer_server.stop()
        self.assertEqual(part.said(), "go 0\n" + BUSY)
        self.assertNoResult(stopped)
        self.shelf.go_on()
        self.lobby.settle()
        self.successResultOf(stopped)
        self.assertEqual(whole.said(), "go 0\nok b\n")
        self.assertEqual((self.shelf.files, list(self.shelf.parts.values())), ({"b": b"xyz"}, [b"ab"]))

    def test_stopping_does_not_wait_for_ever_for_a_group_that_says_nothing(self) -> None:
        asker = self.put("a", b"abc")
        asker.send(b"abc")
        asked: list[Any] = []
        self.patch(self.lobby.service, "submit", lambda *share: asked.append(share))
        asker.end()
        stopped = self.transfer_server.stop()
        self.assertNoResult(stopped)
        self.lobby.clock.advance(STOP_SECONDS)
        self.successResultOf(stopped)
        for seat, command in asked:
            seat.client.answered(seat, command)


class PutByByteTests(PutTests):
    step = 1


class PutLargeTests(DeskTestCase):
    def test_a_member_by_address(self) -> None:
        asker = self.put("photo.jpg", DATA)
        self.assertEqual(asker.said(), "go 0\n")
        asker.send(DATA)
        self.assertEqual(asker.said(), "")
        self.assertEqual(self.watch(), [])
        asker.end()
        self.assertEqual(asker.said(), "ok photo.jpg\n")
        self.assertTrue(asker.is_over)
        self.assertEqual(self.watch(), ["Alice shared photo.jpg (1.0 MB)"])
        self.assertEqual(self.shelf.files, {"photo.jpg": DATA})
        self.assertEqual(
            (self.transfer_server.handlers, self.shelf.open_now, len(self.transfer_server.uploads)), ({}, 0, 0)
        )

    def test_back_pressure(self) -> None:
        self.shelf.slow = True
        asker = self.put("a", bytes(10_000_000))
        self.shelf.go_on()
        self.assertEqual(asker.said(), "go 0\n")
        sent = 0
        while sent < 10_000_000:
            self.assertFalse(asker.pipe.halted)
            while not asker.pipe.halted and sent < 10_000_000:
                asker.send(bytes(50_000))
                sent += 50_000
            self.shelf.go_on()
        asker.end()
        while not self.watch():
            self.shelf.go_on()
        self.assertEqual(asker.said(), "ok a\n")
        self.assertLess(self.shelf.most_unwritten, FILE_CHUNK + 50_000)

    def test_who_does_not_heed_it_is_cut_off(self) -> None:
        self.shelf.slow = True
        asker = self.put("a", bytes(10_000_000))
        for _ in range(100):
            asker.send(bytes(50_000))
        self.assertTrue(asker.pipe.aborted)
        for _ in range(5):
            self.shelf.go_on()
        self.assertEqual((self.transfer_server.handlers, self.shelf.open_now), ({}, 0))


class Client(Protocol):
    """The other end of a socket."""

    transport: Any

    def __init__(self) -> None:
        self.data = b""
        self.lost: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.lost.callback(self.data)


class SocketTests(ShelfTestCase):
    """Over TCP, and to a disk."""

    @inlineCallbacks
    def test_there_and_back(self) -> Generator[Deferred[Any], Any, None]:
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
