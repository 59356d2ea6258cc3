"""The garbage collector: it has little to look through, and nothing of what ends waits for it."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any
from weakref import ref

from twisted.trial.unittest import SynchronousTestCase

from groupchat.daemon.process import FULL_COLLECTIONS, limit_collections
from tests.lobby import LobbyTestCase
from tests.quic_pair import Ear, Echo, Pair
from tests.web import KEY, WebTestCase


class ThresholdTests(SynchronousTestCase):
    def test_full_collections_are_rare_and_find_little_to_do(self) -> None:
        self.addCleanup(gc.set_threshold, *gc.get_threshold())
        self.addCleanup(gc.unfreeze)
        young = gc.get_threshold()[:2]
        limit_collections()
        self.assertEqual(gc.get_threshold(), (*young, FULL_COLLECTIONS))
        self.assertGreater(gc.get_freeze_count(), 10_000)
        self.assertLess(len(gc.get_objects()), 1_000)


class OldTestCase(SynchronousTestCase):
    """A test of objects that live for long, so that no collection but a full one looks through them."""

    def setUp(self) -> None:
        super().setUp()
        gc.disable()
        self.addCleanup(gc.enable)

    def grow_old(self) -> None:
        """Let collections look through nothing but what is made from now on."""
        gc.freeze()
        self.addCleanup(gc.unfreeze)

    def assert_freed(self, *left: ref[Any]) -> None:
        gc.collect()
        self.assertEqual([kept() for kept in left if kept() is not None], [])


class QuicTests(OldTestCase):
    def ended(self, end: Callable[[Pair], object], *, talk: bool = True) -> None:
        """Let a client connect, end its connection, and check that all of the server's side is freed."""
        pair = Pair(lambda peer: Echo())
        self.addCleanup(pair.stop)
        ear = Ear(b"hello")
        opened = pair.client.open(ear)
        pair.run(lambda: ear.heard if talk else pair.quic.clients)
        opened.addErrback(lambda failure: None)
        left = self.refs(pair)
        self.grow_old()
        end(pair)
        pair.run(lambda: not pair.quic.clients, 100)
        pair.wait(1)
        self.assert_freed(*left)

    def refs(self, pair: Pair) -> list[ref[Any]]:
        connection = pair.connection
        core = connection.core
        streams = list(connection.streams.values())
        objects = [connection, core, core.tls, core._loss, *streams, *[stream.protocol for stream in streams]]
        return [ref(one) for one in [*objects, *core._crypto_streams.values(), *core._streams.values()]]

    def test_a_connection_that_is_closed_is_freed(self) -> None:
        self.ended(lambda pair: pair.client.close())

    def test_a_connection_that_is_lost_is_freed(self) -> None:
        self.ended(lambda pair: pair.network.cut())

    def test_a_half_open_handshake_is_freed(self) -> None:
        self.ended(lambda pair: pair.network.cut(), talk=False)

    def test_a_connection_that_the_server_closes_is_freed(self) -> None:
        self.ended(lambda pair: pair.connection.close("Enough."))

    def test_a_connection_is_freed_after_a_bug(self) -> None:
        def fail(pair: Pair) -> None:
            vars(pair.connection.core)["next_event"] = lambda: 1 / 0
            pair.client._connection._connection.ping()  # type: ignore[union-attr]
            while pair.quic.clients:
                pair.clock.advance(0.001)
            pair.bugs.clear()

        self.ended(fail)

    def test_a_stream_that_ends_is_freed(self) -> None:
        pair = Pair(lambda peer: Echo())
        self.addCleanup(pair.stop)
        lasting, passing = Ear(b"hello"), Ear(b"hello")
        for ear in (lasting, passing):
            pair.client.open(ear)
            pair.run(lambda ear=ear: ear.heard)  # type: ignore[misc]
        stream = pair.connection.streams[4]
        left = [ref(stream), ref(stream.protocol)]
        del stream
        self.grow_old()
        passing.transport.loseConnection()
        pair.run(lambda: 4 not in pair.connection.streams)
        pair.wait(1)
        self.assert_freed(*left)
        self.assertEqual(lasting.told, [])


class LinesTests(OldTestCase, LobbyTestCase):
    def test_a_connection_of_live_lines_is_freed(self) -> None:
        for end in ("lose", "half_close", "quit"):
            for name in ("Alice", ""):
                caller = self.lobby.enter(name) if name else self.lobby.call()
                dialogue = ref(caller.lines.dialogue)
                self.grow_old()
                caller.send("/quit") if end == "quit" else getattr(caller, end)()
                self.lobby.settle()
                if end != "lose":
                    caller.lose()
                    self.lobby.settle()
                self.assert_freed(dialogue)


class UploadTests(OldTestCase, WebTestCase):
    def test_an_upload_over_http_is_freed(self) -> None:
        self.join()
        for ends in (True, False):
            line = self.line()
            head = f"PUT /files/x HTTP/1.1\r\nHost: x\r\nCookie: groupchat={KEY}\r\nContent-Length: 3\r\n\r\n"
            line.send(head.encode())
            upload = ref(line.channel.requests[-1].taker)
            self.grow_old()
            line.send(b"abc" if ends else b"a")
            line.lose()
            self.lobby.settle()
            self.assert_freed(upload)
