"""Seats: the sources of commands, who sits on each, and what is under way from there.

A seat is kept while a member sits on it or a command from it is under way; strangers leave no trace. The seat of a
member with an address belongs to that address. The seat of any other member belongs to its connection, and may be held
for the next one.
"""

from __future__ import annotations

from zope.interface import Interface

from groupchat.core.budget import payer_of
from groupchat.core.commands import Command
from groupchat.core.errors import IllegalMessage
from groupchat.core.events import Address
from groupchat.core.group import Group, Member


class IClient(Interface):
    """A front end, or one connection of it, which is told once what became of each command."""

    def answered(seat: Seat, command: Command) -> None:
        """The command took effect and is durable. `seat.member` is the member of the seat after it."""

    def refused(seat: Seat, command: Command, why: IllegalMessage) -> None:
        """The command had no effect, and will have none."""

    def dropped(seat: Seat, command: Command) -> None:
        """The command was neither done nor refused: there were too many at once, or it could not be stored."""


class IConnection(IClient):
    """A client whose seat another connection can take over."""

    def displaced(why: IllegalMessage) -> None:
        """The client has lost its seat, with all that is under way from there."""


class InternalCommand:
    """A command that the service gives itself. No client is told of it."""


class Expire(InternalCommand):
    """Make the member leave if it is still silent."""


class Vacate(InternalCommand):
    """Make the member leave if it has no new connection."""


class Expel(InternalCommand):
    """Remove the member if it is banned."""


class RecordCursors(InternalCommand):
    """Append the members' cursors to the log."""


Task = Command | InternalCommand


class Seat:
    """One source of commands. `busy` counts the commands under way; the others wait in `queue`.

    `way` is how its member is connected, or was when that was last logged: udp, tcp, tls, quic or web; else away.
    """

    __slots__ = ("address", "batch", "busy", "client", "host", "member", "payer", "queue", "repeated", "way")

    def __init__(self, host: str, address: Address | None = None, member: Member | None = None) -> None:
        self.host = host
        self.address = address
        self.payer = "" if address is None else payer_of(host)  # whose budget pays for datagrams to there
        self.client: IClient | None = None  # None until something comes from there after this node's start
        self.member = member
        self.busy = 0
        self.batch = 0  # the number of the entry to which more texts may be added; else 0
        self.queue: list[Task] | None = None
        self.repeated = float("-inf")  # when its join was last repeated
        self.way = "away" if address is None else "udp"


Waiter = tuple[Seat, Task]
"""A task whose event is on its way to the log, and its seat."""


class Seats:
    """The seats of one group.

    `at` has the kept seats by address, and `live` the seats of members without an address, by member id. `held` has the
    seats whose connection ended, and since when: -inf if the session is not to be resumed.
    """

    def __init__(self, group: Group) -> None:
        self.group = group
        self.at: dict[Address, Seat] = {}
        self.live: dict[int, Seat] = {}
        self.held: dict[Seat, float] = {}

    def find(self, address: Address, client: IClient | None = None) -> Seat:
        """Return the seat of an address, and make `client` its client if it has none.

        A stranger's seat is not kept: see `keep`.
        """
        seat = self.at.get(address)
        if seat is None:
            member = self.group.by_address.get(address)
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
        """Return the seat of a member, which is kept."""
        if member.address is not None:
            return self.find(member.address)
        if member.id not in self.live:
            self.live[member.id] = Seat(member.host, member=member)
        return self.live[member.id]

    def known(self, member: Member) -> Seat | None:
        """Return the seat of a member, if it is kept."""
        return self.live.get(member.id) if member.address is None else self.at.get(member.address)

    def is_connected(self, member: Member) -> bool:
        seat = self.live.get(member.id)
        return seat is not None and seat.client is not None

    def joined(self, member: Member, asker: Seat | None) -> None:
        """Seat a new member. `asker` is the seat that asked for it; None if that is a seat of another node."""
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
        """Forget a seat without a member from which nothing is under way."""
        if seat.member is None and not seat.busy:
            self.held.pop(seat, None)
            if seat.address is not None and self.at.get(seat.address) is seat:
                del self.at[seat.address]
