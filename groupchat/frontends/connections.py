"""Connections: who may have one, and for how long. The same for everything that comes as a stream."""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from itertools import takewhile
from typing import Any

from twisted.application import service
from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred, fail, inlineCallbacks, maybeDeferred, succeed
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocolNegotiationFactory,
    IReactorSocket,
    IReactorTime,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import LoopingCall
from twisted.internet.tcp import Connection
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import Attribute, Interface, implementer

from groupchat.core.errors import CannotListen
from groupchat.core.limits import BACKLOG, KEEPALIVE, PASSWORD_PAUSE, SEND_BUFFER, STOP_SECONDS, Limits
from groupchat.files import IShelf
from groupchat.frontends import listings
from groupchat.frontends.budget import Budget
from groupchat.service.group_service import GroupService
from groupchat.wire.lines import notes

STEP = 0.02
"""How often stopping looks whether there is still something to wait for, in seconds."""


HTTP_ALPN = [b"http/1.1", b"http/1.0"]
"""The versions of HTTP that the page speaks, as TLS names them: RFC 7301."""


class IConnected(Interface):
    """One connection."""

    host = Attribute("Where it comes from.")

    def close(*why: str) -> None:
        """Say why, and close once that is taken."""

    def drop() -> None:
        """Close at once."""


@implementer(IProtocolNegotiationFactory)
class ConnectionRegistry(Factory):
    """All connections of one group, and their limits. `connect` makes the protocol of one, for a host.

    `shelf` is that of shared files, if there is one.
    """

    noisy = False

    def __init__(
        self,
        group_service: GroupService,
        limits: Limits,
        clock: IReactorTime,
        connect: Callable[[ConnectionRegistry, str], Protocol],
        shelf: IShelf | None = None,
    ) -> None:
        self.group_service = group_service
        self.limits = limits
        self.clock = clock
        self.shelf = shelf
        self.ready = False
        self._connect = connect
        self.connections: dict[IConnected, None] = {}
        self.total = 0
        self.refused = 0
        self.budget = Budget(clock, group_service.survive)
        self._greeting = -1, b""  # what it was at this line
        self._per_host: Counter[str] = Counter()
        self._unnamed: dict[IConnected, float] = {}  # since when, the longest first
        self._closing: dict[IConnected, float] = {}  # likewise
        self._guessed: dict[str, float] = {}  # which addresses gave a wrong password, and when
        self._ticker = LoopingCall(self._tick)
        self._ticker.clock = clock

    def start(self) -> None:
        self.ready = True
        self._ticker.start(1.0, now=False)

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        host = host_of(addr)
        why = self.why_not(host)
        if why:
            self.refused += 1
            return Refused(notes([why]), self.clock)
        return self._connect(self, host) if self.ready else None

    def acceptableProtocols(self) -> list[bytes]:
        """Return what TLS clients may offer (ALPN, RFC 7301): a client that offers none of it is refused.

        Browsers and curl are let in to be told in words that this is no web server.
        """
        return [b"groupchat", *HTTP_ALPN]

    def why_not(self, host: str) -> str:
        """Why there is no room for one more connection from there; nothing if there is."""
        limits = self.limits
        if len(self.connections) >= limits.max_connections:
            return "There are too many connections: try again later."
        if limits.max_per_host and self._per_host[host] >= limits.max_per_host:
            return "There are too many connections from your address."
        return ""

    def opened(self, connection: IConnected, transport: Any) -> None:
        tune(transport)
        self.total += 1
        self.connections[connection] = None
        self._per_host[connection.host] += 1
        self._unnamed[connection] = self.clock.seconds()

    def named(self, connection: IConnected) -> None:
        self._unnamed.pop(connection, None)

    def closing(self, connection: IConnected) -> None:
        self._unnamed.pop(connection, None)
        self._closing[connection] = self.clock.seconds()

    def closed(self, connection: IConnected) -> None:
        del self.connections[connection]
        self._unnamed.pop(connection, None)
        self._closing.pop(connection, None)
        self._per_host[connection.host] -= 1
        if not self._per_host[connection.host]:
            del self._per_host[connection.host]

    def greeting(self) -> bytes:
        """Return what a new connection is told. It is the same until something happens."""
        head = self.group_service.group.history.head
        if self._greeting[0] != head:
            words = [*listings.greeting(self.group_service), "What is your name?"]
            self._greeting = head, notes(words)
        return self._greeting[1]

    def guessed(self, host: str) -> None:
        """A wrong password came from this address."""
        self._guessed[host] = self.clock.seconds()

    def pause_of(self, host: str) -> float:
        """For how many seconds no password is taken from this address."""
        since = self.clock.seconds() - self._guessed.get(host, float("-inf"))
        return PASSWORD_PAUSE - since if 0 <= since < PASSWORD_PAUSE else 0.0

    def _tick(self) -> None:
        """Every second: who gives no name, or does not take what is left, is not waited for."""
        try:
            now = self.clock.seconds()
            for connection in _longer_than(self.limits.name_within, self._unnamed, now):
                connection.close("You gave no name. Come back when you have one.")
                self.clock.callLater(STOP_SECONDS, self._drop, connection)  # a handshake may never end
            for connection in _longer_than(self.group_service.settings.stall, self._closing, now):
                connection.drop()
            self._guessed = {host: at for host, at in self._guessed.items() if self.pause_of(host)}
        except Exception:
            self.group_service.survive("looking after connections")

    def _drop(self, connection: IConnected) -> None:
        if connection in self.connections:
            connection.drop()

    @inlineCallbacks
    def stop(self) -> Generator[Deferred[Any], Any, None]:
        """Answer what is under way, give everybody what is left, say why, and close."""
        if self._ticker.running:
            self._ticker.stop()
        yield self.group_service.drain()
        yield self._wait_while(self.group_service.subscriptions.are_behind)
        for connection in tuple(self.connections):
            connection.close("The server is stopping. What was said is kept: come back in a while.")
        yield self._wait_while(self._has_connections)
        for connection in tuple(self.connections):
            connection.drop()
        yield self._wait_while(self._has_connections)

    def _has_connections(self) -> bool:
        return bool(self.connections)

    @inlineCallbacks
    def _wait_while(self, condition: Callable[[], bool]) -> Generator[Deferred[Any], Any, None]:
        """Wait until this is no longer so, or STOP_SECONDS are over."""
        for _ in range(int(STOP_SECONDS / STEP)):
            if not condition():
                return
            paused: Deferred[None] = Deferred()
            self.clock.callLater(STEP, paused.callback, None)
            yield paused


