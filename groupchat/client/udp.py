"""The UDP conversation: one request outstanding, what is not answered is said so, joins and polls are repeated.

Two rules. Every datagram that comes is handed over to be shown, whether anybody waits for it or not. And since the
protocol has no request ids, a datagram answers the request that is outstanding when it comes, with one exception: while
replies to earlier requests may still be on their way, `close` answers a `4` only, and a `4` waits for its `close`. So a
late reply may count for the request after it, but a `4` still comes after all of them, and nothing is lost at the end.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from twisted.internet.error import CannotListenError, MessageLengthError
from twisted.internet.interfaces import IDelayedCall, IReactorFDSet, IReactorTime, IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.udp import Port
from twisted.python.failure import Failure

from groupchat.client.membership import Membership
from groupchat.client.messages import CLOSE, ILLEGAL, LEAVE, is_repeatable
from groupchat.client.text import quote

ANSWER_SECONDS = 2
LONGEST_PAUSE = 30
TRIES = 5
"""Sent after 0, 2, 6, 14 and 30 seconds, and given up after 60."""


class UnreachableError(Exception):
    """A datagram could not even be sent; the text is the system's reason."""


@dataclass(frozen=True, slots=True)
class Address:
    """An IPv4 or IPv6 literal (with its `%scope`, if it has one) and a port."""

    host: str
    port: int


def resolve(host: str, port: int) -> list[Address]:
    """The host's addresses in the system's order, each once. Raises OSError, saying what is wrong.

    The first one that does not refuse is used. Silence is no refusal: the request may have been heard.
    """
    found = []
    try:
        for *_, where in socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM):
            literal, _, *rest = (str(part) for part in where)
            scope = f"%{rest[1]}" if rest and rest[1] != "0" else ""  # IPv6: flow label, scope
            found.append(Address(literal + scope, port))
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a host's name"
        unknown = quote(os.fsencode(host))
        raise OSError(f"unknown host {unknown}: {reason}; check its spelling, or give its address") from error
    return list(dict.fromkeys(found))


class Route(Protocol):
    """How a conversation's datagrams leave. `Link` is the real one."""

    def send(self, datagram: bytes) -> None:
        """Raises UnreachableError."""

    def use_next(self) -> bool:
        """Go over to the next address of the same host; False when there is none."""


class Guest(Protocol):
    """What else goes over the same socket, and has nothing to do with the five messages."""

    def owns(self, datagram: bytes) -> bool: ...

    def received(self, datagram: bytes) -> None: ...


class Owner(Protocol):
    """Who has the conversation. Once a request is answered, unanswered or unheard, the next one may be asked."""

    def heard(self, reply: bytes) -> None:
        """A datagram came, expected or not: show it. `answered` follows if it was an answer."""

    def answered(self, request: bytes, reply: bytes) -> None: ...

    def waiting(self, request: bytes, seconds: int) -> None:
        """There is no answer so far, and the request is about to be sent again."""

    def unanswered(self, request: bytes, seconds: int, times: int) -> None:
        """The request was sent `times` times, and is given up."""

    def unheard(self, request: bytes, reason: str) -> None:
        """The request surely reached nobody."""

    def closed(self) -> None:
        """An earlier `4`, given up since, was answered with `close` after all."""


