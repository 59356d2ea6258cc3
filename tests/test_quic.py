"""One connection as Twisted sees it, in memory: streams as transports, their limits, and bad networks."""

from __future__ import annotations

import ast
import inspect
from types import SimpleNamespace
from typing import Any, ClassVar

from aioquic.buffer import Buffer
from aioquic.quic.connection import QuicConnection
from aioquic.tls import Epoch
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from groupchat.client import quic as client_module
from groupchat.client.udp import Address
from groupchat.core.limits import HANDSHAKE_SECONDS, Limits
from groupchat.frontends.quic import MIN_HOSTS
from groupchat.quic import FIRST_WINDOW, MAX_SEND_BUFFER, MAX_STREAMS, MIN_SEND_BUFFER, WINDOW
from groupchat.quic import core as core_module
from tests.quic_pair import Ear, Echo, Pair, Source

MB = 1_000_000


class Plain(Protocol):
    """A protocol that is not half-closeable."""

    def __init__(self) -> None:
        self.heard = b""
        self.told: list[str] = []

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.told.append(type(reason.value).__name__)


class PairTestCase(SynchronousTestCase):
    def pair(self, *protocols: Ear | Plain, delay: float = 0.02, loss: float = 0.0, seed: int = 1) -> Pair:
        """Return a pair whose server connects these protocols to streams, one after another."""
        waiting = list(protocols)
        pair = Pair(lambda peer: waiting.pop(0), delay=delay, loss=loss, seed=seed)
        self.addCleanup(pair.stop)
        return pair

    def talk(self, server: Ear, client: Ear, count: int = 0) -> Pair:
        """Return a pair with a stream on which the client said hello, and received more than so many bytes."""
        pair = self.pair(server)
        pair.client.open(client, b"hello")
        pair.run(lambda: len(client.heard) > count)
        return pair


class AddressesTests(PairTestCase):
    def test_the_next_address_is_tried_if_a_handshake_fails(self) -> None:
        pair = self.pair()
        client, why = pair.client, "Could not find a common protocol version"
        opened = client.open(Ear(), b"hello")
        client._addresses = [client_module.ANYWHERE]
        first = client._connection
        assert first is not None
        first.ended(first._connection, why)
        second = client._connection
        assert second is not None
        self.assertIsNot(second, first)
        self.assertNoResult(opened)
        second.ended(second._connection, why)
        self.assertIn(why, str(self.failureResultOf(opened, ConnectError).value))