def _longer_than(seconds: float, since: dict[IConnected, float], now: float) -> list[IConnected]:
    return [connection for connection, at in takewhile(lambda item: now - item[1] >= seconds, since.items())]


def host_of(address: IAddress | None) -> str:
    """Where a connection comes from."""
    return str(getattr(address, "host", "local")).removeprefix("::ffff:")


class Refused(Protocol):
    """Says why a connection is refused, and closes it."""

    transport: Any

    def __init__(self, why: bytes, clock: IReactorTime) -> None:
        self._why = why
        self._clock = clock

    def connectionMade(self) -> None:
        self._abort = self._clock.callLater(STOP_SECONDS, self.transport.abortConnection)
        self.transport.write(self._why)
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._abort.active():
            self._abort.cancel()


@implementer(IStreamServerEndpoint)
class PortEndpoint:
    """A TCP port on one IP address of this machine; without one, on all of them, of IPv4 and IPv6."""

    def __init__(self, reactor: IReactorSocket, number: int, interface: str | None) -> None:
        self._reactor = reactor
        self._number = number
        self._interface = interface

    def listen(self, protocolFactory: Any) -> Deferred[IListeningPort]:
        try:
            with closing(self.bind()) as bound:
                bound.setblocking(False)
                port = self._reactor.adoptStreamPort(bound.fileno(), bound.family, protocolFactory)
        except OSError:
            return fail()
        return succeed(port)

    def bind(self) -> socket.socket:
        """Raises OSError if nothing could listen there now."""
        both = self._interface is None and socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both or ":" in (self._interface or "") else socket.AF_INET
        address = (self._interface or "", self._number)
        return socket.create_server(address, family=family, backlog=BACKLOG, dualstack_ipv6=both)


