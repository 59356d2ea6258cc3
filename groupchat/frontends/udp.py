"""The five messages over UDP. See wire/datagrams.py for the grammar.

    -> datagram   one request      <- datagram   its reply

A datagram is answered, refused, or dropped; a bug while handling one is logged and survived. A cursor moves only if the
reply could be handed to the kernel: beyond that UDP promises nothing.
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

from groupchat.core.commands import Command, Join
from groupchat.core.errors import IllegalMessage
from groupchat.core.events import Address
from groupchat.core.limits import EVERYWHERE, Network
from groupchat.service.group_service import GroupService
from groupchat.service.seats import IClient, Seat
from groupchat.wire.datagrams import CLOSE, REFUSAL, list_of_names, parse

MAX_DATAGRAM = 16_384
"""How much of a datagram is read, in bytes: more than any that is legal, so that what is cut was illegal anyway."""

AT_ONCE = 64
"""How many datagrams are read before the rest of the reactor has its turn."""

FIRST_OTHER = b"\x40"
"""What is not text at all, though it comes to the same port, begins with this byte or a higher one."""

Send = Callable[[bytes, Address], object]
Other = Callable[[bytes, Address, Send], bool]

RECEIVE_BUFFER = 4 * 1024 * 1024
"""What the kernel is asked to hold of datagrams that are not read yet, in bytes; it may give less."""


class Port(udp.Port):
    """A UDP port that cannot starve the reactor: Twisted's own counts bytes, and so reads empty datagrams for ever."""

    protocol: FiveMessages

    def createInternetSocket(self) -> socket.socket:
        created: socket.socket = super().createInternetSocket()
        created.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        if self.addressFamily == socket.AF_INET6:
            # IPv4 has a port of its own, where addresses look like IPv4.
            created.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        return created

    def doRead(self) -> None:
        receive: Callable[[int], tuple[bytes, Address]] = self.socket.recvfrom
        if self.addressFamily == socket.AF_INET6:
            receive = self._receive_with_zone
        received = self.protocol.datagramReceived
        count = 0
        try:
            while count < AT_ONCE:
                datagram, address = receive(MAX_DATAGRAM)
                count += 1
                received(datagram, address)
        except OSError:
            pass  # nothing more to read, or an error about a datagram sent earlier
        self.protocol.datagrams += count

    def _receive_with_zone(self, size: int) -> tuple[bytes, Address]:
        datagram, (host, port, _flow, zone) = self.socket.recvfrom(size)
        return datagram, (f"{host}%{zone}" if zone else host, port)


@implementer(IClient)
class FiveMessages(DatagramProtocol):
    """The front end of one port. Whoever is in none of the `networks` is refused.

    What is none of the five messages is shown to `other` first, which says whether it is its own. Of the `datagrams`
    that came in, each is among `others`, `replies`, `refusals` or `drops` once it is dealt with.
    """

    noisy = False
    transport: Port

    def __init__(
        self,
        group_service: GroupService,
        max_reply: int,
        networks: Sequence[Network] = EVERYWHERE,
        other: Other | None = None,
    ) -> None:
        self.datagrams = 0
        self.others = 0
        self.replies = 0
        self.refusals = 0
        self.drops = 0
        self._service = group_service
        self._group = group_service.group
        self._seats = group_service.seats
        self._kept_seats = group_service.seats.at
        self._max_reply = max_reply
        self._other = other
        self._is_allowed = lru_cache(maxsize=4096)(lambda host: is_in(networks, host))

    def startProtocol(self) -> None:
        # transport.write() would look at the address three times, which is a third of all that a reply costs.
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
            # Here, where the five messages never come: it costs them nothing.
            if self._other is None or datagram < FIRST_OTHER or not self._is_others(self._other, datagram, address):
                self._refuse_datagram(datagram, address)
        except Exception:
            self.drops += 1
            self._service.survive("handling a datagram")

    def _is_others(self, other: Other, datagram: bytes, address: Address) -> bool:
        try:
            if not other(datagram, address, self._sendto):
                return False
        except Exception:
            self._service.survive("handling a datagram that is none of the five messages")
        self.others += 1
        return True

    def _refuse_datagram(self, datagram: bytes, address: Address) -> None:
        if self._is_allowed(address[0]):
            self._service.heard(address)
        if datagram == REFUSAL:
            # Two servers, made by a forged address to answer each other, would never stop.
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
            self._reply(CLOSE, address)  # it has just left
        elif isinstance(command, Join):
            others = len(self._group.members) - 1
            self._reply(list_of_names(self._group.names(but=member), others, self._max_reply), address)
        else:
            lines, cursor, skipped = self._group.waiting(member, member.cursor, member.skipped, self._max_reply)
            if self._reply(lines, address) and cursor != member.cursor:
                self._group.advance(member, cursor, skipped)

    def refused(self, seat: Seat, command: Command, why: IllegalMessage) -> None:
        assert seat.address is not None
        self._refuse(seat.address)

    def dropped(self, seat: Seat, command: Command) -> None:
        self.drops += 1

    def _reply(self, reply: bytes | bytearray, address: Address) -> bool:
        """Whether the kernel took it. It may be out of room, or know no way to an address that was forged."""
        try:
            self._sendto(reply, address)
        except OSError:
            self.drops += 1
            return False
        self.replies += 1
        return True


