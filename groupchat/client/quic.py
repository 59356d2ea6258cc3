"""QUIC to a server: one connection, shared by all streams. Needs aioquic.

The connection is made when the first stream is opened, and made again after it was lost. Its certificate is checked by
the same rules as for TLS, before anything is sent on a stream.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from aioquic import tls
from aioquic.quic.configuration import QuicConfiguration
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate, load_pem_x509_certificates
from OpenSSL import SSL
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IDelayedCall, IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from zope.interface import implementer

from groupchat.client.datagrams import ConnectedSocket, IDatagramSender
from groupchat.client.text import clean
from groupchat.client.trust import KnownServers, UntrustedError
from groupchat.client.udp import UnreachableError, resolve
from groupchat.client.url import ServerURL, without_zone
from groupchat.quic import ALPN, ID_LENGTH, MAX_SEND_BUFFER, destination_id
from groupchat.quic.connection import Connection
from groupchat.quic.core import Core
from groupchat.quic.scheduler import Scheduler
from groupchat.quic.stream import StreamTransport
from groupchat.wire.datagrams import REFUSAL

WINDOW = 2 * MAX_SEND_BUFFER
"""The flow-control window of the connection and of each stream, in bytes."""

CONNECT_SECONDS = 10.0
"""The time for the handshake."""

NEXT_SECONDS = 2.5
"""The same, if the host has other addresses to be tried."""

PING_SECONDS = 10.0
"""The interval of pings."""

GONE_SECONDS = 3.0
"""The time for a ping to be answered when the server seems to have forgotten the connection."""

IDLE_SECONDS = 25.0
"""The time after which a connection ends if nothing comes, and is closed if it has no stream."""

ANYWHERE = ("", 0)
"""Stands for the server's address when the socket of the five messages is used."""


