"""The five messages over UDP. See wire/datagrams.py for the grammar.

    -> datagram   one request      <- datagram   its reply

A datagram is answered, refused, or dropped; a bug in handling one is logged and survived. A cursor moves only if the
kernel accepted the reply: UDP promises nothing beyond that. How much one host is sent is limited: see core/budget.py.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

from twisted.application import service
from twisted.internet import udp
from twisted.internet.defer import Deferred, inlineCallbacks, maybeDeferred
from twisted.internet.interfaces import IReactorFDSet
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger
from zope.interface import implementer

from groupchat.core.budget import FREE, Budget
from groupchat.core.commands import Command, Join, Say
from groupchat.core.errors import IllegalMessage
from groupchat.core.events import Address
from groupchat.core.group import Member, Waiting
from groupchat.core.history import RANGES as MAX_RANGES
from groupchat.core.limits import EVERYWHERE, Network
from groupchat.service.group_service import GroupService
from groupchat.service.seats import IClient, Seat
from groupchat.wire.datagrams import CLOSE, MAX_LIST, REFUSAL, list_of_names, parse

MAX_DATAGRAM = 16_384
"""The most bytes of a datagram that are read: more than a legal one has, so one that is cut is illegal anyway."""

AT_ONCE = 64
"""The number of datagrams that are read before the rest of the reactor has its turn."""

STEP = 8
RANGES = 2 * MAX_RANGES
"""Reading ends earlier if the replies are of so many ranges of lines, which is checked after STEP datagrams each."""

FIRST_OF_QUIC = b"\x40"
"""Datagrams of QUIC, on the same port, begin with this byte or a higher one; the five messages do not."""

Send = Callable[[bytes, Address], object]
OfferToQuic = Callable[[bytes, Address, Send], bool]

RECEIVE_BUFFER = 4 * 1024 * 1024
"""The bytes of unread datagrams that the kernel is asked to buffer; it may buffer fewer."""


class Port(udp.Port):
    """A UDP port that counts datagrams: Twisted's own counts bytes, so empty datagrams would starve the reactor."""

    protocol: FiveMessages

    def createInternetSocket(self) -> socket.socket:
        created: socket.socket = super().createInternetSocket()
        created.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        if self.addressFamily == socket.AF_INET6:
            # IPv4 datagrams come to a socket of their own, which shows their addresses as IPv4.
            created.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        return created

    @classmethod
    def adopt(cls, passed: socket.socket, protocol: FiveMessages, reactor: IReactorFDSet) -> Port:
        """Return a port with a socket that is bound already, and close that: the port has a descriptor of its own."""
        with closing(passed):
            passed.setblocking(False)
            if passed.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) < RECEIVE_BUFFER:  # root may have set more
                passed.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            port: Port = cls._fromListeningDescriptor(reactor, passed.fileno(), passed.family, protocol, MAX_DATAGRAM)
            return port

    def doRead(self) -> None:
        receive: Callable[[int], tuple[bytes, Address]] = self.socket.recvfrom
        if self.addressFamily == socket.AF_INET6:
            receive = self._receive_with_zone
        received, history = self.protocol.datagramReceived, self.protocol.history
        count, ranges = 0, history.ranges + RANGES
        try:
            while count < AT_ONCE and history.ranges < ranges:
                for _ in range(STEP):
                    datagram, address = receive(MAX_DATAGRAM)
                    count += 1
                    received(datagram, address)
        except OSError:
            pass  # there is nothing more to read, or an earlier reply could not be delivered
        self.protocol.datagrams += count

    def _receive_with_zone(self, size: int) -> tuple[bytes, Address]:
        datagram, (host, port, _flow, zone) = self.socket.recvfrom(size)
        return datagram, (f"{host}%{zone}" if zone else host, port)


