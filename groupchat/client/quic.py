"""QUIC to a server: one connection, which all that goes over it shares. Needs aioquic.

A connection is made when it is first needed, and made anew when it was lost. Its certificate is checked as for TLS,
before anything is sent on it.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from aioquic import tls
from aioquic.quic.configuration import QuicConfiguration
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificates
from OpenSSL import SSL
from twisted.internet import error
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from zope.interface import implementer

from groupchat.client.datagrams import Route, Socket
from groupchat.client.text import clean
from groupchat.client.trust import KnownServers, UntrustedError
from groupchat.client.udp import UnreachableError, resolve
from groupchat.quic import ALPN, MOST_AHEAD
from groupchat.quic.connection import Connection
from groupchat.quic.core import Core
from groupchat.quic.stream import QuicStream
from groupchat.quic.turns import Turns
from groupchat.wire.datagrams import REFUSAL

ID = 8
"""How long the connection ids are that this side gives out, in bytes."""

WINDOW = 2 * MOST_AHEAD
"""How much a server may send that is not taken yet, in bytes: of one stream, and of all."""

CONNECT_SECONDS = 10.0
"""How long a server may be silent before it is given up; the next address of the same host is tried sooner."""
NEXT_SECONDS = 2.5

PING_SECONDS = 10.0
"""How often the server hears of a connection on which something is open."""

GONE_SECONDS = 3.0
"""How long a server may take to answer once there is a sign that it knows the connection no longer."""

IDLE_SECONDS = 25.0
"""After how long a connection is gone if nothing comes, and closed if nothing is open on it."""

ANYWHERE = ("", 0)
"""Where the server is, if it is a link's business how datagrams get there."""