class QuicClient:
    """Opens streams to one server. With a `link`, datagrams go over the socket of the five messages."""

    link: IDatagramSender | None = None

    def __init__(self, reactor: Any, host: str, port: int, known: KnownServers, ca: Path | None = None) -> None:
        self.reactor = reactor
        self.host = host
        self.scheduler = Scheduler(reactor)
        where = str(ServerURL("quic", host, port))
        self.certificate_check = CertificateCheck(host, where, known, ca)
        self._port = port
        self._connection: ServerConnection | None = None
        self._waiting: dict[Deferred[None], tuple[IProtocol, bytes]] = {}
        self._addresses: list[tuple[str, int]] = []  # not tried yet
        self._is_resolving = False
        reactor.addSystemEventTrigger("before", "shutdown", self.close)

    def open(self, protocol: IProtocol, first: bytes = b"") -> Deferred[None]:
        """Open a stream, send `first` on it, and connect the protocol to it.

        The Deferred may be cancelled. It fails with UntrustedError, or with ConnectError and a message for the user.
        """
        opened: Deferred[None] = Deferred(self._cancelled)
        self._waiting[opened] = protocol, first
        if self._connection is None:
            self._find_server()
        elif self._connection.is_trusted:
            self.trusted(self._connection)
        return opened

    def _cancelled(self, opened: Deferred[None]) -> None:
        self._waiting.pop(opened, None)
        if not self._waiting and self._connection is not None and not self._connection.is_trusted:
            self.drop()

    def close(self) -> None:
        """Close the connection. The next `open` makes another one."""
        if self._connection is not None:
            self._connection.close()
        self.drop()

    def drop(self) -> None:
        """Forget the connection, without telling the server."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.forget()

    # Datagrams from the link

    def owns(self, datagram: bytes) -> bool:
        """Return True if a datagram is for the connection, and no reply to one of the five messages."""
        return self._connection is not None and destination_id(datagram) in self._connection.ids

    def received(self, datagram: bytes) -> None:
        if self._connection is not None:
            self._connection.received(datagram)

    # Connecting

    def _find_server(self) -> None:
        if self.link is not None:
            self._addresses = [ANYWHERE]
            self._try_next_address("")
        elif not self._is_resolving:
            self._is_resolving = True
            found = deferToThread(resolve, self.host, self._port)
            found.addBoth(self._resolved)
            found.addErrback(self.fail)

    def _resolved(self, result: Any) -> None:
        self._is_resolving = False
        if isinstance(result, Failure):
            self.fail(Failure(ConnectError(string=str(result.value))))
        elif self._waiting:
            self._addresses = [(address.host, address.port) for address in result]
            self._try_next_address("it has no address")

    def _try_next_address(self, why: str) -> None:
        while self._addresses:
            address = self._addresses.pop(0)
            try:
                self._connection = ServerConnection(self, address, NEXT_SECONDS if self._addresses else CONNECT_SECONDS)
            except OSError as error:
                why = error.strerror or str(error)
            else:
                return
        self.fail(Failure(ConnectError(string=why)))

    # What a ServerConnection reports

    def trusted(self, connection: ServerConnection) -> None:
        """Open the streams that waited for the connection."""
        waiting, self._waiting = self._waiting, {}
        for opened, (protocol, first) in waiting.items():
            connection.open(protocol, first)
            opened.callback(None)

    def unreachable(self, why: str) -> None:
        """Try the next address."""
        self.drop()
        self._try_next_address(why)

    def fail(self, failure: Failure) -> None:
        """Drop the connection, and fail all streams that wait for it."""
        self._addresses.clear()
        self.drop()
        waiting, self._waiting = self._waiting, {}
        for opened in waiting:
            opened.errback(failure)


class ServerConnection:
    """One connection, to one address of the server. Raises OSError if there is no route to it.

    It is used once its certificate `is_trusted`. From then on it is kept alive while a stream is open.
    """

    def __init__(self, client: QuicClient, address: tuple[str, int], seconds: float) -> None:
        self._client = client
        self._socket = ConnectedSocket(client.reactor, address, self) if client.link is None else None
        self._address = address
        is_address = isIPAddress(client.host) or isIPv6Address(client.host)
        core = Core(
            configuration=QuicConfiguration(
                alpn_protocols=[ALPN],
                connection_id_length=ID_LENGTH,
                idle_timeout=IDLE_SECONDS,
                is_client=True,
                max_data=WINDOW,
                max_stream_data=WINDOW,
                server_name=None if is_address else client.host,
                verify_mode=ssl.CERT_NONE,  # `established` checks the certificate
            )
        )
        self.ids = {core.host_cid}
        self.is_trusted = False
        self._idle = 0.0  # seconds without a stream
        self._connection = Connection(core, client.scheduler, self._send, self)
        self._connection.connect(address)
        self._timer: IDelayedCall = client.reactor.callLater(seconds, self._timed_out)
        self._doubt: IDelayedCall | None = None  # while the server may have forgotten the connection

    def open(self, protocol: IProtocol, first: bytes) -> None:
        self._connection.open(protocol, first)

    def close(self) -> None:
        self._connection.close()

    def forget(self) -> None:
        """End the streams, and free everything."""
        if self._timer.active():
            self._timer.cancel()
        self._end_doubt()
        self._connection.forget()
        if self._socket is not None:
            self._socket.close()

    def _send(self, datagram: bytes, address: object) -> None:
        route = self._socket or self._client.link
        assert route is not None
        try:
            route.send(datagram)
        except UnreachableError as why:
            raise OSError(str(why)) from why

    def _timed_out(self) -> None:
        self.refused("nothing answers there: is it a groupchat server with --quic?")

    def _keep_alive(self) -> None:
        """Ping the server, or close a connection that nobody uses."""
        self._idle = 0.0 if self._connection.streams else self._idle + PING_SECONDS
        if self._idle >= IDLE_SECONDS:
            self._client.close()
            return
        self._connection.ping()
        self._timer = self._client.reactor.callLater(PING_SECONDS, self._keep_alive)

    # The socket: see IDatagramReceiver

    def received(self, datagram: bytes) -> None:
        if datagram == REFUSAL:
            self.refused("the server does not offer QUIC there: it needs the option --quic, or QUIC has another port")
        else:
            self._client.scheduler.received(self._connection, datagram, self._address)

    def refused(self, why: str) -> None:
        if not self.is_trusted:
            self._client.unreachable(why)
        elif self._doubt is None:  # the refusal may be forged: only a server that is gone leaves a ping unanswered
            self._doubt = self._client.reactor.callLater(GONE_SECONDS, self._client.drop)
            self._connection.ping()

    def _end_doubt(self) -> None:
        if self._doubt is not None and self._doubt.active():
            self._doubt.cancel()
        self._doubt = None

    # The connection: see IConnectionOwner

    def established(self, connection: Connection) -> None:
        try:
            self._client.certificate_check.check(*connection.core.peer_certificate)
        except UntrustedError:
            failure = Failure()
            connection.close("untrusted")
            self._client.fail(failure)
            return
        self.is_trusted = True
        self._timer.cancel()
        self._timer = self._client.reactor.callLater(PING_SECONDS, self._keep_alive)
        self._client.trusted(self)

    def ping_acknowledged(self, connection: Connection) -> None:
        self._end_doubt()

    def stream_opened(self, connection: Connection, stream: StreamTransport) -> None:
        stream.abortConnection()  # only clients open streams

    def id_issued(self, connection: Connection, cid: bytes) -> None:
        self.ids.add(cid)

    def id_retired(self, connection: Connection, cid: bytes) -> None:
        self.ids.discard(cid)

    def ended(self, connection: Connection, why: str) -> None:
        why = clean(why.encode(errors="replace")).replace("\n", " ")  # a reason that the server gave
        why = why or "the connection ended"
        if self.is_trusted:
            self._client.fail(Failure(ConnectError(string=why)))
        else:
            self._client.unreachable(why)

    def survive(self, doing: str) -> None:
        """Do nothing: a bug ends the connection, which the user is told of."""


class CertificateCheck:
    """Decides if a server's certificate is trusted. With `ca`, that file of authorities alone decides."""

    def __init__(self, host: str, where: str, known: KnownServers, ca: Path | None) -> None:
        self._host = without_zone(host)
        self._where = where
        self._known = known
        self._ca = ca

    def check(self, certificate: Certificate | None, chain: list[Certificate]) -> None:
        """Raise UntrustedError unless the certificate is trusted."""
        if certificate is None:
            raise UntrustedError("the server shows no certificate")
        problem = self._problem(certificate, chain)
        if self._ca is None:
            self._known.check(self._where, certificate.public_bytes(Encoding.DER), problem)
        elif problem:
            raise UntrustedError(f"{self._ca} does not vouch for the certificate of {self._where}: {problem}")

    def _problem(self, certificate: Certificate, chain: list[Certificate]) -> str:
        """Return why the system, or the file of authorities, does not vouch for a certificate; empty if it does."""
        paths = ssl.get_default_verify_paths()
        try:
            tls.verify_certificate(
                certificate=certificate,
                chain=chain,
                server_name=self._host,
                cafile=paths.cafile if self._ca is None else str(self._ca),
                capath=paths.capath if self._ca is None else None,
            )
        except tls.AlertCertificateExpired:
            return "it has expired, or is not valid yet"
        except (tls.Alert, SSL.Error) as why:
            if self._ca is not None and certificate in load_pem_x509_certificates(self._ca.read_bytes()):
                return ""  # the file contains this very certificate, so that its host does not matter
            return "it vouches for itself" if certificate.issuer == certificate.subject else clean(str(why).encode())
        return ""


@implementer(IStreamClientEndpoint)
class Endpoint:
    """An endpoint whose connections are streams with live lines: see docs/protocol.md, "Reliable UDP"."""

    def __init__(self, client: QuicClient) -> None:
        self._client = client

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        protocol: Any = protocolFactory.buildProtocol(IPv4Address("UDP", *ANYWHERE))
        opened: Deferred[Any] = self._client.open(protocol, b"LINES\n")
        return opened.addCallback(lambda _: protocol)


def endpoint(client: QuicClient) -> IStreamClientEndpoint:
    return Endpoint(client)


def check_authorities(path: Path) -> None:
    """Raise OSError, with a message for the user, if a file has no certificate in it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(str(path))
    except (OSError, ssl.SSLError) as why:
        raise OSError(f"{path} has no certificate in it that can be read") from why