@implementer(IClient)
class FiveMessages(DatagramProtocol):
    """The front end of one port. It refuses addresses that are in none of the `networks`.

    A datagram that is none of the five messages is offered to `quic`, which returns True if it takes it. Each of the
    `datagrams` that came in is counted once it is handled: in `taken_by_quic`, `replies`, `refusals` or `drops`.
    """

    noisy = False
    transport: Port

    def __init__(
        self,
        group_service: GroupService,
        max_reply: int,
        networks: Sequence[Network] = EVERYWHERE,
        quic: OfferToQuic | None = None,
    ) -> None:
        self.datagrams = 0
        self.taken_by_quic = 0
        self.replies = 0
        self.refusals = 0
        self.drops = 0
        self._service = group_service
        self._group = group_service.group
        self.history = group_service.group.history
        self._seats = group_service.seats
        self._kept_seats = group_service.seats.at
        self._budget = Budget(group_service.seconds)
        self._spent = self._budget.spent  # nearly always empty: then nothing has to be counted
        self._quic = quic
        self.configure(max_reply, networks)

    def configure(self, max_reply: int, networks: Sequence[Network]) -> None:
        """Use other settings from now on, also for the members that there are."""
        self._max_reply = max_reply
        self._is_allowed = lru_cache(maxsize=4096)(lambda host: is_in(networks, host))
        for address, seat in self._kept_seats.items():
            if not self._is_allowed(address[0]):
                seat.client = None  # so that the next datagram from there is looked at

    def logPrefix(self) -> str:
        """Return what Twisted calls this in the log."""
        return "The five messages"

    def startProtocol(self) -> None:
        # transport.write() checks the address three times, which would be a third of the cost of a reply.
        self._sendto: Callable[[bytes | bytearray, Address], int] = self.transport.getHandle().sendto
        if getattr(self.transport, "addressFamily", None) == socket.AF_INET6:
            self._sendto = self._send_with_zone

    def _send_with_zone(self, datagram: bytes | bytearray, address: Address) -> int:
        host, _, zone = address[0].partition("%")
        return int(self.transport.getHandle().sendto(datagram, (host, address[1], 0, int(zone or 0))))

    def datagramReceived(self, datagram: bytes, address: Address) -> None:
        try:
            command = parse(datagram)
            seat = self._kept_seats.get(address)
            if seat is None or seat.client is None:
                if not self._is_allowed(address[0]):
                    raise IllegalMessage("Not from that network.")
                seat = self._seats.find(address, self)
            self._service.submit(seat, command)
        except IllegalMessage:
            # QUIC is looked for only here, so it costs the five messages nothing.
            if self._quic is None or datagram < FIRST_OF_QUIC or not self._is_quic(self._quic, datagram, address):
                self._refuse_datagram(datagram, address)
        except Exception:
            self.drops += 1
            self._service.survive("handling a datagram")

    def _is_quic(self, quic: OfferToQuic, datagram: bytes, address: Address) -> bool:
        try:
            if not quic(datagram, address, self._sendto):
                return False
        except Exception:
            self._service.survive("handling a datagram that is none of the five messages")
        self.taken_by_quic += 1
        return True

    def _refuse_datagram(self, datagram: bytes, address: Address) -> None:
        if self._is_allowed(address[0]):
            self._service.heard(address)
        if datagram == REFUSAL:
            # A forged address could make two servers refuse each other's refusals without end.
            self.drops += 1
        else:
            self._refuse(address)

    def _refuse(self, address: Address) -> None:
        try:
            self._sendto(REFUSAL, address)
        except OSError:
            self.drops += 1
        else:
            self.refusals += 1

    def answered(self, seat: Seat, command: Command) -> None:
        member, address = seat.member, seat.address
        assert address is not None
        if member is None:
            self._reply(CLOSE, seat, address)  # the member has left
        elif isinstance(command, Join):
            others = len(self._group.members) - 1
            limit = min(MAX_LIST, self._max_reply, self._budget.room(seat.payer, len(command.name)))
            self._reply(list_of_names(self._group.names(but=member), others, limit), seat, address)
        else:
            if self._spent and seat.payer in self._spent:
                lines, cursor, skipped = self._affordable(seat, member, command)
            else:
                lines, cursor, skipped = self._group.waiting(member, member.cursor, member.skipped, self._max_reply)
            if self._reply(lines, seat, address) and cursor != member.cursor:
                self._group.advance(member, cursor, skipped)

    def _affordable(self, seat: Seat, member: Member, command: Command) -> Waiting:
        """Return what waits for a member, as much as the budget of its host pays for."""
        said = len(command.text.encode()) if isinstance(command, Say) else 0
        room = self._budget.room(seat.payer, said)
        waiting = self._group.waiting(member, member.cursor, member.skipped, min(room, self._max_reply))
        if len(waiting[0]) > room:  # a long line goes alone, but not before there is room for it
            return b"", member.cursor, member.skipped
        return waiting

    def refused(self, seat: Seat, command: Command, why: IllegalMessage) -> None:
        assert seat.address is not None
        self._refuse(seat.address)

    def dropped(self, seat: Seat, command: Command) -> None:
        self.drops += 1

    def _reply(self, reply: bytes | bytearray, seat: Seat, address: Address) -> bool:
        """Return True if the kernel accepted the reply. It may be out of room, or have no route to a forged address."""
        try:
            self._sendto(reply, address)
        except OSError:
            self.drops += 1
            return False
        self.replies += 1
        if seat.payer and (len(reply) > FREE or seat.payer in self._spent):
            self._budget.pay(seat.payer, len(reply))
        return True


