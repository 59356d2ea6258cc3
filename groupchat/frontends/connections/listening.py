"""The ports that connections come to."""

from __future__ import annotations

import os
import socket
from collections.abc import Generator, Sequence
from contextlib import closing
from functools import partial
from typing import Any

from twisted.application import service
from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred, fail, inlineCallbacks, maybeDeferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IOpenSSLContextFactory, IReactorSocket, IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.tcp import Port
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from groupchat.core.errors import CannotListen
from groupchat.core.limits import BACKLOG
from groupchat.frontends.connections.registry import ConnectionRegistry

ACCEPTED = 32
"""The most connections that one port accepts in a turn of the reactor: greeting one takes some 60 microseconds."""


@implementer(IStreamServerEndpoint)
class PortEndpoint:
    """A TCP port on one IP address of this machine, or, without an address, on all of them: IPv4 and IPv6."""

    def __init__(self, reactor: IReactorSocket, number: int, interface: str | None) -> None:
        self._reactor = reactor
        self._number = number
        self._interface = interface

    def listen(self, protocolFactory: Any) -> Deferred[IListeningPort]:
        try:
            return succeed(_adopt(self._reactor, self.bind(), protocolFactory))
        except OSError:
            return fail()

    def bind(self) -> socket.socket:
        """Return a listening socket. Raises OSError if the port is not available."""
        both = self._interface is None and socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both or ":" in (self._interface or "") else socket.AF_INET
        address = (self._interface or "", self._number)
        return socket.create_server(address, family=family, backlog=BACKLOG, dualstack_ipv6=both)


@implementer(IStreamServerEndpoint, IOpenSSLContextFactory)
class TLSEndpoint:
    """A port for TLS, as the string of a Twisted endpoint describes it. Its certificate can be replaced.

    It stands between the reactor and Twisted's endpoint. Making one raises what reading the files raises.
    """

    def __init__(self, reactor: Any, where: str) -> None:
        self.where = where
        self._reactor = reactor
        self._context: Any = None
        self._endpoint = serverFromString(self, where)

    def listen(self, protocolFactory: Any) -> Deferred[IListeningPort]:
        listening: Deferred[IListeningPort] = self._endpoint.listen(protocolFactory)
        return listening

    def listenSSL(self, port: int, factory: Any, contextFactory: Any, backlog: int = 50, interface: str = "") -> Any:
        if self._context is None:
            self._context = contextFactory
        return self._reactor.listenSSL(port, factory, self, backlog, interface)

    def getContext(self) -> Any:
        """Return the context of a new connection."""
        return self._context.getContext()

    def use(self, context: Any) -> None:
        """Show the certificate of this context, which `load` returned, to those who connect from now on."""
        self._context = context

    def is_new(self, context: Any) -> bool:
        """Return True if the certificate of this context is another one than now."""
        certificates = [each.certificate.to_cryptography() for each in (context, self._context)]
        return bool(certificates[0] != certificates[1])

    @staticmethod
    def load(where: str) -> Any:
        """Return the context that the files of an endpoint make now."""
        found: list[Any] = []

        class Reader:
            def listenSSL(self, port: int, factory: Any, contextFactory: Any, **options: Any) -> None:
                contextFactory.getContext()  # fails if the key does not belong to the certificate
                found.append(contextFactory)

        problems: list[Failure] = []
        serverFromString(Reader(), where).listen(Factory()).addErrback(problems.append)
        for problem in problems:
            problem.raiseException()
        return found[0]


class PassedPort:
    """Stands in for the reactor of an endpoint, which then uses a socket that was passed and listens already."""

    def __init__(self, reactor: IReactorSocket, passed: socket.socket) -> None:
        self._reactor = reactor
        self._passed = passed

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> IListeningPort:
        return _adopt(self._reactor, self._passed, factory)

    def listenSSL(
        self, port: int, factory: Any, contextFactory: Any, backlog: int = 50, interface: str = ""
    ) -> IListeningPort:
        from twisted.protocols.tls import TLSMemoryBIOFactory  # OpenSSL may not be installed

        return _adopt(self._reactor, self._passed, TLSMemoryBIOFactory(contextFactory, False, factory))


def _adopt(reactor: IReactorSocket, listening: socket.socket, factory: Any) -> IListeningPort:
    """Return a port with a socket that listens, and close that: the port has a descriptor of its own."""
    with closing(listening):
        listening.setblocking(False)
        return reactor.adoptStreamPort(listening.fileno(), listening.family, factory)


def _accept_some(port: Port) -> None:
    """Accept at most ACCEPTED connections: Twisted's port accepts 100 at once, and more while there are more."""
    port.numberAccepts = ACCEPTED
    Port.doRead(port)


class PortsService(service.Service):
    """A service that listens on some endpoints. Connections that come before it starts wait in the kernel."""

    what = ""  # for which it listens, in words

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
        """Accept connections. Fails with CannotListen."""
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
            if isinstance(port, Port):
                port.doRead = partial(_accept_some, port)  # type: ignore[method-assign]
            if isinstance(port, FileDescriptor):
                port.startReading()

    def open(self) -> None:
        """Prepare for connections: all ports are bound."""

    @inlineCallbacks
    def stopService(self) -> Generator[Deferred[Any], Any, None]:
        """Accept no more connections."""
        super().stopService()
        for port in self.ports:
            yield maybeDeferred(port.stopListening)


class StreamService(PortsService):
    """Live lines on some endpoints. It also starts and stops the registry, so it must run for QUIC and HTTP as well."""

    what = "lines"
    _logger = Logger()

    def __init__(self, registry: ConnectionRegistry, endpoints: Sequence[IStreamServerEndpoint]) -> None:
        super().__init__(registry, endpoints)
        self._registry = registry

    def open(self) -> None:
        self._registry.start()
        if self.ports:
            self._logger.info(
                "Group {group} is open to live lines on {where}",
                group=self._registry.group_service.settings.name,
                where=", ".join(in_words(port.getHost()) for port in self.ports),
            )

    @inlineCallbacks
    def stopService(self) -> Generator[Deferred[Any], Any, None]:
        """Accept no more connections, and close all that are open."""
        yield super().stopService()
        yield self._registry.stop()
        self._logger.info(
            "Connections close: {total} connections, {refused} refused",
            total=self._registry.total,
            refused=self._registry.refused,
        )


def in_words(address: Any) -> str:
    """Return an address of this machine as people read it."""
    host = getattr(address, "host", None)
    if host is None:
        name = getattr(address, "name", address)  # of a Unix socket
        return os.fsdecode(name) if isinstance(name, bytes) else str(name)
    return f"TCP port {address.port}" if host in ("", "::", "0.0.0.0") else f"TCP port {address.port} of {host}"