class Carrier:
    """One connection to a server. With a `link`, its datagrams go from the very socket of the five messages."""

    link: Route | None = None

    def __init__(self, reactor: Any, host: str, port: int, known: KnownServers, ca: Path | None = None) -> None:
        self.where = f"quic://[{host}]:{port}" if ":" in host else f"quic://{host}:{port}"
        self._reactor = reactor
        self._host = host
        self._port = port
        self._known = known
        self._ca = ca
        self.turns = Turns(reactor)
        self._connection: Connection | None = None
        self._socket: Socket | None = None
        self._ids: set[bytes] = set()
        self._waiting: dict[Deferred[None], tuple[IProtocol, bytes]] = {}
        self._addresses: list[tuple[str, int]] = []  # that are not tried yet
        self._there = ANYWHERE
        self._resolving = False
        self._ready = False  # the certificate is trusted
        self._timer: IDelayedCall | None = None
        self._doubt: IDelayedCall | None = None  # until the server is taken to know us no longer
        self._idle = 0.0  # for how many seconds nothing was open
        reactor.addSystemEventTrigger("before", "shutdown", self.close)

    def open(self, protocol: IProtocol, first: bytes = b"") -> Deferred[None]:
        """Open a stream, send `first` on it, and connect the protocol to it.

        Fails with UntrustedError, or with ConnectError, in words. May be cancelled.
        """
        waiting: Deferred[None] = Deferred(self._cancelled)
        self._waiting[waiting] = protocol, first
        if self._ready:
            self._open_all()
        elif self._connection is None and not self._resolving:
            self._find()
        return waiting

    def _cancelled(self, waiting: Deferred[None]) -> None:
        self._waiting.pop(waiting, None)
        if not self._waiting and not self._ready:
            self._drop()

    def close(self) -> None:
        """Say goodbye to the server. The next `open` makes another connection."""
        if self._connection is not None:
            self._connection.close()
        self._drop()

    def _drop(self) -> None:
        """Let go of all that there is of the connection, without a word."""
        connection, self._connection = self._connection, None
        self._ready = False
        self._addresses.clear()
        for timer in (self._timer, self._doubt):
            if timer is not None and timer.active():
                timer.cancel()
        self._doubt = None
        if connection is not None:
            connection.forget()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    # Getting there

    def _find(self) -> None:
        if self.link is not None:
            self._connect(self.link)
            return
        self._resolving = True
        found = deferToThread(resolve, self._host, self._port)
        found.addCallbacks(self._found, self._not_found)
        found.addErrback(self._fail)

    def _found(self, addresses: list[Any]) -> None:
        self._resolving = False
        self._addresses = [(address.host, address.port) for address in addresses]
        if self._waiting:
            self._try_next("it has no address")

    def _not_found(self, failure: Failure) -> None:
        self._resolving = False
        self._fail(Failure(error.ConnectError(string=str(failure.value))))

    def _try_next(self, why: str) -> None:
        while self._addresses:
            address = self._addresses.pop(0)
            self._there = address
            try:
                self._socket = Socket(self._reactor, address, self)
            except OSError as reason:
                why = reason.strerror or str(reason)
            else:
                self._connect(self._socket)
                return
        self._fail(Failure(error.ConnectError(string=why)))

    def _connect(self, route: Route) -> None:
        configuration = QuicConfiguration(
            alpn_protocols=[ALPN],
            connection_id_length=ID,
            idle_timeout=IDLE_SECONDS,
            is_client=True,
            max_data=WINDOW,
            max_stream_data=WINDOW,
            server_name=None if is_address(self._host) else self._host,
            verify_mode=ssl.CERT_NONE,  # it is checked here, once there is one: see `established`
        )
        core = Core(WINDOW, configuration=configuration)

        def send(datagram: bytes, address: object) -> None:
            try:
                route.send(datagram)
            except UnreachableError as why:
                raise OSError(str(why)) from why

        self._ids = {core.host_cid}
        self._connection = Connection(core, self.turns, send, self)
        self._connection.connect(self._there)
        self._wait(NEXT_SECONDS if self._addresses else CONNECT_SECONDS, self._silent)

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self._reactor.callLater(seconds, then)

    def _silent(self) -> None:
        self.refused("nothing answers there: is it a groupchat server, with --quic?")

    def refused(self, why: str) -> None:
        """There is no server at this address. (Once there was one, this is only a sign that it is gone.)"""
        if self._ready:
            self._see_whether_it_is_gone()
            return
        addresses = self._addresses
        self._drop()
        self._addresses = addresses
        self._try_next(why)

    def _fail(self, failure: Failure) -> None:
        self._drop()
        waiting, self._waiting = self._waiting, {}
        for each in waiting:
            each.errback(failure)

    # Datagrams

    def owns(self, datagram: bytes) -> bool:
        """Whether this datagram is for the connection, and not one of the five messages' replies."""
        top = datagram[0] & 0xC0 if datagram else 0
        if top == 0x40:
            return datagram[1 : 1 + ID] in self._ids
        return top == 0xC0 and len(datagram) > 6 and datagram[6 : 6 + datagram[5]] in self._ids

    def received(self, datagram: bytes) -> None:
        if self._connection is None:
            return
        if datagram == REFUSAL:
            self.refused("the server takes no QUIC there: whoever runs it has to say --quic, or it has another port")
        else:
            self.turns.received(self._connection, datagram, self._there)

    def _see_whether_it_is_gone(self) -> None:
        """Anybody can say so; if it is true, it does not answer."""
        if self._doubt is None and self._connection is not None:
            self._doubt = self._reactor.callLater(GONE_SECONDS, self._gone)
            self._connection.ping()

    def _gone(self) -> None:
        self._doubt = None
        self._drop()

    # The connection: see groupchat.quic.Owner

    def established(self, connection: Connection) -> None:
        try:
            self._check(*connection.core.peer_certificate)
        except UntrustedError:
            failure = Failure()
            connection.close("untrusted")
            self._fail(failure)
            return
        self._ready = True
        self._idle = 0.0
        self._wait(PING_SECONDS, self._mind)
        self._open_all()

    def _check(self, certificate: Any, chain: list[Any]) -> None:
        """Raises UntrustedError."""
        if certificate is None:
            raise UntrustedError("the server shows no certificate")
        problem = self._problem(certificate, chain)
        if self._ca is None:
            self._known.check(self.where, certificate.public_bytes(Encoding.DER), problem)
        elif problem:
            raise UntrustedError(f"{self._ca} does not vouch for the certificate of {self.where}: {problem}")

    def _problem(self, certificate: Any, chain: list[Any]) -> str:
        """What the system, or the file of authorities, has against it; nothing if it vouches for it."""
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
                return ""  # it is named itself, whoever it is made out to
            return "it vouches for itself" if certificate.issuer == certificate.subject else clean(str(why).encode())
        return ""

    def _open_all(self) -> None:
        connection = self._connection
        assert connection is not None
        waiting, self._waiting = self._waiting, {}
        for each, (protocol, first) in waiting.items():
            connection.open(protocol, first)
            each.callback(None)

    def opened(self, connection: Connection, stream: QuicStream) -> None:
        stream.abortConnection()  # a server has nothing to ask for

    def issued(self, connection: Connection, cid: bytes) -> None:
        self._ids.add(cid)

    def retired(self, connection: Connection, cid: bytes) -> None:
        self._ids.discard(cid)

    def answered(self, connection: Connection) -> None:
        if self._doubt is not None and self._doubt.active():
            self._doubt.cancel()
        self._doubt = None

    def ended(self, connection: Connection, why: str) -> None:
        if connection is self._connection:
            why = clean(why.encode(errors="replace")).replace("\n", " ")  # the words of whoever is there
            self._fail(Failure(error.ConnectError(string=why or "the connection ended")))

    def survive(self, doing: str) -> None:
        """What is wrong with the connection is its end, and is told as that."""

    def _mind(self) -> None:
        """Every now and then: let the server know that somebody is here, or part from it if nobody is."""
        connection = self._connection
        assert connection is not None
        self._idle = 0.0 if connection.streams else self._idle + PING_SECONDS
        if self._idle >= IDLE_SECONDS:
            self.close()
            return
        connection.ping()
        self._wait(PING_SECONDS, self._mind)


@implementer(IStreamClientEndpoint)
class Endpoint:
    """Each connection is a stream with live lines: see docs/protocol.md, "Reliable UDP"."""

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        protocol: Any = protocolFactory.buildProtocol(IPv4Address("UDP", *ANYWHERE))
        opened: Deferred[Any] = self._carrier.open(protocol, b"LINES\n")
        return opened.addCallback(lambda _: protocol)


def endpoint(carrier: Carrier) -> IStreamClientEndpoint:
    return Endpoint(carrier)


def is_address(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def check_authorities(path: Path) -> None:
    """Raises OSError, in words, if there is no certificate in this file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(str(path))
    except (OSError, ssl.SSLError) as why:
        raise OSError(f"{path} has no certificate in it that can be read") from why
