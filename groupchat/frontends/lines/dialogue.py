"""The dialogue on a live connection: the password if there is one, then a name, then the conversation."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Generator, Sequence
from enum import Enum, auto
from hashlib import sha256
from typing import NamedTuple

from twisted.internet.defer import Deferred, inlineCallbacks
from zope.interface import Attribute, implementer

from groupchat.core.commands import Command, Files, Join, Leave, Recall, Rename, Users, Whisper
from groupchat.core.errors import IllegalMessage, NotNow
from groupchat.core.group import Member
from groupchat.core.limits import LISTING_SECONDS, MAX_ANSWER, PASSWORD_ATTEMPTS, QUEUE
from groupchat.core.names import MAX_CHARACTERS
from groupchat.frontends.connections import ConnectionRegistry, IConnected
from groupchat.frontends.guests import CANNOT
from groupchat.frontends.lines import listings
from groupchat.frontends.turn_budget import LISTING, NAMES
from groupchat.service.seats import IConnection, Seat
from groupchat.service.subscriptions import Render
from groupchat.wire import lines as wire_lines
from groupchat.wire.lines import Help, Resume, notes


class Phase(Enum):
    """The meaning of the next line."""

    PASSWORD = auto()  # the password
    PENALTY = auto()  # it has to wait: a wrong password was given
    NAME = auto()  # a name, or the opening of a numbered session
    JOINING = auto()  # it has to wait: the join is not answered
    MEMBER = auto()  # a text or a command


class NotUnderstood(NamedTuple):
    """A line that could not be understood, with its id and the reason."""

    id: int
    why: IllegalMessage


class ILinesConnection(IConnected):
    """The connection on which a dialogue takes place."""

    is_open = Attribute("True while something can be sent.")
    input_ended = Attribute("True once the last line is known.")

    def give(lines: bytes) -> None:
        """Send lines."""

    def subscribe(member: Member, place: tuple[int, int], render: Render | None) -> None:
        """Send what comes after a place, as it comes."""

    def read_soon() -> None:
        """Read lines in the next turn of the reactor."""


@implementer(IConnection)
class Dialogue:
    """Reads the lines of one connection, and answers them. `numbered` once a program asked for a numbered session."""

    def __init__(self, registry: ConnectionRegistry, connection: ILinesConnection) -> None:
        self.numbered = False
        self.has_long_answer = False
        """True once a long answer was asked for in this turn of the reactor: nothing more is read in it."""
        self._registry = registry
        self._service = registry.group_service
        self._group = registry.group_service.group
        self._connection = connection
        self._phase = Phase.NAME if registry.limits.password is None else Phase.PASSWORD
        self._attempts = 0
        self._greeted = 0  # the number of the last line when the greeting was written
        self._seat: Seat | None = None
        self._unanswered: dict[int, Command] = {}  # by identity

    # The connection

    def begin(self) -> None:
        if self._phase is Phase.PASSWORD:
            self._note("What is the password?")
        else:
            self._greet()

    def begin_turn(self) -> None:
        self.has_long_answer = False

    def is_ready(self) -> bool:
        """Return True if the next line can be read."""
        if self._phase in (Phase.PENALTY, Phase.JOINING) or self.has_long_answer:
            return False
        # A resumed session may have commands of an earlier connection in its queue.
        queued = 0 if self._seat is None else len(self._seat.queue or ())
        return len(self._unanswered) < QUEUE and queued < QUEUE

    def is_idle(self) -> bool:
        """Return True if everything that was read is answered."""
        return not self._unanswered and self._phase is not Phase.PENALTY

    def line_received(self, raw: bytes) -> bool:
        """Read a line. Return False if it has to wait, and is to be received again."""
        if self._phase is Phase.PASSWORD:
            return self._check_password(raw)
        if not raw:
            return True
        if self._phase is Phase.NAME:
            self._introduce(raw)
            return True
        return self._ask(raw)

    def leave(self) -> None:
        """Leave, or let a numbered session be held: the input has ended, and all of it is answered."""
        if self._phase is Phase.MEMBER and not self.numbered:
            self._submit(Leave())
        else:
            self._connection.close()

    def hang_up(self) -> None:
        """Give up the seat: the connection is lost."""
        seat, self._seat = self._seat, None
        if seat is not None and seat.client is self:
            self._service.hang_up(seat, hold=self.numbered)

    # The password

    def _check_password(self, given: bytes) -> bool:
        if pause := self._registry.pause_of(self._connection.host):
            self._penalize(pause, self._end_penalty)
            return False
        password = self._registry.limits.password
        assert password is not None
        if hmac.compare_digest(sha256(given).digest(), sha256(password).digest()):
            self._phase = Phase.NAME
            self._greet()
        else:
            self._attempts += 1
            self._registry.guessed(self._connection.host)
            self._penalize(self._registry.pause_of(self._connection.host), self._refuse_password)
        return True

    def _penalize(self, seconds: float, then: Callable[[], None]) -> None:
        self._phase = Phase.PENALTY
        self._registry.clock.callLater(seconds, then)

    def _refuse_password(self) -> None:
        if self._attempts >= PASSWORD_ATTEMPTS:
            self._connection.close("That is not the password. Ask whoever runs this group for it.")
        else:
            self._note("That is not the password. What is it?")
        self._end_penalty()

    def _end_penalty(self) -> None:
        self._phase = Phase.PASSWORD
        self._connection.read_soon()

    # The name, or the session

    def _greet(self) -> None:
        self._greeted = self._group.history.head
        if self._registry.greeting[0] != self._greeted:  # it is the same until something happens
            self._registry.greeting = self._greeted, listings.greeting(self._service)
        self._note(*self._registry.greeting[1], "What is your name?")

    def _introduce(self, raw: bytes) -> None:
        self._registry.budget.spend(NAMES)
        if wire_lines.is_http(raw):
            self._connection.close("This is no web server.")
            return
        self.numbered = self.numbered or wire_lines.asks_for_numbers(raw)
        try:
            asked = wire_lines.parse_first(wire_lines.decode(raw))
            if self.numbered and isinstance(asked, Join) and not asked.secret:
                # This line is no name: a program sent it without waiting for its session.
                raise IllegalMessage("Ask for a session first: /numbered KEY Name, or /resume KEY NUMBER.")
            if isinstance(asked, Resume):
                self._take_over(asked.secret, asked.number)
        except IllegalMessage as why:
            self._refuse_name(why)
            return
        match asked:
            case Help():
                self._note("Write your name, and you are in the group.", *wire_lines.HELP)
            case Leave():
                self._connection.close("Bye.")
            case Join():
                if not self._joined_before(asked):
                    self._phase = Phase.JOINING
                    self._seat = Seat(self._connection.host)
                    self._seat.client = self
                    self._submit(asked)

    def _joined_before(self, asked: Join) -> bool:
        """Resume the session that this very join began on an earlier connection. Return False if there is none."""
        if not asked.secret:
            return False
        try:
            self._take_over(asked.secret, 0)
        except IllegalMessage:
            return False
        return True

    def _take_over(self, secret: str, number: int) -> None:
        """Resume a session after the line of this number. Raises IllegalMessage if there is none."""
        self._seat = self._service.resume(secret, self)
        member = self._seat.member
        assert member is not None
        self._enter(member, max(number, member.joined))

    def _enter(self, member: Member, number: int) -> None:
        """Begin the conversation after the line of this number."""
        self._phase = Phase.MEMBER
        self._registry.named(self._connection)
        place = self._group.place(member, number)
        if self.numbered:
            waiting = self._group.history.head - place[0] - self._group.hidden(member, place[1])
            self._connection.give(b"session %d %d %s\n" % (place[0], waiting, member.name.encode()))
        else:
            self._note(f"You are {member.name}. What you type goes to all; /help tells more, and Ctrl-D leaves.")
        self._connection.subscribe(member, place, wire_lines.with_numbers if self.numbered else None)

    # The conversation

    def _ask(self, raw: bytes) -> bool:
        client_id = 0
        asked: Command | Help | NotUnderstood
        try:
            line = wire_lines.decode(raw)
            if self.numbered:
                client_id, line = wire_lines.numbered(line)
            asked = wire_lines.parse(line, client_id)
        except IllegalMessage as why:
            asked = NotUnderstood(client_id, why)
        if self._unanswered and isinstance(asked, Help | NotUnderstood | Users | Files | Recall):
            return False  # answers come in order, and only one long answer is held at a time
        self._spend(raw, asked)
        match asked:
            case Help():
                self._reply(asked.id, wire_lines.HELP)
            case NotUnderstood():
                self._refuse(asked.id, asked.why)
            case _:
                self._submit(asked)
        return True

    def _spend(self, raw: bytes, asked: Command | Help | NotUnderstood) -> None:
        """Count the work of a line that costs more than others."""
        if isinstance(asked, Users | Files | Recall):
            self.has_long_answer = True
            self._registry.budget.spend(LISTING)
        elif isinstance(asked, Whisper | Rename):  # a name may end at any space
            self._registry.budget.spend(NAMES * (1 + raw.count(b" ", 0, MAX_CHARACTERS)))

    def _submit(self, command: Command) -> None:
        assert self._seat is not None
        self._unanswered[id(command)] = command
        self._service.submit(self._seat, command)

    def answered(self, seat: Seat, command: Command) -> None:
        self._unanswered.pop(id(command), None)
        member = seat.member
        match command:
            case Join() if member is not None:
                self._enter(member, member.joined if self.numbered else self._greeted)
            case Leave():
                self._confirm(command.id)
                self._connection.close(*([] if self.numbered else ["You have left the group."]))
            case Users():
                self._reply(command.id, listings.users(self._service, self._registry.clock.seconds()))
            case Files():
                self._list_files(command)
            case Recall() if member is not None:
                self._recall(member, command)
            case Rename() if member is not None:
                self._confirm(command.id, f"You are {member.name} now.")
            case Whisper():
                self._confirm(command.id, f"Only {command.to} will see that.")
            case _:
                self._confirm(getattr(command, "id", 0))
        self._connection.read_soon()

    def refused(self, seat: Seat, command: Command, why: IllegalMessage) -> None:
        self._unanswered.pop(id(command), None)
        if isinstance(command, Join):
            self._phase, self._seat = Phase.NAME, None
            if not (self._connection.is_open and self._joined_before(command)):  # an earlier connection may have joined
                self._refuse_name(why)
        elif isinstance(command, Leave) and self._connection.input_ended and not self.numbered:
            self._connection.close(str(why))  # the member leaves as soon as that can be stored
        else:
            self._refuse(getattr(command, "id", 0), why)
        self._connection.read_soon()

    def dropped(self, seat: Seat, command: Command) -> None:
        self.refused(seat, command, NotNow(CANNOT))

    def displaced(self, why: str) -> None:
        self._seat = None
        self._connection.close(why)

    @inlineCallbacks
    def _list_files(self, command: Files) -> Generator[Deferred[listings.Words], listings.Words, None]:
        shelf = self._registry.shelf
        if shelf is None:
            self._reply(command.id, ["No files are shared here."])
            return
        self._unanswered[id(command)] = command
        try:
            words = yield shelf.listing(listings.files).addTimeout(LISTING_SECONDS, self._registry.clock)
            self._reply(command.id, words)
        except IllegalMessage as why:
            self._refuse(command.id, why)
        except Exception:
            self._service.survive("listing files")
            self._refuse(command.id, NotNow("The server cannot look that up now: ask again."))
        finally:
            del self._unanswered[id(command)]
            self._connection.read_soon()

    def _recall(self, member: Member, command: Recall) -> None:
        """Answer with the last lines as they came; for a program, with their numbers."""
        last = self._group.history.last(command.lines, member.id, MAX_ANSWER)
        if self.numbered:
            self._reply(command.id, [b"%d %s" % numbered for numbered in last])
        else:
            self._reply(command.id, [b"  " + line for _, line in last] or ["There is nothing yet."])

    # Answers

    def _note(self, *words: str | bytes | bytearray) -> None:
        self._connection.give(notes(words))

    def _reply(self, client_id: int, answer: Sequence[str | bytes | bytearray]) -> None:
        if self.numbered:
            self._connection.give(notes(answer, b"= ") + b"ok %d\n" % client_id)
        elif answer:
            self._note(*answer)

    def _confirm(self, client_id: int, *words: str) -> None:
        """Say that a command took effect: to a person in these words, to a program by its id."""
        self._reply(client_id, () if self.numbered else words)

    def _refuse(self, client_id: int, why: IllegalMessage) -> None:
        if self.numbered:
            verb = "busy" if isinstance(why, NotNow) else "no"
            self._connection.give(f"{verb} {client_id} {why}\n".encode())
        else:
            self._note(str(why))

    def _refuse_name(self, why: IllegalMessage) -> None:
        if self.numbered:
            self._refuse(0, why)
        else:
            self._note(f"{why} What is your name?")
