"""QUIC on the port of the five messages: which datagrams belong to it, who may have a connection, and how it ends.

What its streams are is none of its business: whoever makes it says what protocol one gets. See transfers.py.

A datagram is QUIC's if its two top bits are 11 and it is a long header of at least 1,200 bytes, or one that names a
known connection id; or if they are 01 and the bytes after the first are a known connection id. All else is text. The
address of a client is proven (Retry: RFC 9000, section 8.1.2) before anything is kept of it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path
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
from groupchat.frontends.transfers.server import Peer, TransferServer
from groupchat.quic import ALPN, FIRST_WINDOW, WINDOW
from groupchat.quic.certificate import load_or_make
from groupchat.quic.connection import Connection
from groupchat.quic.core import Core
from groupchat.quic.stream import QuicStream
from groupchat.quic.turns import Turns

ID = 8
"""How long the connection ids are that this side gives out, in bytes."""

SHARE = 2
"""One host may have no more than this part of all connections."""

Send = Callable[[bytes, Address], object]


class Caller:
    """One connection, and who it is to its streams. `since` is when it was made, or last had a stream."""

    def __init__(self, peer: Peer, now: float) -> None:
        self.peer = peer
        self.since = now
        self.ids: set[bytes] = set()


class Quic:
    """The connections of one group, whatever port they come to. `connect` makes the protocol of a stream.

    `survive` is told of a bug, while handling the exception.
    """

    def __init__(
        self,
        limits: Limits,
        clock: IReactorTime,
        survive: Callable[[str], None],
        connect: Callable[[Peer], IProtocol],
    ) -> None:
        self.turns = Turns(clock)
        self.callers: dict[Connection, Caller] = {}
        self.total = 0
        self.refused = 0
        self._limits = limits
        self._survive = survive
        self._connect = connect
        self._configuration: QuicConfiguration | None = None  # None: nobody is let in
        self._retry = QuicRetryTokenHandler()
        self._by_id: dict[bytes, Connection] = {}
        self._per_host: Counter[str] = Counter()
        self._ticker = LoopingCall(self._tick)
        self._ticker.clock = clock

    def start(self, certificate: Path | None) -> str:
        """Let connections in. Returns the fingerprint of the certificate; raises CannotListen."""
        shown = load_or_make(certificate)
        self._configuration = QuicConfiguration(
            alpn_protocols=[ALPN],
            connection_id_length=ID,
            idle_timeout=QUIC_IDLE,
            is_client=False,
            max_data=WINDOW,
            max_stream_data=FIRST_WINDOW,
            certificate=shown.certificate,
            certificate_chain=shown.chain,
            private_key=shown.key,
        )
        self._ticker.start(1.0, now=False)
        return shown.fingerprint

    def stop(self) -> None:
        """Let nobody in any more, and part from those who are there."""
        if self._ticker.running:
            self._ticker.stop()
        self._configuration = None
        for connection in tuple(self.callers):
            connection.flush()  # such as what was said of a file that is shared by now
            connection.close("The server is stopping.")
            connection.forget()
            self.ended(connection, "")

    # Datagrams

    def take(self, datagram: bytes, address: Address, send: Send) -> bool:
        """Whether a datagram is QUIC's: it is dealt with soon, and answered by `send`."""
        top = datagram[0] & 0xC0 if datagram else 0
        if top == 0x40:
            connection = self._by_id.get(datagram[1 : 1 + ID])
        elif top == 0xC0:
            connection = self._by_id.get(datagram[6 : 6 + datagram[5]]) if len(datagram) > 6 else None
            if connection is None and len(datagram) >= SMALLEST_MAX_DATAGRAM_SIZE:
                return self._introduce(datagram, address, send)
        else:
            return False
        if connection is None:
            return False
        self.turns.received(connection, datagram, address)
        return True

    def _introduce(self, datagram: bytes, address: Address, send: Send) -> bool:
        """A long header of nobody who is known. Returns whether it is one at all."""
        configuration = self._configuration
        if configuration is None:
            return False
        try:
            header = pull_quic_header(Buffer(data=datagram), host_cid_length=ID)
        except ValueError:
            return False
        if header.packet_type == QuicPacketType.VERSION_NEGOTIATION:
            pass  # to answer it would make two servers answer each other for ever
        elif header.version not in configuration.supported_versions:
            self._negotiate(header, address, send, configuration)
        elif header.packet_type == QuicPacketType.INITIAL:
            if header.token:
                self._let_in(header, datagram, address, send)
            else:
                self._ask_again(header, address, send)
        return True

    def _negotiate(self, header: QuicHeader, address: Address, send: Send, configuration: QuicConfiguration) -> None:
        reply = encode_quic_version_negotiation(
            source_cid=header.destination_cid,
            destination_cid=header.source_cid,
            supported_versions=configuration.supported_versions,
        )
        _say(send, reply, address)

    def _ask_again(self, header: QuicHeader, address: Address, send: Send) -> None:
        """Let it prove its address: nothing is kept of it until then."""
        assert header.version is not None
        source = os.urandom(ID)
        token = self._retry.create_token(
            address=address,
            original_destination_connection_id=header.destination_cid,
            retry_source_connection_id=source,
            now=self.turns.now(),
        )
        reply = encode_quic_retry(
            version=header.version,
            source_cid=source,
            destination_cid=header.source_cid,
            original_destination_cid=header.destination_cid,
            retry_token=token,
        )
        _say(send, reply, address)

    def _let_in(self, header: QuicHeader, datagram: bytes, address: Address, send: Send) -> None:
        try:
            original = self._retry.validate_token(
                address=address, destination_cid=header.destination_cid, token=header.token, now=self.turns.now()
            )
        except ValueError:
            return  # forged, or too old: whoever means it begins anew
        host = address[0]
        if self._is_full(host):
            self.refused += 1
            return
        assert self._configuration is not None
        core = Core(
            WINDOW,
            configuration=self._configuration,
            original_destination_connection_id=original,
            retry_source_connection_id=header.destination_cid,
        )
        connection = Connection(core, self.turns, send, self)
        peer = Peer(host, lambda: core.proven_address, connection.close, trusted=self._limits.password is None)
        self.callers[connection] = Caller(peer, self.turns.now())
        self.total += 1
        self._per_host[host] += 1
        self.issued(connection, header.destination_cid)
        self.issued(connection, core.host_cid)
        self.turns.received(connection, datagram, address)

    def _is_full(self, host: str) -> bool:
        limits = self._limits
        most = max(1, limits.max_quic // SHARE)  # so that no host can take them all
        if limits.max_per_host:
            most = min(most, limits.max_per_host)
        return len(self.callers) >= limits.max_quic or self._per_host[host] >= most

    # Connections

    def established(self, connection: Connection) -> None:
        self.callers[connection].since = self.turns.now()

    def answered(self, connection: Connection) -> None:
        """Nobody is asked."""

    def opened(self, connection: Connection, stream: QuicStream) -> None:
        stream.connect(self._connect(self.callers[connection].peer))

    def issued(self, connection: Connection, cid: bytes) -> None:
        self._by_id[cid] = connection
        self.callers[connection].ids.add(cid)

    def retired(self, connection: Connection, cid: bytes) -> None:
        self._by_id.pop(cid, None)
        self.callers[connection].ids.discard(cid)

    def ended(self, connection: Connection, why: str) -> None:
        caller = self.callers.pop(connection, None)
        if caller is None:
            return
        for cid in caller.ids:
            self._by_id.pop(cid, None)
        self._per_host[caller.peer.host] -= 1
        if not self._per_host[caller.peer.host]:
            del self._per_host[caller.peer.host]

    def survive(self, doing: str) -> None:
        self._survive(doing)

    def _tick(self) -> None:
        """Every second: who does not come to an end with its handshake, or asks nothing, is not waited for."""
        try:
            now = self.turns.now()
            for connection, caller in tuple(self.callers.items()):
                if not connection.is_established:
                    if now - caller.since >= HANDSHAKE_SECONDS:
                        connection.forget()
                        self.ended(connection, "")
                elif connection.streams:
                    caller.since = now
                elif now - caller.since >= self._limits.name_within:
                    connection.close("Nothing was asked for.")
        except Exception:
            self.survive("looking after QUIC connections")


def _say(send: Send, datagram: bytes, address: Address) -> None:
    with suppress(OSError):  # it is as good as lost on the way
        send(datagram, address)


class QuicService(service.Service):
    """Has the certificate at hand, and lets connections in as long as it runs."""

    _logger = Logger()

    def __init__(self, quic: Quic, certificate: Path | None, transfer_server: TransferServer) -> None:
        self._quic = quic
        self._certificate = certificate
        self._transfer_server = transfer_server
        self.take = quic.take

    def startService(self) -> None:
        """Raises CannotListen."""
        super().startService()
        fingerprint = self._quic.start(self._certificate)
        self._logger.info(
            "QUIC is open on the same UDP port. To join: groupchat quic://HOST:PORT --name NAME. "
            "The certificate's fingerprint is SHA-256 {fingerprint}",
            fingerprint=fingerprint,
        )

    @inlineCallbacks
    def stopService(self) -> Generator[Deferred[Any], Any, None]:
        """Say goodbye to who is there. What came of files is kept."""
        super().stopService()
        yield self._transfer_server.stop()
        self._quic.stop()
        self._logger.info(
            "QUIC closes: {total} connections, {refused} refused, {lost} datagrams dropped",
            total=self._quic.total,
            refused=self._quic.refused,
            lost=self._quic.turns.lost,
        )
