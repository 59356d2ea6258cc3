"""The connections of a group, whatever stream they come by: how many there may be, and for how long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from functools import partial
from itertools import takewhile
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.interfaces import IAddress, IProtocolNegotiationFactory, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import LoopingCall, deferLater
from twisted.python.failure import Failure
from zope.interface import Attribute, Interface, implementer

from groupchat.core.limits import MAX_DOWNLOADS_HOST, STOP_SECONDS, STOP_STALL, Limits
from groupchat.core.networks import network_of
from groupchat.files import IShelf
from groupchat.frontends.connections.passwords import OperatorPasswords, PasswordChecks
from groupchat.frontends.connections.quotas import Quota
from groupchat.frontends.connections.sockets import tune
from groupchat.frontends.turn_budget import CLOSING, TurnBudget
from groupchat.service.group_service import GroupService
from groupchat.wire.lines import notes

STEP = 0.02
"""The seconds between two checks, while stopping, if there is still something to wait for."""

HTTP_ALPN = [b"http/1.1", b"http/1.0"]
"""The versions of HTTP that the page speaks, as TLS names them: RFC 7301."""


class IConnected(Interface):
    """A connection in the registry."""

    host = Attribute("The address of the other side, without the port.")
    way = Attribute("How it came: tcp, tls, quic or web.")

    def close(*why: str) -> None:
        """Say why, and close once that is sent."""

    def drop() -> None:
        """Close at once."""


@implementer(IProtocolNegotiationFactory)
class ConnectionRegistry(Factory):
    """All connections of one group, and their limits. `make` returns the protocol for a connection.

    `shelf` has the shared files, if files are shared.
    """

    noisy = False

    def __init__(
        self,
        group_service: GroupService,
        limits: Limits,
        clock: IReactorTime,
        make: Callable[[ConnectionRegistry, str], Protocol],
        shelf: IShelf | None = None,
    ) -> None:
        self.group_service = group_service
        self.limits = limits
        """The limits in force: `configure` replaces them."""
        self.clock = clock
        self.shelf = shelf
        self.passwords = PasswordChecks(clock, [] if limits.password is None else [limits.password], self._wrong)
        self.operators = OperatorPasswords(clock, limits.operators, partial(self._wrong, whose=" of an operator"))
        self.downloads = Quota("fetched", MAX_DOWNLOADS_HOST)
        self.ready = False
        self._make = make
        self.connections: dict[IConnected, None] = {}
        self.total = 0
        self.refused = 0
        self.budget = TurnBudget(clock, group_service.survive)
        self.forget_greeting()
        group_service.when_erased.append(lambda erased: self.forget_greeting())
        self._per_host: Counter[str] = Counter()  # by network
        self._unnamed: dict[IConnected, float] = {}  # since when, in this order
        self._closing: dict[IConnected, float] = {}  # since when, in this order
        self._ticker = LoopingCall(self._tick)
        self._ticker.clock = clock

    def configure(self, limits: Limits) -> None:
        """Use other limits and passwords from now on. Connections that there are already stay."""
        self.limits = limits
        self.passwords.replace([] if limits.password is None else [limits.password])
        self.operators.replace(limits.operators)
        self.forget_greeting()  # it has the name of the group

    def forget_greeting(self) -> None:
        self.greeting: tuple[int, Sequence[str | bytes | bytearray]] = -1, ()  # what it was at this line

    def start(self) -> None:
        self.ready = True
        self._ticker.start(1.0, now=False)

    # Opening

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        return self.connect(host_of(addr))

    def connect(self, host: str) -> Protocol | None:
        """Return the protocol for a connection from a host: `Refused` if there is no room, and None before `start`."""
        why = self.why_not(host)
        if why:
            self.refused += 1
            return Refused(notes([why]), self.clock)
        return self._make(self, host) if self.ready else None

    def logPrefix(self) -> str:
        """Return what Twisted calls this in the log."""
        return "Live lines"

    def acceptableProtocols(self) -> list[bytes]:
        """Return the protocols that TLS clients may offer (ALPN, RFC 7301): one that offers others only is refused.

        HTTP is among them so that browsers and curl are told in words that this is no web server.
        """
        return [b"groupchat", *HTTP_ALPN]

    def why_not(self, host: str) -> str:
        """Return why there is no room for a connection from a host, or "" if there is."""
        limits = self.limits
        if len(self.connections) >= limits.max_connections:
            return "There are too many connections: try again later."
        if limits.max_per_host and self._per_host[network_of(host)] >= limits.max_per_host:
            return "There are too many connections from your address."
        return ""

    # What connections report

    def opened(self, connection: IConnected, transport: Any) -> None:
        tune(transport)
        self.total += 1
        self.connections[connection] = None
        self._per_host[network_of(connection.host)] += 1
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
        network = network_of(connection.host)
        self._per_host[network] -= 1
        if not self._per_host[network]:
            del self._per_host[network]

    # Limits on input

    def check_password(self, connection: IConnected, given: bytes) -> Deferred[bool]:
        """Check a password: see PasswordChecks. While it waits, the connection has no deadline for its name."""
        check = self.passwords.check(connection.host, connection, given)
        if not check.called:
            self.named(connection)
            check.addCallback(self._checked, connection)
        return check

    def _wrong(self, host: str, connection: Any, whose: str = "") -> None:
        self.group_service.access_log.wrong_password(host, connection.way, whose)

    def _checked(self, is_right: bool, connection: IConnected) -> bool:
        if connection in self.connections and connection not in self._closing:
            self._unnamed[connection] = self.clock.seconds()
        return is_right

    # Closing

    def _tick(self) -> None:
        """Close, every second, connections that gave no name in time or do not read what was sent to them last."""
        try:
            now = self.clock.seconds()
            unnamed = _longer_than(self.limits.name_within, self._unnamed, now)
            self.budget.spread(CLOSING, [partial(self._close_unnamed, connection) for connection in unnamed])
            closing = _longer_than(self.group_service.settings.stall, self._closing, now)
            self.budget.spread(CLOSING, [partial(self._drop, connection) for connection in closing])
            self.passwords.forget_old()
            self.operators.forget_old()
        except Exception:
            self.group_service.survive("looking after connections")

    def _close_unnamed(self, connection: IConnected) -> None:
        if connection in self._unnamed:
            connection.close("You gave no name. Come back when you have one.")
            self.clock.callLater(STOP_SECONDS, self._drop, connection)  # a TLS handshake may never end

    def _drop(self, connection: IConnected) -> None:
        if connection in self.connections:
            connection.drop()

    @inlineCallbacks
    def stop(self) -> Generator[Deferred[Any], Any, None]:
        """Answer all commands, send all lines that wait, and close every connection."""
        if self._ticker.running:
            self._ticker.stop()
        self.passwords.stop()
        self.operators.stop()
        yield self.group_service.drain()
        yield self._wait_for(self.group_service.subscriptions.lines_behind)
        for connection in tuple(self.connections):
            connection.close("The server is stopping. What was said is kept: come back in a while.")
        yield self._wait_for(self.connections.__len__)
        for connection in tuple(self.connections):
            connection.drop()
        yield self._wait_for(self.connections.__len__)

    @inlineCallbacks
    def _wait_for(self, remaining: Callable[[], int]) -> Generator[Deferred[Any], Any, None]:
        """Wait until nothing remains, or until that has not become less for STOP_STALL; at most for STOP_SECONDS."""
        least, since = remaining(), 0
        for step in range(int(STOP_SECONDS / STEP)):
            left = remaining()
            if left < least:
                least, since = left, step
            if not left or (step - since) * STEP >= STOP_STALL:
                return
            yield deferLater(self.clock, STEP)


def _longer_than(seconds: float, since: dict[IConnected, float], now: float) -> list[IConnected]:
    return [connection for connection, at in takewhile(lambda item: now - item[1] >= seconds, since.items())]


def host_of(address: IAddress | None) -> str:
    """Return the host of an address. All addresses that have none, such as those of Unix sockets, count as one."""
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