class StreamTests(PairTestCase):
    def test_data_arrives_and_both_ends_learn_of_the_end(self) -> None:
        server, client = Echo(), Ear()
        pair = self.pair(server)
        pair.client.open(client, b"hello")
        pair.run(lambda: client.heard == b"hello")
        client.transport.write(b" there")
        client.transport.loseWriteConnection()
        pair.run(lambda: len(client.told) == 2 and len(server.told) == 2)
        self.assertEqual(client.heard, b"hello there")
        self.assertEqual((client.told, server.told), (["end", "ConnectionDone"],) * 2)
        self.assertEqual(pair.connection.streams, {})

    def test_a_protocol_that_is_not_half_closeable_is_closed(self) -> None:
        server, client = Plain(), Ear()
        pair = self.pair(server)
        pair.client.open(client, b"hello")
        pair.wait(0.5)
        client.transport.loseWriteConnection()
        pair.run(lambda: server.told == ["ConnectionDone"] and "ConnectionDone" in client.told)

    def test_nothing_arrives_after_lose_connection(self) -> None:
        server, client = Source(20 * MB), Ear()
        pair = self.talk(server, client, MB)
        client.transport.loseConnection()
        heard = len(client.heard)
        pair.run(lambda: bool(client.told) and bool(server.told))
        self.assertEqual(len(client.heard), heard)
        self.assertIn("not read", server.told)
        self.assertGreater(server.left, 0)

    def test_data_before_lose_connection_arrives(self) -> None:
        class Last(Ear):
            def connectionMade(self) -> None:
                self.transport.write(b"x" * MB)
                self.transport.loseConnection()

        for client in (Ear(), Plain()):
            pair = self.pair(Last())
            pair.client.open(client, b"go")
            pair.run(lambda client=client: len(client.heard) == MB and "ConnectionDone" in client.told)  # type: ignore[misc]

    def test_data_written_just_before_the_server_stops_arrives(self) -> None:
        server, client = Ear(), Ear()
        pair = self.pair(server)
        pair.client.open(client, b"hello")
        pair.run(lambda: bool(server.heard))
        pair.wait(1)
        server.transport.write(b"ok photo.jpg\n")
        server.transport.loseConnection()
        pair.quic.stop()
        pair.run(lambda: any(word != "end" for word in client.told))
        self.assertEqual(client.heard, b"ok photo.jpg\n")

    def test_abort_connection_ends_both_sides(self) -> None:
        server, client = Source(20 * MB), Ear()
        pair = self.talk(server, client, MB)
        server.transport.abortConnection()
        pair.run(lambda: bool(client.told))
        self.assertEqual(server.told, ["ConnectionAborted"])
        self.assertEqual(client.told[-1], "ConnectionLost")
        pair.run(lambda: not pair.connection.streams)

    def test_writing_and_closing_after_the_end_do_nothing(self) -> None:
        server, client = Echo(), Ear()
        pair = self.talk(server, client)
        client.transport.loseConnection()
        client.transport.write(b"more")
        client.transport.loseConnection()
        client.transport.abortConnection()
        client.transport.abortConnection()
        pair.run(lambda: bool(server.told))
        self.assertEqual(server.heard, b"hello")

    def test_streams_do_not_wait_for_each_other(self) -> None:
        servers = [Source(2 * MB), Echo(), Source(1 * MB)]
        clients = [Ear() for _ in servers]
        pair = self.pair(*servers)
        for client in clients:
            pair.client.open(client, b"hello")
        pair.run(lambda: clients[1].heard == b"hello")
        self.assertLess(len(clients[0].heard), 2 * MB)
        pair.run(lambda: len(clients[0].heard) == 2 * MB and len(clients[2].heard) == MB)

    def test_a_stream_over_the_limit_waits_until_another_ends(self) -> None:
        servers, clients = [Echo() for _ in range(MAX_STREAMS + 1)], [Ear() for _ in range(MAX_STREAMS + 1)]
        pair = self.pair(*servers)
        for client in clients:
            pair.client.open(client, b"hello")
        pair.run(lambda: all(client.heard for client in clients[:-1]))
        pair.wait(1)
        self.assertEqual(clients[-1].heard, b"")
        for client in clients[:-1]:
            client.transport.loseConnection()
        pair.run(lambda: clients[-1].heard == b"hello")

    def test_hundreds_of_streams_one_after_another(self) -> None:
        pair = self.pair(*(Echo() for _ in range(300)), delay=0.001)
        for _ in range(300):
            client = Ear()
            pair.client.open(client, b"hello")
            pair.run(lambda client=client: client.heard == b"hello")  # type: ignore[misc]
            client.transport.loseConnection()
        pair.run(lambda: not pair.connection.streams)

    def test_a_bug_in_a_protocol_ends_only_its_stream(self) -> None:
        class Buggy(Ear):
            def dataReceived(self, data: bytes) -> None:
                raise ValueError("a bug")

        clients = [Ear(), Ear()]
        pair = self.pair(Buggy(), Echo())
        for client in clients:
            pair.client.open(client, b"hello")
        with self.assertRaisesRegex(AssertionError, "a bug"):
            pair.run(lambda: clients[1].heard and clients[0].told)
        pair.bugs.clear()
        self.assertEqual(clients[0].told[-1], "ConnectionLost")
        clients[1].transport.write(b"!")
        pair.run(lambda: clients[1].heard == b"hello!")