class PortsService(service.Service):
    """Some endpoints, and what serves the connections to them.

    Connections that come before `startService` wait in the kernel, where they can.
    """

    what = ""  # it listens for

    def __init__(self, factory: Factory, endpoints: Sequence[IStreamServerEndpoint]) -> None:
        self._factory = factory
        self._endpoints = endpoints
        self._listening: list[Deferred[IListeningPort]] = []
        self.ports: list[IListeningPort] = []

    def privilegedStartService(self) -> None:
        """Bind, while the daemon may still use a port below 1024."""
        for endpoint in self._endpoints:
            self._listening.append(maybeDeferred(endpoint.listen, self._factory).addCallback(self._bound))

    def _bound(self, port: IListeningPort) -> IListeningPort:
        if isinstance(port, FileDescriptor):
            port.stopReading()
        return port

    @inlineCallbacks
    def startService(self) -> Generator[Deferred[Any], Any, None]:
        """Take connections from here on. Fails with CannotListen."""
        super().startService()
        if not self._listening:
            self.privilegedStartService()
        for listening in self._listening:
            try:
                port = yield listening
            except Exception as why:
                raise CannotListen(f"cannot listen for {self.what}: {why}") from why
            self.ports.append(port)
        self.open()
        for port in self.ports:
            if isinstance(port, FileDescriptor):
                port.startReading()

    def open(self) -> None:
        """All ports are bound: connections may come."""

    @inlineCallbacks
    def stopService(self) -> Generator[Deferred[Any], Any, None]:
        """Take no more connections."""
        super().stopService()
        for port in self.ports:
            yield maybeDeferred(port.stopListening)


class StreamService(PortsService):
    """Live lines on some endpoints, if not all of them come over something else; and all connections of a registry."""

    what = "lines"
    _logger = Logger()

    def __init__(self, registry: ConnectionRegistry, endpoints: Sequence[IStreamServerEndpoint]) -> None:
        super().__init__(registry, endpoints)
        self._registry = registry

    def open(self) -> None:
        self._registry.start()
        if self.ports:
            self._logger.info(
                "Group {group} is open to live lines on {where}. To join: telnet HOST PORT, or nc -N HOST PORT",
                group=self._registry.group_service.settings.name,
                where=", ".join(shown(port.getHost()) for port in self.ports),
            )

    @inlineCallbacks
    def stopService(self) -> Generator[Deferred[Any], Any, None]:
        """Take no more connections, and part from those there are."""
        yield super().stopService()
        yield self._registry.stop()
        self._logger.info(
            "Connections close: {total} connections, {refused} refused",
            total=self._registry.total,
            refused=self._registry.refused,
        )


def shown(address: Any) -> str:
    """An address of this machine, in words."""
    host = getattr(address, "host", None)
    if host is None:
        name = getattr(address, "name", address)  # of a Unix socket
        return os.fsdecode(name) if isinstance(name, bytes) else str(name)
    return f"TCP port {address.port}" if host in ("", "::", "0.0.0.0") else f"TCP port {address.port} of {host}"


def writer(transport: Any) -> Callable[[bytes], None]:
    """What writes to a transport. To TCP it sends at once: Twisted would wait for the reactor to say that it can be
    sent, which costs more than the sending. What the kernel does not take goes the usual way.
    """
    if not isinstance(transport, Connection) or transport.TLS:
        write: Callable[[bytes], None] = transport.write
        return write

    def send(data: bytes) -> None:
        sent = 0
        if not transport.dataBuffer and not transport._tempDataLen:  # nothing is to be sent before it
            with suppress(OSError):  # the transport finds out what it is
                sent = transport.socket.send(data)
        if sent < len(data):
            transport.write(data[sent:])

    return send


def tune(transport: Any) -> None:
    """If this is TCP, find out when the other side is gone, and let the kernel hold no more than it needs."""
    handle = getattr(transport, "socket", None)
    if not isinstance(handle, socket.socket) or handle.family not in (socket.AF_INET, socket.AF_INET6):
        return
    idle, interval, count = KEEPALIVE
    for level, option, value in [
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER),
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPIDLE", None), idle),
        (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPINTVL", None), interval),
        (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPCNT", None), count),
    ]:
        if option is not None:
            with suppress(OSError):  # it has ended already
                handle.setsockopt(level, option, value)
