"""Seats: where commands come from, who sits there, and what is under way from there.

A seat is kept while somebody sits on it or a command of it is under way: whoever is no member leaves no trace. The seat
of a member with an address is wherever its datagrams come from; that of any other is that of its connection, or is held
for its next one.
"""

from __future__ import annotations

from zope.interface import Interface

from groupchat.core.commands import Command
from groupchat.core.errors import IllegalMessage
from groupchat.core.events import Address
from groupchat.core.group import Group, Member


class IClient(Interface):
    """Who is told what became of a command, once for each: a front end, or one connection of it."""

    def answered(seat: Seat, command: Command) -> None:
        """It took effect, and is durable. `seat.member` is who the seat is by now."""

    def refused(seat: Seat, command: Command, why: IllegalMessage) -> None:
        """It had no effect, and will have none."""

    def dropped(seat: Seat, command: Command) -> None:
        """It gets no answer: there was too much at once, or it could not be stored."""


class IConnection(IClient):
    """A client whose seat can be taken over by another."""

    def displaced(why: str) -> None:
        """It has lost its seat, with all that is under way from there."""


class Chore:
    """What nobody asked for, so that nobody is told of it."""

    __slots__ = ()


class Expire(Chore):
    """Leave, if still silent: what the service asks in a member's place."""

    __slots__ = ()


class Vacate(Chore):
    """Leave, if there is no connection again: likewise."""

    __slots__ = ()


class Record(Chore):
    """Put into the log where members are: what the service asks for itself."""

    __slots__ = ()


Task = Command | Chore


class Seat:
    """One source of commands. `busy` is how many are under way; the others wait in `queue`."""

    __slots__ = ("address", "batch", "busy", "client", "host", "member", "queue", "repeated")

    def __init__(self, host: str, address: Address | None = None, member: Member | None = None) -> None:
        self.host = host
        self.address = address
        self.client: IClient | None = None  # nobody, while nothing has come from there since this node started
        self.member = member
        self.busy = 0
        self.batch = 0  # the entry in which all that is under way goes, if it is texts; else 0
        self.queue: list[Task] | None = None
        self.repeated = float("-inf")  # when its join was last repeated


class Seats:
    """The seats of one group.

    `at` has those that are kept, by address, `live` those of members without an address, by member id. `held` has those
    whose connection ended, and since when: -inf if it is not to be resumed.
    """

    def __init__(self, group: Group) -> None:
        self.at: dict[Address, Seat] = {}
        self.live: dict[int, Seat] = {}
        self.held: dict[Seat, float] = {}
        self._group = group

    def find(self, address: Address, client: IClient | None = None) -> Seat:
        """The seat of this address, of `client` from here on. If it is nobody's yet, it is not kept: see `keep`."""
        seat = self.at.get(address)
        if seat is None:
            member = self._group.by_address.get(address)
            seat = Seat(address[0], address, member)
            if member is not None:
                self.at[address] = seat
        seat.client = seat.client or client
        return seat

    def keep(self, seat: Seat) -> None:
        """Keep a seat whose join is under way."""
        if seat.address is not None:
            self.at[seat.address] = seat

    def of(self, member: Member) -> Seat:
        """The seat of a member, which is kept."""
        if member.address is not None:
            return self.find(member.address)
        if member.id not in self.live:
            self.live[member.id] = Seat(member.host, member=member)
        return self.live[member.id]

    def is_connected(self, member: Member) -> bool:
        seat = self.live.get(member.id)
        return seat is not None and seat.client is not None

    def joined(self, member: Member, asker: Seat | None) -> None:
        """Somebody has become a member; `asker` is the seat that asked for it, if it is one of this node."""
        if member.address is None:
            seat = asker
            if seat is not None:
                self.live[member.id] = seat
        else:
            seat = self.at.get(member.address)
        if seat is not None:
            seat.member = member
            member.contact = member.logged

    def left(self, member: Member) -> None:
        seat = self.live.pop(member.id, None) if member.address is None else self.at.get(member.address)
        if seat is not None:
            seat.member = None
            self.clear(seat)

    def clear(self, seat: Seat) -> None:
        """Forget a seat that is nobody's, and from which nothing is under way."""
        if seat.member is None and not seat.busy:
            self.held.pop(seat, None)
            if seat.address is not None and self.at.get(seat.address) is seat:
                del self.at[seat.address]