class FlowTests(PairTestCase):
    def test_a_producer_is_paused_while_the_buffer_is_full(self) -> None:
        server, client = Source(4 * MB), Ear()
        pair = self.talk(server, client)
        pair.run(lambda: "end" in client.told)
        self.assertEqual(len(client.heard), 4 * MB)
        self.assertLessEqual(server.most, MAX_SEND_BUFFER + 16_384)

    def test_little_is_buffered_when_nothing_is_acknowledged(self) -> None:
        server, client = Source(4 * MB), Ear()
        pair = self.talk(server, client)
        pair.network.there.lossy.is_cut = True
        core = pair.connection.core
        most = core.send_buffer
        pair.wait(5)
        self.assertLessEqual(sum(map(core.unacknowledged, core.received)), max(most, MIN_SEND_BUFFER) + 16_384)

    def test_a_paused_protocol_receives_no_more_than_the_window(self) -> None:
        server, client = Ear(), Source(4 * MB)
        pair = self.pair(server)
        pair.client.open(client)
        pair.run(lambda: bool(server.heard))
        server.transport.pauseProducing()
        heard = len(server.heard)
        pair.wait(3)
        self.assertEqual(len(server.heard), heard)
        core = pair.connection.core
        self.assertLessEqual(max(core.received.values()) - heard, FIRST_WINDOW)
        server.transport.resumeProducing()
        pair.run(lambda: "end" in server.told)
        self.assertEqual(len(server.heard), 4 * MB)

    def test_paused_streams_share_the_window_of_the_connection(self) -> None:
        servers, clients = [Ear() for _ in range(4)], [Source(3 * MB) for _ in range(4)]
        pair = self.pair(*servers)
        for client in clients:
            pair.client.open(client)
        pair.run(lambda: all(len(server.heard) > MB for server in servers))
        for server in servers:
            server.transport.pauseProducing()
        taken = sum(len(server.heard) for server in servers)
        pair.wait(5)
        core = pair.connection.core
        self.assertLessEqual(sum(core.received.values()) - taken, WINDOW)
        for server in servers:
            server.transport.resumeProducing()
        pair.run(lambda: all("end" in server.told for server in servers))
        self.assertEqual([len(server.heard) for server in servers], [3 * MB] * 4)

    def test_aborted_streams_cannot_exceed_the_window(self) -> None:
        """The client ignores that they were aborted, and goes on sending, with gaps."""
        servers, clients = [Ear() for _ in range(MAX_STREAMS)], [Ear() for _ in range(MAX_STREAMS)]
        pair = self.pair(*servers)
        for client in clients:
            pair.client.open(client, b"go")
        pair.run(lambda: all(server.heard for server in servers))
        connection = pair.connection
        core: Any = connection.core
        pair.network.cut()
        for server in servers:
            server.transport.abortConnection()
        streams = list(core._streams.values())

        def send(stream: Any, offset: int, size: int) -> None:
            """Handle a frame, if it is within the limits."""
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

    def test_data_of_aborted_streams_does_not_use_up_the_window(self) -> None:
        servers = [Ear() for _ in range(60)]
        pair = self.pair(*servers)
        for server in servers:
            client = Source(5 * MB)
            pair.client.open(client)
            pair.run(lambda server=server: bool(server.heard))  # type: ignore[misc]
            server.transport.pauseProducing()
            pair.wait(0.1)
            client.transport.abortConnection()
            pair.run(lambda server=server: bool(server.told))  # type: ignore[misc]
        self.assertEqual(servers[-1].told[-1], "ConnectionLost")


