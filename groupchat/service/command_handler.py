"""CommandHandler: turns each command of a seat into the event that it asks to append, or refuses it."""

from __future__ import annotations

from collections.abc import Callable

from groupchat.core.commands import (
    Command,
    Demote,
    Join,
    Leave,
    OperatorCommand,
    Poll,
    Promote,
    Rename,
    Say,
    SayAsGuest,
    Share,
    Whisper,
)
from groupchat.core.errors import IllegalMessage, NotMember, NotNow, Unanswered
from groupchat.core.events import Event, Joined, Left, Shared
from groupchat.core.group import Member
from groupchat.core.rules import Rules
from groupchat.service.seats import InternalCommand, RecordCursors, Seat, Seats, Task
from groupchat.service.upkeep import Upkeep

REPEAT_SECONDS = 1.0
"""The shortest time between two answers to a member that repeats its join."""


class CommandHandler:
    """Handles the commands of one group.

    `add_first` is given an event that must stand before the one that is returned, in the same entry.
    """

    def __init__(
        self,
        seats: Seats,
        rules: Rules,
        upkeep: Upkeep,
        seconds: Callable[[], float],
        add_first: Callable[[Event], None],
    ) -> None:
        self._group = seats.group
        self._seats = seats
        self._rules = rules
        self._upkeep = upkeep
        self._seconds = seconds
        self._add_first = add_first
        self._joins: dict[Seat, list[Joined | Left]] = {}  # the events of the joins that are under way

    def handle(self, seat: Seat, task: Task) -> Event | None:
        """Return the event that a task asks to append; None if it needs none and can be answered at once.

        Raises IllegalMessage, or Unanswered.
        """
        member = seat.member
        if member is not None:  # the two most frequent commands first
            if type(task) is Poll:
                return None
            if type(task) is Say:
                if task.id and self._rules.is_done(member, task):
                    return None
                return self._rules.say(member, task, member.contact)
        return self._handle_other(seat, task, self._seconds())

    def _handle_other(self, seat: Seat, task: Task, now: float) -> Event | None:
        match task:
            case Join():
                return self._join(seat, task, now)
            case Share():
                return self._share(seat, task, now)
            case SayAsGuest():
                return self._rules.say_as_guest(seat.host, task, now)
            case OperatorCommand():
                return self._operate(seat, task, now)
            case InternalCommand():
                return self._internal(seat, task, now)
        if seat.member is None:
            raise NotMember("You are not a member: join first.")
        return self._handle_of_member(seat, seat.member, task, now)

    def _handle_of_member(self, seat: Seat, member: Member, command: Command, now: float) -> Event | None:
        match command:
            case Whisper() | Rename() if self._rules.is_done(member, command):
                return None
            case Whisper():
                event = self._rules.whisper(member, command, now)
                command.to = event.to
                return event
            case Rename():
                renamed = self._rules.rename(member, command, now)
                self._rules.naming(seat, renamed)
                return renamed
            case Leave():
                return self._rules.leave(member, now)
            case Promote() | Demote():
                return self._rules.operating.promote(member, command, now)
        self._rules.pace.take(member, now)  # asking to see something counts like saying something
        return None

    def _operate(self, seat: Seat, command: OperatorCommand, now: float) -> Event | None:
        member = seat.member
        if not command.by and (member is None or not member.operator):
            raise IllegalMessage("Only an operator can do that: become one with /operator PASSWORD.")
        if member is not None and self._rules.is_done(member, command):
            return None
        by = command.by or (member.name if member else "")
        *first, last = self._rules.operating.events(command, by, now)
        for event in first:
            self._add_first(event)
        return last

    def _internal(self, seat: Seat, command: InternalCommand, now: float) -> Event:
        event = self._upkeep.event(seat, command, now)
        if event is None:
            raise Unanswered
        return event

    def _share(self, seat: Seat, command: Share, now: float) -> Shared:
        member = self._group.members.get(command.member)
        if member is not None:
            member.contact = now  # though it does not sit on this seat
        return self._rules.share(seat.host, command, now)

    def _join(self, seat: Seat, command: Join, now: float) -> Event | None:
        if seat.member is not None:
            self._check_repeated(seat, seat.member, command, now)
            return None
        port = None if seat.address is None else seat.address[1]
        events = self._joins[seat] = self._rules.join(seat.host, port, command, now)
        *leaves, joined = events
        assert isinstance(joined, Joined)
        self._rules.room.joining(events)
        self._rules.naming(seat, joined)
        self._seats.keep(seat)
        for left in leaves:
            self._add_first(left)
        return joined

    def _check_repeated(self, seat: Seat, member: Member, command: Join, now: float) -> None:
        """Let a client repeat a join whose answer was lost, but not so fast that it floods a forged address."""
        self._rules.join_again(member, command)
        if 0 <= now - seat.repeated < REPEAT_SECONDS:
            raise Unanswered
        seat.repeated = now

    def check_lost(self, seat: Seat, command: Command) -> None:
        """Raise IllegalMessage for a command that lost a race, unless what won is the same command, sent before."""
        if seat.member is None or not self._rules.is_done(seat.member, command):
            if type(command) is Share:  # its member may just have renamed itself: the upload need not be lost
                raise NotNow("Your name was changed, or taken, at this very moment: try again.")
            raise IllegalMessage("Somebody else was first.")

    def not_stored(self, task: Task) -> None:
        """Note that the event of a task was surely not stored."""
        if type(task) is RecordCursors:
            self._upkeep.not_recorded()

    def ended(self, seat: Seat, task: Task) -> None:
        """Note that a task is settled."""
        if type(task) is Join:
            self._rules.room.joined(self._joins.pop(seat))
            self._rules.named(seat)
        elif type(task) is Rename:
            self._rules.named(seat)
