"""QUIC on the UDP port of the five messages: which datagrams belong to it, who may connect, and when connections end.

The protocol of a stream is chosen by whoever makes the `Quic`: see the package transfers.

A datagram is QUIC's if its two top bits are 11, and it is a long header of at least 1,200 bytes or names a known
connection id; or if they are 01, and the bytes after the first are a known connection id. All others are text. Nothing
is kept of a client until it has proven its address with a Retry token: RFC 9000, section 8.1.2.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aioquic.buffer import Buffer
from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE, QuicConfiguration
from aioquic.quic.packet import (
    QuicHeader,
    QuicPacketType,
    encode_quic_retry,
    encode_quic_version_negotiation,
    pull_quic_header,
)
from aioquic.quic.retry import QuicRetryTokenHandler
from twisted.application import service
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.interfaces import IProtocol, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from groupchat.core.events import Address
from groupchat.core.limits import HANDSHAKE_SECONDS, QUIC_IDLE, Limits
from groupchat.core.networks import network_of
from groupchat.frontends.transfers.server import Peer, TransferServer
from groupchat.quic import ALPN, FIRST_WINDOW, ID_LENGTH, WINDOW, destination_id
from groupchat.quic.certificate import Certificate
from groupchat.quic.connection import Connection
from groupchat.quic.core import Core
from groupchat.quic.scheduler import Scheduler
from groupchat.quic.stream import StreamTransport

MIN_HOSTS = 2
"""The number of hosts that it takes at least to use up all connections."""

Send = Callable[[bytes, Address], object]


@dataclass(eq=False, slots=True)
class Client:
    """The other side of one connection.

    `since` is when the connection was made, or completed its handshake, or last had a stream.
    """

    peer: Peer
    since: float
    ids: set[bytes] = field(default_factory=set)


class Quic:
    """The QUIC connections of one group, on all its ports. `connect` makes the protocol of a stream.

    `survive` is called with every bug, while its exception is being handled.
    """

    def __init__(
        self,
        limits: Limits,
        clock: IReactorTime,
        survive: Callable[[str], None],
        connect: Callable[[Peer], IProtocol],
    ) -> None:
        self.scheduler = Scheduler(clock)
        self.clients: dict[Connection, Client] = {}
        self.total = 0
        self.refused = 0
        self.survive = survive
        self.limits = limits
        self._connect = connect
        self._configuration: QuicConfiguration | None = None  # while the service runs
        self._retry = QuicRetryTokenHandler()
        self._by_id: dict[bytes, Connection] = {}
        self._per_host: Counter[str] = Counter()  # by network
        self._ticker = LoopingCall(self._tick)
        self._ticker.clock = clock

    def start(self, shown: Certificate) -> None:
        """Accept connections, and show this certificate."""
        self.show(shown)
        self._ticker.start(1.0, now=False)

    def show(self, shown: Certificate) -> None:
        """Show this certificate to those who connect from now on."""
        self._configuration = QuicConfiguration(
            alpn_protocols=[ALPN],
            connection_id_length=ID_LENGTH,
            idle_timeout=QUIC_IDLE,
            is_client=False,
            max_data=WINDOW,
            max_stream_data=FIRST_WINDOW,
            certificate=shown.certificate,
            certificate_chain=shown.chain,
            private_key=shown.key,
        )

    def stop(self) -> None:
        """Accept no more connections, and close those that there are."""
        if self._ticker.running:
            self._ticker.stop()
        self._configuration = None
        for connection in tuple(self.clients):
            connection.flush()  # the last answers
            connection.close("The server is stopping.")
            self._forget(connection)

    # Datagrams

    def take(self, datagram: bytes, address: Address, send: Send) -> bool:
        """Return True if a datagram is QUIC's: it is handled soon, and answered by `send`."""
        connection = self._by_id.get(destination_id(datagram) or b"")
        if connection is not None:
            self.scheduler.received(connection, datagram, address)
            return True
        may_begin = len(datagram) >= SMALLEST_MAX_DATAGRAM_SIZE and datagram[0] >= 0xC0
        return may_begin and self._take_first(datagram, address, send)

    def _take_first(self, datagram: bytes, address: Address, send: Send) -> bool:
        """Handle a datagram of no connection. Return True if its long header is valid."""
        if self._configuration is None:
            return False
        try:
            header = pull_quic_header(Buffer(data=datagram), host_cid_length=ID_LENGTH)
        except ValueError:
            return False
        if header.packet_type == QuicPacketType.VERSION_NEGOTIATION:
            return True  # if it were answered, two servers might answer each other forever
        if header.version not in self._configuration.supported_versions:
            reply = encode_quic_version_negotiation(
                source_cid=header.destination_cid,
                destination_cid=header.source_cid,
                supported_versions=self._configuration.supported_versions,
            )
        elif header.packet_type != QuicPacketType.INITIAL:
            return True
        elif header.token:
            self._accept(header, datagram, address, send)
            return True
        else:
            reply = self._retry_packet(header, address)
        with suppress(OSError):  # as if it were lost on the way
            send(reply, address)
        return True

    def _retry_packet(self, header: QuicHeader, address: Address) -> bytes:
        """Return a packet that asks the client to prove its address."""
        assert header.version is not None
        source = os.urandom(ID_LENGTH)
        token = self._retry.create_token(
            address=address,
            original_destination_connection_id=header.destination_cid,
            retry_source_connection_id=source,
            now=self.scheduler.now(),
        )
        return encode_quic_retry(
            version=header.version,
            source_cid=source,
            destination_cid=header.source_cid,
            original_destination_cid=header.destination_cid,
            retry_token=token,
        )

    def _accept(self, header: QuicHeader, datagram: bytes, address: Address, send: Send) -> None:
        """Make a connection, if its token is valid and there is room."""
        now = self.scheduler.now()
        try:
            original = self._retry.validate_token(
                address=address, destination_cid=header.destination_cid, token=header.token, now=now
            )
        except ValueError:
            return  # forged or too old: an honest client begins again
        host = address[0]
        if self._is_full(host):
            self.refused += 1
            return
        core = Core(
            configuration=self._configuration,
            original_destination_connection_id=original,
            retry_source_connection_id=header.destination_cid,
        )
        connection = Connection(core, self.scheduler, send, self)
        peer = Peer(host, lambda: core.proven_address, connection.close, trusted=self.limits.password is None)
        self.clients[connection] = Client(peer, now)
        self.total += 1
        self._per_host[network_of(host)] += 1
        self.id_issued(connection, header.destination_cid)
        self.id_issued(connection, core.host_cid)
        self.scheduler.received(connection, datagram, address)

    def _is_full(self, host: str) -> bool:
        limits = self.limits
        most = max(1, limits.max_quic // MIN_HOSTS)
        if limits.max_per_host:
            most = min(most, limits.max_per_host)
        return len(self.clients) >= limits.max_quic or self._per_host[network_of(host)] >= most

    # Connections: see IConnectionOwner

    def established(self, connection: Connection) -> None:
        self.clients[connection].since = self.scheduler.now()

    def ping_acknowledged(self, connection: Connection) -> None:
        """Do nothing: the server sends no pings."""

    def stream_opened(self, connection: Connection, stream: StreamTransport) -> None:
        stream.connect(self._connect(self.clients[connection].peer))

    def id_issued(self, connection: Connection, cid: bytes) -> None:
        self._by_id[cid] = connection
        self.clients[connection].ids.add(cid)

    def id_retired(self, connection: Connection, cid: bytes) -> None:
        self._by_id.pop(cid, None)
        self.clients[connection].ids.discard(cid)

    def ended(self, connection: Connection, why: str) -> None:
        client = self.clients.pop(connection, None)
        if client is None:
            return
        for cid in client.ids:
            self._by_id.pop(cid, None)
        network = network_of(client.peer.host)
        self._per_host[network] -= 1
        if not self._per_host[network]:
            del self._per_host[network]

    def _forget(self, connection: Connection) -> None:
        connection.forget()
        self.ended(connection, "")

    def _tick(self) -> None:
        """End connections whose handshake takes too long, and those on which nothing is asked. Runs every second."""
        try:
            now = self.scheduler.now()
            for connection, client in tuple(self.clients.items()):
                if not connection.is_established:
                    if now - client.since >= HANDSHAKE_SECONDS:
                        self._forget(connection)
                elif connection.streams:
                    client.since = now
                elif now - client.since >= self.limits.name_within:
                    connection.close("Nothing was asked for.")
        except Exception:
            self.survive("looking after QUIC connections")


class QuicService(service.Service):
    """Accepts connections as long as it runs. `certificate` loads or makes one; `take` is the `Quic`'s."""

    _logger = Logger()

    def __init__(self, quic: Quic, certificate: Callable[[], Certificate], transfer_server: TransferServer) -> None:
        self.quic = quic
        self.certificate = certificate
        self._transfer_server = transfer_server
        self.take = quic.take

    def renew(self, certificate: Certificate) -> None:
        """Show another certificate to those who connect from now on."""
        self.certificate = lambda: certificate
        if self.running:
            self.quic.show(certificate)

    def startService(self) -> None:
        """Load the certificate, or make one. Raise CannotListen."""
        super().startService()
        certificate = self.certificate()
        self.certificate = lambda: certificate
        self.quic.start(certificate)
        self._logger.info(
            "QUIC is open on the same UDP port. The certificate's fingerprint is SHA-256 {fingerprint}",
            fingerprint=certificate.fingerprint,
        )

    @inlineCallbacks
    def stopService(self) -> Generator[Deferred[Any], Any, None]:
        """End the transfers, then close all connections. Partial uploads are kept."""
        super().stopService()
        yield self._transfer_server.stop()
        self.quic.stop()
        self._logger.info(
            "QUIC closes: {total} connections, {refused} refused, {dropped} datagrams dropped",
            total=self.quic.total,
            refused=self.quic.refused,
            dropped=self.quic.scheduler.dropped,
        )
