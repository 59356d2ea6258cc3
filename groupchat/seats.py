"""Seats: where commands come from, who sits there, and what is under way from there.

A seat is kept while somebody sits on it or a command of it is under way: whoever is no member leaves no trace.
"""

from __future__ import annotations

from dataclasses import dataclass

from zope.interface import Interface

from groupchat.commands import Command
from groupchat.errors import IllegalMessage
from groupchat.events import Address
from groupchat.group import Group, Member


class IClient(Interface):
    """Who is told what became of a command, once for each: a front end, or one connection of it."""

    def answered(seat: Seat, command: Command) -> None:
        """It took effect, and is durable. `seat.member` is who the seat is by now."""

    def refused(seat: Seat, command: Command, why: IllegalMessage) -> None:
        """It had no effect, and will have none."""

    def dropped(seat: Seat, command: Command) -> None:
        """It gets no answer: there was too much at once, or it could not be stored."""


@dataclass(slots=True)
class Expire:
    """Leave, if still silent: what the service asks in a member's place."""


@dataclass(slots=True)
class Record:
    """Put into the log where members are: what the service asks for itself."""


Chore = Expire | Record
"""What nobody asked for, so that nobody is told of it."""

Task = Command | Chore


class Seat:
    """One source of commands. `busy` while one is under way; the others wait in `queue`."""

    __slots__ = ("address", "busy", "client", "member", "queue", "repeated")

    def __init__(self, address: Address, member: Member | None = None) -> None:
        self.address = address
        self.client: IClient | None = None  # nobody, while nothing has come from there since this node started
        self.member = member
        self.busy = False
        self.queue: list[Task] | None = None
        self.repeated = float("-inf")  # when its join was last repeated


class Seats:
    """The seats of one group. `at` has those that are kept, by address."""

    def __init__(self, group: Group) -> None:
        self.at: dict[Address, Seat] = {}
        self._group = group

    def find(self, address: Address, client: IClient | None = None) -> Seat:
        """The seat of this address, of `client` from here on. If it is nobody's yet, it is not kept: see `keep`."""
        seat = self.at.get(address)
        if seat is None:
            member = self._group.by_address.get(address)
            seat = Seat(address, member)
            if member is not None:
                self.at[address] = seat
        seat.client = seat.client or client
        return seat

    def keep(self, seat: Seat) -> None:
        """Keep a seat whose join is under way."""
        self.at[seat.address] = seat

    def joined(self, member: Member) -> None:
        if (seat := self._of(member)) is not None:
            seat.member = member
            member.contact = member.logged

    def left(self, member: Member) -> None:
        if (seat := self._of(member)) is not None:
            seat.member = None
            self.clear(seat)

    def clear(self, seat: Seat) -> None:
        """Forget a seat that is nobody's, and from which nothing is under way."""
        if seat.member is None and not seat.busy and self.at.get(seat.address) is seat:
            del self.at[seat.address]

    def _of(self, member: Member) -> Seat | None:
        return self.at.get(member.address) if member.address is not None else None