class NetworkTests(PairTestCase):
    def test_all_data_arrives_over_bad_networks(self) -> None:
        for loss in (0.0, 0.01, 0.05, 0.1, 0.2):
            down, up, ear_down, ear_up = Source(MB), Ear(), Ear(), Source(MB)
            pair = self.pair(down, up, loss=loss, seed=int(loss * 100))
            pair.network.change(doubling=0.05, reordering=0.1, extra=0.01)
            pair.client.open(ear_down, b"go")
            pair.client.open(ear_up)
            pair.run(lambda: "end" in ear_down.told and "end" in up.told, 600)  # noqa: B023
            self.assertEqual((len(ear_down.heard), len(up.heard)), (MB, MB), loss)

    def test_a_new_address_of_the_client_is_used_once_proven(self) -> None:
        server, client = Source(4 * MB), Ear()
        pair = self.talk(server, client, MB)
        connection = pair.connection
        self.assertEqual(connection.core.proven_address, pair.address)
        old, pair.address = pair.address, ("192.0.2.99", 50_000)
        seen = set()
        while connection.core.get_peer_address() != pair.address:
            seen.add(connection.core.proven_address)
            pair.clock.advance(0.001)
        self.assertIsNone(connection.core.proven_address)
        pair.run(lambda: "end" in client.told)
        self.assertEqual(seen, {old})
        self.assertEqual(connection.core.proven_address, pair.address)
        self.assertEqual(len(client.heard), 4 * MB)

    def test_a_forged_address_does_not_keep_the_connection(self) -> None:
        """An attacker resends datagrams of a client from the address of a member to be impersonated."""
        server, client = Source(4 * MB), Ear()
        pair = self.talk(server, client, MB)
        real, deliver = pair.address, pair.arrive
        connection = pair.connection

        def forge(datagram: bytes) -> None:
            pair.quic.take(datagram, ("203.0.113.5", 7), lambda *_: None)

        pair.arrive = forge  # type: ignore[method-assign]
        pair.run(lambda: connection.core.get_peer_address() == ("203.0.113.5", 7))
        self.assertIsNone(connection.core.proven_address)
        pair.arrive = deliver  # type: ignore[method-assign]
        pair.run(lambda: "end" in client.told)
        self.assertEqual(connection.core.proven_address, real)

    def test_a_client_that_is_gone_leaves_nothing_behind(self) -> None:
        server, client = Echo(), Ear()
        pair = self.talk(server, client)
        pair.network.cut()
        pair.run(lambda: not pair.quic.clients, 60)
        self.assertEqual(server.told, ["ConnectionLost"])
        self.assertEqual((pair.quic._by_id, pair.quic._per_host), ({}, {}))

    def test_an_ipv6_network_counts_as_one_host(self) -> None:
        pair = self.pair()
        pair.address = ("2001:db8::1", 40_000)
        pair.client.open(Ear(), b"hello")
        pair.run(lambda: bool(pair.quic.clients))
        self.assertEqual(pair.quic._per_host, {"2001:db8::/64": 1})
        pair.quic._per_host["2001:db8::/64"] = Limits().max_quic // MIN_HOSTS
        self.assertTrue(pair.quic._is_full("2001:db8::ffff:2"))
        self.assertFalse(pair.quic._is_full("2001:db8:0:1::1"))

    def test_a_half_open_handshake_is_given_up(self) -> None:
        pair = self.pair()
        opened = pair.client.open(Ear(), b"hello")
        pair.run(lambda: bool(pair.quic.clients))
        pair.network.cut()
        pair.wait(HANDSHAKE_SECONDS - 1)
        self.assertEqual(len(pair.quic.clients), 1)
        pair.wait(2)
        self.failureResultOf(opened, ConnectError)
        self.assertEqual((pair.quic.clients, pair.quic._by_id, pair.quic._per_host), ({}, {}, {}))

    def test_a_client_soon_notices_that_the_server_forgot_it(self) -> None:
        server, client = Echo(), Ear()
        pair = self.talk(server, client)
        pair.network.there.lossy.is_cut = True
        pair.client.received(b"Illegal message")
        pair.run(lambda: bool(client.told), 5)
        self.assertEqual(client.told[-1], "ConnectionLost")

    def test_a_connection_closed_by_the_client_is_gone_at_once(self) -> None:
        pair = self.pair(*(Echo() for _ in range(5)))
        for _ in range(5):
            opened = pair.client.open(Ear(), b"hello")
            pair.run(lambda opened=opened: opened.called)  # type: ignore[misc]
            pair.clock.advance(0)
            pair.client.close()
        pair.run(lambda: not pair.quic.clients, 3)

    def test_a_forged_refusal_does_not_end_a_connection(self) -> None:
        server, client = Echo(), Ear()
        pair = self.talk(server, client)
        pair.client.received(b"Illegal message")
        pair.wait(10)
        self.assertEqual(client.told, [])

    def test_a_connection_is_kept_only_while_a_stream_is_open(self) -> None:
        client = Ear()
        pair = self.talk(Echo(), client)
        pair.wait(600)
        self.assertEqual(client.told, [])
        client.transport.loseConnection()
        pair.run(lambda: not pair.quic.clients, 120)
        self.assertEqual(pair.client._connection, None)


