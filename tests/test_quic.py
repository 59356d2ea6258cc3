"""One connection as Twisted sees it, in memory: streams as transports, their bounds, and bad networks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from aioquic.buffer import Buffer
from aioquic.quic.connection import END_STATES, QuicConnection
from aioquic.tls import Epoch
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from groupchat.quic import FIRST_WINDOW, LEAST_AHEAD, MOST_AHEAD, STREAMS, WINDOW
from groupchat.quic.connection import Connection
from groupchat.quic.core import Core
from tests.quic_pair import Ear, Echo, Pair, Source

MB = 1_000_000


class Plain(Protocol):
    """Knows of no half of a connection."""

    def __init__(self) -> None:
        self.heard = b""
        self.told: list[str] = []

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.told.append(type(reason.value).__name__)


class PairTestCase(SynchronousTestCase):
    def pair(self, *protocols: Ear | Plain, delay: float = 0.02, loss: float = 0.0, seed: int = 1) -> Pair:
        """A pair whose server gives these protocols to streams, in turn."""
        waiting = list(protocols)
        pair = Pair(lambda peer: waiting.pop(0), delay=delay, loss=loss, seed=seed)
        self.addCleanup(pair.stop)
        return pair

    def connection(self, pair: Pair) -> Connection:
        """The server's side of the only connection."""
        (connection,) = pair.quic.callers
        return connection