class Conversation:
    """Asks one request at a time. `tries` bounds how often a join or a poll is sent; None is without end.

    `longest` is the longest pause between two of these, in seconds.
    """

    def __init__(
        self,
        clock: IReactorTime,
        route: Route,
        owner: Owner,
        tries: int | None = TRIES,
        longest: int = LONGEST_PAUSE,
    ) -> None:
        self.tries = tries
        self._longest = longest
        self.membership = Membership()
        self.outstanding: bytes | None = None
        self.met = False  # whether anything ever came from the server
        self._clock = clock
        self._route = route
        self._owner = owner
        self._timer: IDelayedCall | None = None
        self._sends = 0
        self._waited = 0
        self._owed = 0  # datagrams sent for which none has come
        self._stale = 0  # how many of these are not the outstanding request's
        self._unclear: bytes | None = None  # what may be the answer to a `4`, or a late one to an earlier request
        self._leave_open = False

    @property
    def certain(self) -> bool:
        """Whether all that was sent before the request that was asked last is accounted for."""
        return not self._stale

    def ask(self, request: bytes) -> None:
        """Send a request of at most MAX_DATAGRAM bytes. Only while none is outstanding."""
        assert self.outstanding is None
        self.outstanding = request
        self._stale = self._owed
        self._sends = self._waited = 0
        self._unclear = None
        self._leave_open |= request == LEAVE
        self._transmit(request)

    def abandon(self) -> None:
        """Wait no more for the outstanding request, if there is one. Its answer will count as late."""
        self._stop_timer()
        self.outstanding = None

    def received(self, datagram: bytes) -> None:
        self.met = True
        self._owed = max(0, self._owed - 1)
        self._owner.heard(datagram)
        if self.outstanding is not None and self._fits(self.outstanding, datagram):
            self._answered(self.outstanding, datagram)
        else:
            self._late(datagram)

    def refused(self, reason: str) -> None:
        """Nothing listens where the outstanding request went, or there is no way there."""
        if self.outstanding is None:
            return
        if self.met and is_repeatable(self.outstanding):
            return  # a daemon that is being restarted: the timer asks again
        self._stop_timer()
        self._sends -= 1
        self._owed = max(0, self._owed - 1)
        if not self.met and self._route.use_next():
            self._transmit(self.outstanding)
            return
        request, self.outstanding = self.outstanding, None
        self._owner.unheard(request, reason)

    def _transmit(self, request: bytes) -> None:
        self._sends += 1
        self._owed += 1
        self.membership.sent(request)
        pause = min(ANSWER_SECONDS << (self._sends - 1), self._longest)
        self._timer = self._clock.callLater(pause, self._timed_out, request, pause)
        try:
            self._route.send(request)
        except UnreachableError as error:
            self.refused(str(error))

    def _timed_out(self, request: bytes, pause: int) -> None:
        self._timer = None
        self._waited += pause
        if self._unclear is not None:
            self._answered(request, self._unclear)
        elif is_repeatable(request) and (self.tries is None or self._sends < self.tries):
            self._owner.waiting(request, self._waited)
            self._transmit(request)
        else:
            self.outstanding = None
            self._owner.unanswered(request, self._waited, self._sends)

    def _fits(self, request: bytes, datagram: bytes) -> bool:
        if not self._stale:
            return True
        return (request == LEAVE) == (datagram == CLOSE)

    def _answered(self, request: bytes, reply: bytes) -> None:
        self._stop_timer()
        self.outstanding = None
        if request == LEAVE:
            self._leave_open = False
        self.membership.answered(request, reply, certain=not self._stale)
        self._owner.answered(request, reply)

    def _late(self, datagram: bytes) -> None:
        self._stale = max(0, self._stale - 1)
        if datagram == ILLEGAL and self.outstanding == LEAVE:
            self._unclear = datagram
        if datagram == CLOSE and self._leave_open:
            self._leave_open = False
            self.membership.closed_late(self.outstanding)
            self._owner.closed()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Wire(DatagramProtocol):
    """A connected socket's end: the system lets through what comes from the server's address, and nothing else."""

    noisy = False

    def __init__(self, link: Link, conversation: Conversation) -> None:
        self._link = link
        self._conversation = conversation

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        guest = self._link.guest
        if guest is not None and guest.owns(datagram):
            guest.received(datagram)
        else:
            self._conversation.received(datagram)

    def connectionRefused(self) -> None:
        self._conversation.refused("nothing is listening")


class ConnectedPort(Port):
    """A port that a refusal does not close.

    Reactors on poll and epoll take the bare error event of a refused datagram for a lost connection, and never call
    `connectionRefused`. A new port would be a new member to the server, so this one is kept.
    """

    def connectionLost(self, reason: Failure | None = None) -> None:
        if reason is not None and self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.startReading()
            self.protocol.connectionRefused()
        else:
            super().connectionLost(reason)


class Link:
    """The route over a real socket, to the first of a host's addresses that does not refuse."""

    guest: Guest | None = None

    def __init__(self, reactor: IReactorFDSet, addresses: Sequence[Address]) -> None:
        self._reactor = reactor
        self._addresses = list(addresses)
        self._conversation: Conversation | None = None
        self._port: IUDPTransport | None = None

    def open(self, conversation: Conversation) -> None:
        """Raises UnreachableError if there is no way to any of the addresses."""
        self._conversation = conversation
        reason = "it has no address"
        while self._addresses:
            try:
                self._port = self._connect(self._addresses.pop(0))
            except (CannotListenError, OSError) as error:
                reason = _reason(error)
            else:
                return
        raise UnreachableError(reason)

    def use_next(self) -> bool:
        assert self._conversation is not None
        previous = self._port
        try:
            self.open(self._conversation)
        except UnreachableError:
            return False
        if previous is not None:
            previous.stopListening()
        return True

    def send(self, datagram: bytes) -> None:
        assert self._port is not None
        try:
            self._port.write(datagram, None)
        except (MessageLengthError, OSError) as error:
            raise UnreachableError(_reason(error)) from error

    def _connect(self, address: Address) -> IUDPTransport:
        assert self._conversation is not None
        make: Any = ConnectedPort  # Twisted has no annotations here
        interface = "::" if ":" in address.host else ""
        port = make(0, Wire(self, self._conversation), interface, maxPacketSize=65_535, reactor=self._reactor)
        port.startListening()
        try:
            port.connect(address.host, address.port)
        except OSError:
            port.stopListening()
            raise
        return cast(IUDPTransport, port)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