class UDPService(service.Service):
    """The five messages on one port number of one or more interfaces (IP addresses of this machine).

    `make` makes the front end of each.
    Datagrams that come before `startService` wait in the kernel.
    """

    _logger = Logger()

    def __init__(
        self,
        reactor: IReactorFDSet,
        group_service: GroupService,
        number: int,
        interfaces: Sequence[str],
        make: Callable[[], FiveMessages],
    ) -> None:
        self._reactor = reactor
        self._group_service = group_service
        self.number = number
        self._interfaces = interfaces
        self._make = make
        self._ports: list[Port] = []

    def privilegedStartService(self) -> None:
        """Bind, while the daemon may still use a port below 1024. Raises CannotListenError."""
        for interface in self._interfaces:
            port = Port(self.number, self._make(), interface, MAX_DATAGRAM, self._reactor)
            port.startListening()
            port.stopReading()
            self._ports.append(port)
            self.number = port.getHost().port  # where any free port was asked for, it is one for all interfaces

    def startService(self) -> None:
        """Read datagrams from here on."""
        super().startService()
        if not self._ports:
            self.privilegedStartService()
        for port in self._ports:
            port.startReading()
        self._logger.info(
            "Group {group} is open on UDP port {port} ({interfaces}). To join: groupchat HOST {port}, "
            "or socat - UDP-DATAGRAM:HOST:{port}; then type 1 and a name",
            group=self._group_service.settings.name,
            port=self.number,
            interfaces=", ".join(self._interfaces),
        )

    @inlineCallbacks
    def stopService(self) -> Generator[Deferred[Any], Any, None]:
        """Take nothing more, answer what is under way, and close."""
        super().stopService()
        for port in self._ports:
            port.stopReading()
        yield self._group_service.drain()
        for port in self._ports:
            yield maybeDeferred(port.stopListening)
        self._logger.info(
            "UDP closes: {datagrams} datagrams in, {replies} replies, {refusals} refused, {drops} dropped, "
            "{others} of QUIC",
            datagrams=sum(port.protocol.datagrams for port in self._ports),
            replies=sum(port.protocol.replies for port in self._ports),
            refusals=sum(port.protocol.refusals for port in self._ports),
            drops=sum(port.protocol.drops for port in self._ports),
            others=sum(port.protocol.others for port in self._ports),
        )
        self._ports.clear()


def is_in(networks: Sequence[Network], host: str) -> bool:
    """Whether an address is in one of the networks."""
    address = ip_address(host.partition("%")[0])
    return any(address in network for network in networks)


def everywhere() -> Iterator[str]:
    """The interfaces that stand for all addresses of this machine: IPv4, and IPv6 where there is one."""
    yield "0.0.0.0"
    try:
        check_free("::", 0)
    except OSError:
        return
    yield "::"


def check_free(interface: str, number: int) -> None:
    """Raises OSError if nothing could listen there now."""
    family = socket.AF_INET6 if ":" in interface else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_DGRAM)) as probe:
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        probe.bind((interface, number))