class StreamTests(PairTestCase):
    def test_what_is_said_comes_and_both_ends_are_told_of_the_end(self) -> None:
        server, client = Echo(), Ear()
        pair = self.pair(server)
        pair.carrier.open(client, b"hello")
        pair.run(lambda: client.heard == b"hello")
        client.transport.write(b" there")
        client.transport.loseWriteConnection()
        pair.run(lambda: len(client.told) == 2 and len(server.told) == 2)
        self.assertEqual(client.heard, b"hello there")
        self.assertEqual((client.told, server.told), (["end", "ConnectionDone"],) * 2)
        self.assertEqual(self.connection(pair).streams, {})

    def test_a_protocol_that_knows_no_half_is_closed_when_the_other_side_ends(self) -> None:
        server, client = Plain(), Ear()
        pair = self.pair(server)
        pair.carrier.open(client, b"hello")
        pair.wait(0.5)
        client.transport.loseWriteConnection()
        pair.run(lambda: server.told == ["ConnectionDone"] and "ConnectionDone" in client.told)

    def test_one_who_ends_and_wants_to_hear_nothing_more_is_sent_nothing_more(self) -> None:
        server, client = Source(20 * MB), Ear()
        pair = self.pair(server)
        pair.carrier.open(client, b"go")
        pair.run(lambda: len(client.heard) > MB)
        client.transport.loseConnection()
        heard = len(client.heard)
        pair.run(lambda: bool(client.told) and bool(server.told))
        self.assertEqual(len(client.heard), heard)
        self.assertIn("not read", server.told)
        self.assertGreater(server.left, 0)

    def test_last_words_come_though_nothing_more_is_heard(self) -> None:
        class Last(Ear):
            def connectionMade(self) -> None:
                self.transport.write(b"x" * MB)
                self.transport.loseConnection()

        for client in (Ear(), Plain()):
            pair = self.pair(Last())
            pair.carrier.open(client, b"go")
            pair.run(lambda client=client: len(client.heard) == MB and "ConnectionDone" in client.told)  # type: ignore[misc]

    def test_last_words_come_though_the_server_stops_at_that_moment(self) -> None:
        server, client = Ear(), Ear()
        pair = self.pair(server)
        pair.carrier.open(client, b"hello")
        pair.run(lambda: bool(server.heard))
        pair.wait(1)
        server.transport.write(b"ok photo.jpg\n")
        server.transport.loseConnection()
        pair.quic.stop()
        pair.run(lambda: any(word != "end" for word in client.told))
        self.assertEqual(client.heard, b"ok photo.jpg\n")

    def test_one_that_breaks_off_ends_both_sides(self) -> None:
        server, client = Source(20 * MB), Ear()
        pair = self.pair(server)
        pair.carrier.open(client, b"go")
        pair.run(lambda: len(client.heard) > MB)
        server.transport.abortConnection()
        pair.run(lambda: bool(client.told))
        self.assertEqual(server.told, ["ConnectionAborted"])
        self.assertEqual(client.told[-1], "ConnectionLost")
        pair.run(lambda: not self.connection(pair).streams)

    def test_what_is_written_after_the_end_is_not_sent_and_no_error(self) -> None:
        server, client = Echo(), Ear()
        pair = self.pair(server)
        pair.carrier.open(client, b"hello")
        pair.run(lambda: bool(client.heard))
        client.transport.loseConnection()
        client.transport.write(b"more")
        client.transport.loseConnection()
        client.transport.abortConnection()
        client.transport.abortConnection()
        pair.run(lambda: bool(server.told))
        self.assertEqual(server.heard, b"hello")

    def test_several_streams_do_not_wait_for_each_other(self) -> None:
        servers = [Source(2 * MB), Echo(), Source(1 * MB)]
        clients = [Ear() for _ in servers]
        pair = self.pair(*servers)
        for client in clients:
            pair.carrier.open(client, b"hello")
        pair.run(lambda: clients[1].heard == b"hello")
        self.assertLess(len(clients[0].heard), 2 * MB)
        pair.run(lambda: len(clients[0].heard) == 2 * MB and len(clients[2].heard) == MB)

    def test_a_seventeenth_stream_waits_for_an_end_of_the_others(self) -> None:
        servers, clients = [Echo() for _ in range(STREAMS + 1)], [Ear() for _ in range(STREAMS + 1)]
        pair = self.pair(*servers)
        for client in clients:
            pair.carrier.open(client, b"hello")
        pair.run(lambda: all(client.heard for client in clients[:-1]))
        pair.wait(1)
        self.assertEqual(clients[-1].heard, b"")
        for client in clients[:-1]:
            client.transport.loseConnection()
        pair.run(lambda: clients[-1].heard == b"hello")

    def test_hundreds_of_streams_one_after_another(self) -> None:
        pair = Pair(lambda peer: Echo(), delay=0.001)
        self.addCleanup(pair.stop)
        for _ in range(300):
            client = Ear()
            pair.carrier.open(client, b"hello")
            pair.run(lambda client=client: client.heard == b"hello")  # type: ignore[misc]
            client.transport.loseConnection()
        pair.run(lambda: not self.connection(pair).streams)

    def test_a_bug_in_one_protocol_ends_its_stream_and_no_other(self) -> None:
        class Buggy(Ear):
            def dataReceived(self, data: bytes) -> None:
                raise ValueError("a bug")

        clients = [Ear(), Ear()]
        pair = self.pair(Buggy(), Echo())
        for client in clients:
            pair.carrier.open(client, b"hello")
        with self.assertRaisesRegex(AssertionError, "a bug"):
            pair.run(lambda: clients[1].heard and clients[0].told)
        pair.bugs.clear()
        self.assertEqual(clients[0].told[-1], "ConnectionLost")
        clients[1].transport.write(b"!")
        pair.run(lambda: clients[1].heard == b"hello!")