class UDPService(service.Service):
    """The five messages on one port number of one or more interfaces (IP addresses of this machine).

    An interface may also be a socket that was passed. `make` makes the front end of each. Datagrams that come before
    `startService` wait in the kernel.
    """

    _logger = Logger()

    def __init__(
        self,
        reactor: IReactorFDSet,
        group_service: GroupService,
        number: int,
        interfaces: Sequence[str | socket.socket],
        make: Callable[[], FiveMessages],
    ) -> None:
        self._reactor = reactor
        self._group_service = group_service
        self.number = number
        self._interfaces = interfaces
        self._make = make
        self.ports: list[Port] = []

    def privilegedStartService(self) -> None:
        """Bind, while the daemon may still use a port below 1024. Raises CannotListenError."""
        for interface in self._interfaces:
            if isinstance(interface, socket.socket):
                port = Port.adopt(interface, self._make(), self._reactor)
            else:
                port = Port(self.number, self._make(), interface, MAX_DATAGRAM, self._reactor)
            port.startListening()
            port.stopReading()
            self.ports.append(port)
            self.number = port.getHost().port  # if it was 0, all interfaces use the port that the first one got

    def startService(self) -> None:
        """Begin to read datagrams."""
        super().startService()
        if not self.ports:
            self.privilegedStartService()
        for port in self.ports:
            port.startReading()
        self._logger.info(
            "Group {group} is open on UDP port {port} ({interfaces})",
            group=self._group_service.settings.name,
            port=self.number,
            interfaces=", ".join(port.getHost().host for port in self.ports),
        )

    @inlineCallbacks
    def stopService(self) -> Generator[Deferred[Any], Any, None]:
        """Read no more datagrams, answer those that were read, and close."""
        super().stopService()
        for port in self.ports:
            port.stopReading()
        yield self._group_service.drain()
        for port in self.ports:
            yield maybeDeferred(port.stopListening)
        counters = ("datagrams", "replies", "refusals", "drops", "taken_by_quic")
        self._logger.info(
            "UDP closes: {datagrams} datagrams in, {replies} replies, {refusals} refused, {drops} dropped, "
            "{taken_by_quic} of QUIC",
            **{name: sum(getattr(port.protocol, name) for port in self.ports) for name in counters},
        )
        self.ports.clear()


def is_in(networks: Sequence[Network], host: str) -> bool:
    """Return True if an address is in one of the networks."""
    address = ip_address(host.partition("%")[0])
    return any(address in network for network in networks)


def everywhere() -> Iterator[str]:
    """Yield the interfaces that stand for all addresses of this machine: of IPv4, and of IPv6 if it has that."""
    yield "0.0.0.0"
    try:
        check_free("::", 0)
    except OSError:
        return
    yield "::"


def check_free(interface: str, number: int) -> None:
    """Raise OSError if a port is not available."""
    family = socket.AF_INET6 if ":" in interface else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_DGRAM)) as probe:
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        probe.bind((interface, number))