class PrivateTests(PairTestCase):
    """The private names of aioquic that the package uses: a newer version may do without them."""

    NAMES: ClassVar[dict[str, set[str]]] = {
        "": {
            "_crypto_streams",
            "_handle_crypto_frame",
            "_handle_stream_frame",
            "_local_max_data",
            "_local_max_streams_bidi",
            "_local_max_streams_uni",
            "_loss",
            "_network_paths",
            "_streams",
            "_write_connection_limits",
            "_write_stream_limits",
        },
        "tls": {"_peer_certificate", "_peer_certificate_chain", "_receive_buffer"},
        "receiver": {"_ranges"},
        "sender": {"_buffer"},
    }
    """By the object that has them; those without a name are the connection's own."""

    def test_no_other_private_names_are_used(self) -> None:
        nodes = list(ast.walk(ast.parse(inspect.getsource(core_module))))
        used = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        used |= {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
        private = {name for name in used if name.startswith("_") and not name.startswith("__")}
        self.assertEqual(private, set().union(*self.NAMES.values()))

    def test_all_private_names_exist(self) -> None:
        client = Ear()
        pair = self.talk(Echo(), client)
        for core in (pair.connection.core, client.transport.core):
            (stream,) = core._streams.values()
            owners = {"": core, "tls": core.tls, "receiver": stream.receiver, "sender": stream.sender}
            for owner, names in self.NAMES.items():
                for name in names:
                    self.assertTrue(name in vars(owners[owner]) or hasattr(QuicConnection, name), name)
            self.assertIsInstance(stream.sender._buffer, bytearray)
            self.assertEqual(len(stream.receiver._ranges), 0)
            self.assertEqual(stream.receiver.highest_offset, 5)
            self.assertGreaterEqual(stream.max_stream_data_local, stream.max_stream_data_local_sent)
            self.assertFalse(stream.receiver.is_finished or stream.sender.is_finished)
            self.assertGreater(core._loss.congestion_window, 0)
            self.assertTrue(core._loss.handshake_confirmed)
            self.assertEqual(len(core._crypto_streams[Epoch.ONE_RTT].receiver._ranges), 0)
            self.assertEqual(len(core.tls._receive_buffer), 0)
            for limit in (core._local_max_data, core._local_max_streams_bidi, core._local_max_streams_uni):
                self.assertLessEqual(limit.used, limit.value)
                self.assertLessEqual(limit.sent, limit.value)
            self.assertTrue(core._network_paths[0].is_validated)
        self.assertIsNotNone(client.transport.core.tls._peer_certificate)
        self.assertEqual(client.transport.core.tls._peer_certificate_chain, [])


class ClientTests(PairTestCase):
    def test_a_reason_from_the_server_cannot_drive_a_terminal(self) -> None:
        pair = self.pair()
        opened = pair.client.open(Ear())
        connection: Any = pair.client._connection
        connection.ended(connection, "\x1b]0;mine\x07go\naway\x9b2J\N{RIGHT-TO-LEFT OVERRIDE}")
        self.assertEqual(str(self.failureResultOf(opened, ConnectError).value.args[0]), "]0;minego away2J")

    def test_the_next_address_is_tried_when_one_refuses(self) -> None:
        pair, client = self.pair(Echo()), Ear()
        pair.client.link = None
        tried = []

        def socket(reactor: object, address: tuple[str, int], receiver: Any) -> Any:
            tried.append((address[0], receiver))
            return SimpleNamespace(send=pair.send, close=lambda: None)

        self.patch(client_module, "deferToThread", maybeDeferred)
        self.patch(client_module, "resolve", lambda host, port: [Address("::1", port), Address("127.0.0.1", port)])
        self.patch(client_module, "ConnectedSocket", socket)
        pair.client.open(client, b"hello")
        tried[0][1].refused("nothing is listening there")
        pair.run(lambda: client.heard == b"hello")
        self.assertEqual([host for host, _ in tried], ["::1", "127.0.0.1"])