class FlowTests(PairTestCase):
    def test_a_producer_is_paused_and_goes_on_so_that_little_waits(self) -> None:
        server, client = Source(4 * MB), Ear()
        pair = self.pair(server)
        pair.carrier.open(client, b"go")
        pair.run(lambda: "end" in client.told)
        self.assertEqual(len(client.heard), 4 * MB)
        self.assertLessEqual(server.most, MOST_AHEAD + 16_384)

    def test_for_one_who_takes_nothing_little_waits(self) -> None:
        server, client = Source(4 * MB), Ear()
        pair = self.pair(server)
        pair.carrier.open(client, b"go")
        pair.run(lambda: bool(client.heard))
        pair.network.there.lossy.is_cut = True
        most = self.connection(pair).core.most_unsent
        pair.wait(5)
        self.assertLessEqual(self.connection(pair).core.all_unsent(), max(most, LEAST_AHEAD) + 16_384)

    def test_one_that_reads_nothing_is_sent_no_more_than_was_allowed(self) -> None:
        server, client = Ear(), Source(4 * MB)
        pair = self.pair(server)
        pair.carrier.open(client)
        pair.run(lambda: bool(server.heard))
        server.transport.pauseProducing()
        heard = len(server.heard)
        pair.wait(3)
        self.assertEqual(len(server.heard), heard)
        core = self.connection(pair).core
        self.assertLessEqual(max(core.received.values()) - heard, FIRST_WINDOW)
        server.transport.resumeProducing()
        pair.run(lambda: "end" in server.told)
        self.assertEqual(len(server.heard), 4 * MB)

    def test_all_streams_together_may_not_bring_more_than_one_window(self) -> None:
        servers, clients = [Ear() for _ in range(4)], [Source(5 * MB) for _ in range(4)]
        pair = self.pair(*servers)
        for client in clients:
            pair.carrier.open(client)
        pair.run(lambda: all(server.heard for server in servers))
        pair.run(lambda: all(len(server.heard) > MB for server in servers))
        for server in servers:
            server.transport.pauseProducing()
        taken = sum(len(server.heard) for server in servers)
        pair.wait(5)
        core = self.connection(pair).core
        self.assertLessEqual(sum(core.received.values()) - taken, WINDOW)
        for server in servers:
            server.transport.resumeProducing()
        pair.run(lambda: all("end" in server.told for server in servers))
        self.assertEqual([len(server.heard) for server in servers], [5 * MB] * 4)

    def test_nor_by_streams_that_were_given_up_but_have_not_ended(self) -> None:
        """Somebody who does not heed that, and sends on, with gaps."""
        servers, clients = [Ear() for _ in range(STREAMS)], [Ear() for _ in range(STREAMS)]
        pair = self.pair(*servers)
        for client in clients:
            pair.carrier.open(client, b"go")
        pair.run(lambda: all(server.heard for server in servers))
        connection = self.connection(pair)
        core: Any = connection.core
        pair.network.cut()
        for server in servers:
            server.transport.abortConnection()
        streams = list(core._streams.values())

        def send(stream: Any, offset: int, size: int) -> None:
            """A frame, if it is within what was let in."""
            room = core._local_max_data.value - core._local_max_data.used
            if offset + size <= stream.max_stream_data_local and offset + size - stream.receiver.highest_offset <= room:
                buf = Buffer(capacity=size + 24)
                for number in (stream.stream_id, offset, size):
                    buf.push_uint_var(number)
                buf.push_bytes(bytes(size))
                core._handle_stream_frame(SimpleNamespace(), 14, Buffer(data=buf.data))
                connection._handle_events()
                connection.flush()

        for stream in streams:
            for _ in range(2 * WINDOW // 16_384):
                send(stream, stream.receiver.highest_offset, 16_384)
            for _ in range(16):
                send(stream, stream.receiver.highest_offset + WINDOW // 32, 1)
        self.assertLessEqual(sum(len(stream.receiver._buffer) for stream in streams), WINDOW)

    def test_what_came_of_a_stream_that_was_broken_off_does_not_take_the_room_of_others(self) -> None:
        servers = [Ear() for _ in range(60)]
        pair = self.pair(*servers)
        for server in servers:
            client = Source(5 * MB)
            pair.carrier.open(client)
            pair.run(lambda server=server: bool(server.heard))  # type: ignore[misc]
            server.transport.pauseProducing()
            pair.wait(0.1)
            client.transport.abortConnection()
            pair.run(lambda server=server: bool(server.told))  # type: ignore[misc]
        self.assertEqual(servers[-1].told[-1], "ConnectionLost")


class NetworkTests(PairTestCase):
    def test_everything_comes_whole_whatever_is_lost_doubled_or_overtaken(self) -> None:
        for loss in (0.0, 0.01, 0.05, 0.1, 0.2):
            down, up, ear_down, ear_up = Source(MB), Ear(), Ear(), Source(MB)
            pair = self.pair(down, up, loss=loss, seed=int(loss * 100))
            pair.network.change(doubling=0.05, reordering=0.1, extra=0.01)
            pair.carrier.open(ear_down, b"go")
            pair.carrier.open(ear_up)
            pair.run(lambda: "end" in ear_down.told and "end" in up.told, 600)  # noqa: B023
            self.assertEqual((len(ear_down.heard), len(up.heard)), (MB, MB), loss)

    def test_a_client_whose_address_changes_goes_on_and_its_address_is_believed_once_it_is_proven(self) -> None:
        server, client = Source(4 * MB), Ear()
        pair = self.pair(server)
        pair.carrier.open(client, b"go")
        pair.run(lambda: len(client.heard) > MB)
        connection = self.connection(pair)
        self.assertEqual(connection.core.proven_address, pair.address)
        old, pair.address = pair.address, ("192.0.2.99", 50_000)
        self.assertNotEqual(old, pair.address)
        seen = set()
        while connection.core.get_peer_address() != pair.address:
            seen.add(connection.core.proven_address)
            pair.clock.advance(0.001)
        self.assertIsNone(connection.core.proven_address)
        pair.run(lambda: "end" in client.told)
        self.assertEqual(seen, {old})
        self.assertEqual(connection.core.proven_address, pair.address)
        self.assertEqual(len(client.heard), 4 * MB)

    def test_a_datagram_from_a_forged_address_takes_nobody_for_long(self) -> None:
        """Somebody resends what a client sent, from the address of a member that is to be impersonated."""
        server, client = Source(4 * MB), Ear()
        pair = self.pair(server)
        pair.carrier.open(client, b"go")
        pair.run(lambda: len(client.heard) > MB)
        real, deliver = pair.address, pair._arrive
        connection = self.connection(pair)

        def forge(datagram: bytes) -> None:
            pair.quic.take(datagram, ("203.0.113.5", 7), lambda *_: None)

        pair._arrive = forge  # type: ignore[method-assign]
        pair.run(lambda: connection.core.get_peer_address() == ("203.0.113.5", 7))
        self.assertIsNone(connection.core.proven_address)
        pair._arrive = deliver  # type: ignore[method-assign]
        pair.run(lambda: "end" in client.told)
        self.assertEqual(connection.core.proven_address, real)

    def test_a_client_that_is_gone_is_given_up_after_a_while_and_leaves_nothing(self) -> None:
        server, client = Echo(), Ear()
        pair = self.pair(server)
        pair.carrier.open(client, b"hello")
        pair.run(lambda: bool(client.heard))
        pair.network.cut()
        pair.run(lambda: not pair.quic.callers, 60)
        self.assertEqual(server.told, ["ConnectionLost"])
        self.assertEqual((pair.quic._by_id, pair.quic._per_host), ({}, {}))

    def test_a_server_that_knows_the_connection_no_longer_is_noticed_soon(self) -> None:
        server, client = Echo(), Ear()
        pair = self.pair(server)
        pair.carrier.open(client, b"hello")
        pair.run(lambda: bool(client.heard))
        pair.network.there.lossy.is_cut = True
        pair.carrier.received(b"Illegal message")
        pair.run(lambda: bool(client.told), 5)
        self.assertEqual(client.told[-1], "ConnectionLost")

    def test_one_that_says_goodbye_is_gone_at_once(self) -> None:
        """Whatever it has still under way, such as datagrams that try how large others may be."""
        pair = Pair(lambda peer: Echo())
        self.addCleanup(pair.stop)
        for _ in range(5):
            pair.carrier.open(Ear(), b"hello")
            pair.run(lambda: pair.carrier._ready)
            pair.clock.advance(0)
            pair.carrier.close()
        pair.run(lambda: not pair.quic.callers, 3)

    def test_words_that_anybody_may_have_sent_end_nothing(self) -> None:
        server, client = Echo(), Ear()
        pair = self.pair(server)
        pair.carrier.open(client, b"hello")
        pair.run(lambda: bool(client.heard))
        pair.carrier.received(b"Illegal message")
        pair.wait(10)
        self.assertEqual(client.told, [])

    def test_a_connection_on_which_something_is_open_is_kept_for_ever_and_one_with_nothing_is_not(self) -> None:
        server, client = Echo(), Ear()
        pair = self.pair(server)
        pair.carrier.open(client, b"hello")
        pair.wait(600)
        self.assertEqual(client.told, [])
        client.transport.loseConnection()
        pair.run(lambda: not pair.quic.callers, 120)
        self.assertEqual(pair.carrier._connection, None)


class SizeTests(PairTestCase):
    def size(self, *, passes: int, here: bool = False) -> int:
        """How large the server's datagrams become where so much passes, in bytes, if it is `here`, on this machine."""
        server, client = Source(2 * MB), Ear()
        pair = self.pair(server)
        if here:
            pair.address = ("127.0.0.1", 40_000)
        pair.network.change(largest=passes)
        pair.carrier.open(client, b"go")
        pair.run(lambda: "end" in client.told)
        return self.connection(pair).core._max_datagram_size

    def test_datagrams_are_as_large_as_come_through(self) -> None:
        self.assertEqual(self.size(passes=65_507), 1_452)
        self.assertEqual(self.size(passes=1_300), 1_200)
        self.assertEqual(self.size(passes=65_507, here=True), 16_000)
        self.assertEqual(self.size(passes=8_000, here=True), 1_452)

    def test_they_are_small_again_where_larger_ones_come_through_no_longer(self) -> None:
        server, client = Source(4 * MB), Ear()
        pair = self.pair(server)
        pair.carrier.open(client, b"go")
        pair.run(lambda: self.connection(pair).core._max_datagram_size == 1_452 if pair.quic.callers else False)
        pair.network.change(largest=1_300)
        pair.run(lambda: "end" in client.told, 120)
        self.assertEqual(len(client.heard), 4 * MB)


class PrivateTests(SynchronousTestCase):
    """Whatever of aioquic is not public and is used all the same: its newer version may do without."""

    def test_it_is_all_there(self) -> None:
        pair = Pair(lambda peer: Echo())
        self.addCleanup(pair.stop)
        client = Ear()
        pair.carrier.open(client, b"hello")
        pair.run(lambda: bool(client.heard))
        (server,) = pair.quic.callers
        connection = pair.carrier._connection
        assert connection is not None
        for core in (server.core, connection.core):
            self.assertIsInstance(core, Core)
            (stream,) = core._streams.values()
            self.assertIsInstance(stream.sender._buffer, bytearray)
            self.assertIsNone(stream.sender._reset_error_code)
            self.assertEqual(len(stream.receiver._ranges), 0)
            self.assertEqual(stream.receiver.highest_offset, 5)
            self.assertGreaterEqual(stream.max_stream_data_local, stream.max_stream_data_local_sent)
            self.assertFalse(stream.receiver.is_finished or stream.sender.is_finished)
            self.assertGreater(core._loss.congestion_window, 0)
            self.assertEqual(core._loss._pto_count, 0)
            sizes = {core._max_datagram_size, core._loss._pacer._max_datagram_size}
            self.assertEqual(sizes, {core._loss._cc._max_datagram_size})  # type: ignore[attr-defined]
            self.assertTrue(core._handshake_confirmed)
            self.assertEqual(len(core._crypto_streams[Epoch.ONE_RTT].receiver._ranges), 0)
            self.assertEqual(len(core.tls._receive_buffer), 0)
            self.assertFalse(core._close_pending or core._state in END_STATES)
            self.assertIsInstance(core._packet_number, int)
            self.assertIsInstance(core._peer_cid.cid, bytes)
            self.assertIn(core._version, core.configuration.supported_versions)
            self.assertTrue(core._cryptos[Epoch.ONE_RTT].send.is_valid())
            for limit in (core._local_max_data, core._local_max_streams_bidi, core._local_max_streams_uni):
                self.assertLessEqual(limit.used, limit.value)
                self.assertLessEqual(limit.sent, limit.value)
            self.assertTrue(core._network_paths[0].is_validated)
            self.assertEqual(core._is_client, core is connection.core)
        self.assertIsNotNone(connection.core.tls._peer_certificate)
        self.assertEqual(connection.core.tls._peer_certificate_chain, [])
        for overridden in (
            "_handle_stream_frame",
            "_handle_crypto_frame",
            "_write_stream_limits",
            "_write_connection_limits",
        ):
            self.assertTrue(callable(getattr(QuicConnection, overridden)))
        for used in ("_on_max_stream_data_delivery", "_on_connection_limit_delivery", "_flush_builder"):
            self.assertTrue(callable(getattr(QuicConnection, used)))


class WordsOfTheServerTests(SynchronousTestCase):
    def test_why_a_server_refuses_a_connection_cannot_drive_a_terminal(self) -> None:
        pair = Pair(lambda peer: Ear())
        self.addCleanup(pair.stop)
        opened = pair.carrier.open(Ear())
        connection = pair.carrier._connection
        assert connection is not None
        connection._end("\x1b]0;mine\x07go\naway\x9b2J\N{RIGHT-TO-LEFT OVERRIDE}")
        self.assertEqual(str(self.failureResultOf(opened, ConnectError).value.args[0]), "]0;minego away2J")
