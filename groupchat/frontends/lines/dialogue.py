"""The dialogue on a live connection: the password if there is one, then a name, then the conversation."""

from __future__ import annotations

from collections.abc import Callable, Generator
from enum import Enum, auto
from functools import partial
from typing import NamedTuple

from twisted.internet.defer import Deferred, inlineCallbacks
from zope.interface import Attribute, implementer

from groupchat.core.commands import (
    Command,
    Demote,
    Files,
    Join,
    Leave,
    OperatorCommand,
    Promote,
    Recall,
    Rename,
    Users,
    Whisper,
)
from groupchat.core.errors import Excluded, IllegalMessage, NotNow
from groupchat.core.group import Member
from groupchat.core.limits import LISTING_SECONDS, MAX_ANSWER, MAX_CHARACTERS, NAME_ATTEMPTS, PASSWORD_ATTEMPTS, QUEUE
from groupchat.frontends.connections import ConnectionRegistry
from groupchat.frontends.guests import CANNOT
from groupchat.frontends.lines import listings
from groupchat.frontends.lines.answers import Answers
from groupchat.frontends.lines.operating import IReading, Operating
from groupchat.frontends.operators import done
from groupchat.frontends.turn_budget import LISTING, NAMES
from groupchat.service.seats import IConnection, Seat
from groupchat.service.subscriptions import Render
from groupchat.wire import lines as wire_lines
from groupchat.wire.lines import Help, Resume
from groupchat.wire.operators import OperatorLine


class Phase(Enum):
    """The meaning of the next line."""

    PASSWORD = auto()  # the password
    CHECKING = auto()  # it has to wait: a password is being checked
    NAME = auto()  # a name, or the opening of a numbered session
    JOINING = auto()  # it has to wait: the join is not answered
    REFUSING = auto()  # it has to wait: a password or a name is refused once the input before that is discarded
    MEMBER = auto()  # a text or a command


WAITING = (Phase.CHECKING, Phase.JOINING, Phase.REFUSING)
"""The phases in which no line is read."""


class NotUnderstood(NamedTuple):
    """A line that could not be understood, with its id and the reason."""

    id: int
    why: IllegalMessage


class ILinesConnection(IReading):
    """The connection on which a dialogue takes place."""

    is_open = Attribute("True while something can be sent.")
    input_ended = Attribute("True once the last line is known.")

    def give(lines: bytes) -> None:
        """Send lines."""

    def subscribe(member: Member, place: tuple[int, int], render: Render | None) -> None:
        """Send what comes after a place, as it comes."""

    def discard_input(then: Callable[[], None]) -> None:
        """Discard the input until none has come for a while, and call this then."""


@implementer(IConnection)
class Dialogue:
    """Reads the lines of one connection, and answers them."""

    def __init__(self, registry: ConnectionRegistry, connection: ILinesConnection) -> None:
        self._answers = Answers(connection.give)
        self.way = ""
        """How it is connected: tcp, tls, quic."""
        self.has_long_answer = False
        """True once a long answer was asked for in this turn of the reactor: nothing more is read in it."""
        self._registry = registry
        self._service = registry.group_service
        self._group = registry.group_service.group
        self._connection = connection
        self._phase = Phase.NAME if registry.limits.password is None else Phase.PASSWORD
        self._check: Deferred[bool] | None = None  # of a password
        self._attempts = 0  # passwords, and then names, that were refused
        self._greeted = 0  # the last line when the greeting was written
        self._seat: Seat | None = None
        self._unanswered: dict[int, Command] = {}  # by identity
        self._operating = Operating(registry, connection, self._answers, self._submit)

    @property
    def numbered(self) -> bool:
        """True once a program asked for a numbered session."""
        return self._answers.numbered

    # The connection

    def begin(self) -> None:
        if self._phase is Phase.PASSWORD:
            self._answers.note("What is the password?")
        else:
            self._greet()

    def begin_turn(self) -> None:
        self.has_long_answer = False

    def is_ready(self) -> bool:
        """Return True if the next line can be read."""
        if self._phase in WAITING or self._operating.is_busy or self.has_long_answer:
            return False
        # A resumed session may have commands of an earlier connection in its queue.
        queued = 0 if self._seat is None else len(self._seat.queue or ())
        return len(self._unanswered) < QUEUE and queued < QUEUE

    def is_idle(self) -> bool:
        """Return True if everything that was read is answered."""
        is_busy = self._operating.is_busy or self._phase in (Phase.CHECKING, Phase.REFUSING)
        return not self._unanswered and not is_busy

    @property
    def is_in_queue(self) -> bool:
        """True while a password waits to be checked."""
        return self._phase is Phase.CHECKING or self._operating.is_checking

    def line_received(self, raw: bytes) -> bool:
        """Read a line. Return False if it has to wait, and is to be received again."""
        if self._phase is Phase.PASSWORD:
            self._check_password(raw)
            return True
        if not raw:
            return True
        if self._phase is Phase.NAME:
            self._introduce(raw)
            return True
        return self._ask(raw)

    def wait(self, line: bytes) -> float:
        """Return the seconds until a line is not refused for being too fast. Programs wait by themselves."""
        if self._phase is Phase.MEMBER and not self.numbered:
            assert self._seat is not None
            return self._service.wait(self._connection.host, self._seat.member, 1 + len(self._unanswered))
        if self._phase is Phase.NAME and not wire_lines.asks_for_numbers(line):
            return self._service.wait(self._connection.host, None, 1)
        return 0.0

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
        self._operating.stop()
        del self._operating  # it knows this dialogue: a circle
        check, self._check = self._check, None
        if check is not None:
            check.cancel()

    # The password

    def _check_password(self, given: bytes) -> None:
        self._phase = Phase.CHECKING
        self._check = self._registry.check_password(self._connection, given)
        self._check.addCallback(self._checked)

    def _checked(self, is_right: bool) -> None:
        if self._check is None:
            return  # the connection is gone
        self._phase = Phase.NAME
        if is_right:
            self._attempts = 0
            self._greet()
            self._connection.read_soon()
        elif self._may_try_again(PASSWORD_ATTEMPTS):
            self._discard_then_ask(Phase.PASSWORD, "That is not the password. What is it?")
        else:
            self._connection.close("That is not the password. Ask whoever runs this group for it.")

    # Refusals

    def _may_try_again(self, most: int) -> bool:
        """Count a refusal. Return False if it was the last one."""
        self._attempts += 1
        return self._attempts < most

    def _discard_then_ask(self, phase: Phase, question: str) -> None:
        """Refuse a line. What arrived before that is no answer to it, since nobody has read it yet."""
        self._phase = Phase.REFUSING
        self._connection.discard_input(partial(self._ask_again, phase, question))

    def _ask_again(self, phase: Phase, question: str) -> None:
        self._phase = phase
        self._answers.note(question)
        self._connection.read_soon()

    # The name, or the session

    def _greet(self) -> None:
        self._greeted = self._group.history.head
        if self._registry.greeting[0] != self._greeted:  # it is the same until something happens
            self._registry.greeting = self._greeted, listings.greeting(self._service)
        self._answers.note(*self._registry.greeting[1], "What is your name?")

    def _introduce(self, raw: bytes) -> None:
        self._registry.budget.spend(NAMES)
        self._answers.numbered = self.numbered or wire_lines.asks_for_numbers(raw)
        try:
            asked = wire_lines.parse_first(wire_lines.decode(raw))
            if self.numbered and isinstance(asked, Join) and not asked.secret:
                # This line is no name: a program sent it without waiting for its session.
                self._answers.refuse(
                    0, IllegalMessage("Ask for a session first: /numbered KEY Name, or /resume KEY NUMBER.")
                )
                return
            if isinstance(asked, Resume):
                self._take_over(asked.secret, asked.number)
        except IllegalMessage as why:
            self._refuse_name(why)
            return
        match asked:
            case Help():
                self._answers.note("Write your name, and you are in the group.", *wire_lines.HELP)
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
            self._take_over(asked.secret, None)
        except IllegalMessage:
            return False
        return True

    def _take_over(self, secret: str, number: int | None) -> None:
        """Resume a session after a client's last number, or from its beginning. Raises IllegalMessage if it is none."""
        self._seat = self._service.resume(secret, self._connection.host, self)
        member = self._seat.member
        assert member is not None
        after = member.began if number is None else max(self._group.numbering.line(number), member.joined)
        self._enter(member, after)

    def _enter(self, member: Member, after: int) -> None:
        """Begin the conversation after a line."""
        self._phase = Phase.MEMBER
        self._registry.named(self._connection)
        place = self._group.place(member, after)
        if self.numbered:
            waiting = self._group.history.head - place[0] - self._group.hidden(member, place[1])
            number = self._group.numbering.after(place[0])
            self._connection.give(b"session %d %d %s\n" % (number, waiting, member.name.encode()))
        else:
            self._answers.note(
                f"You are {member.name}. What you type goes to all; /help tells more, and Ctrl-D leaves."
            )
        self._connection.subscribe(member, place, wire_lines.with_numbers if self.numbered else None)

    # The conversation

    def _ask(self, raw: bytes) -> bool:
        client_id = 0
        asked: Command | Help | OperatorLine | NotUnderstood
        try:
            line = wire_lines.decode(raw)
            if self.numbered:
                client_id, line = wire_lines.numbered(line)
            asked = wire_lines.parse(line, client_id)
        except IllegalMessage as why:
            asked = NotUnderstood(client_id or (wire_lines.id_of(raw) if self.numbered else 0), why)
        if self._unanswered and isinstance(asked, Help | NotUnderstood | Users | Files | Recall | OperatorLine):
            return False  # answers come in order, and only one long answer is held at a time
        self._spend(raw, asked)
        match asked:
            case Help():
                self._answers.reply(asked.id, wire_lines.help_for(operator=self._member.operator))
            case NotUnderstood():
                self._answers.refuse(asked.id, asked.why)
            case OperatorLine():
                self._operating.ask(asked, self._member)
            case _:
                self._submit(asked)
        return True

    def _spend(self, raw: bytes, asked: Command | Help | OperatorLine | NotUnderstood) -> None:
        """Count the work of a line that costs more than others."""
        if isinstance(asked, Users | Files | Recall):
            self.has_long_answer = True
            self._registry.budget.spend(LISTING)
        elif isinstance(asked, Whisper | Rename | OperatorLine):  # a name may end at any space
            self._registry.budget.spend(NAMES * (1 + raw.count(b" ", 0, MAX_CHARACTERS)))

    @property
    def _member(self) -> Member:
        """The member, in the conversation."""
        assert self._seat is not None
        assert self._seat.member is not None
        return self._seat.member

    def _submit(self, command: Command) -> None:
        assert self._seat is not None
        self._unanswered[id(command)] = command
        self._service.submit(self._seat, command)

    def answered(self, seat: Seat, command: Command) -> None:
        self._unanswered.pop(id(command), None)
        member = seat.member
        match command:
            case Join() if member is not None:
                self._enter(member, member.began if self.numbered else self._greeted)
            case Leave():
                self._answers.confirm(command.id)
                self._connection.close(*([] if self.numbered else ["You have left the group."]))
            case Users():
                self._answers.reply(command.id, listings.users(self._service, self._registry.clock.seconds()))
            case Files():
                self._list_files(command)
            case Recall() if member is not None:
                found = self._group.history.last(command.lines, member.id, MAX_ANSWER)
                last = self._group.numbering.numbered(found)
                words = listings.history(last, numbered=self.numbered, operator=member.operator)
                self._answers.reply(command.id, words)
            case Rename() if member is not None:
                self._answers.confirm(command.id, f"You are {member.name} now.")
            case Whisper():
                self._answers.confirm(command.id, f"Only {command.to} will see that.")
            case OperatorCommand() | Promote() | Demote():
                self._answers.reply(command.id, done(command))
            case _:
                self._answers.confirm(getattr(command, "id", 0))
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
            self._answers.refuse(getattr(command, "id", 0), why)
        self._connection.read_soon()

    def dropped(self, seat: Seat, command: Command) -> None:
        self.refused(seat, command, NotNow(CANNOT))

    def displaced(self, why: IllegalMessage) -> None:
        self._seat = None
        self._operating.stop()
        self._close(why)

    def _close(self, why: IllegalMessage) -> None:
        if self.numbered and isinstance(why, Excluded):
            self._connection.give(wire_lines.REMOVED)  # so that the client does not join again by itself
        self._connection.close(str(why))

    @inlineCallbacks
    def _list_files(self, command: Files) -> Generator[Deferred[listings.Words], listings.Words, None]:
        shelf = self._registry.shelf
        if shelf is None:
            self._answers.reply(command.id, ["No files are shared here."])
            return
        self._unanswered[id(command)] = command
        try:
            words = yield shelf.listing(listings.files).addTimeout(LISTING_SECONDS, self._registry.clock)
            self._answers.reply(command.id, words)
        except IllegalMessage as why:
            self._answers.refuse(command.id, why)
        except Exception:
            self._service.survive("listing files")
            self._answers.refuse(command.id, NotNow("The server cannot look that up now: ask again."))
        finally:
            del self._unanswered[id(command)]
            self._connection.read_soon()

    def _refuse_name(self, why: IllegalMessage) -> None:
        """Refuse a name, or a session. Only programs may send more without waiting: each opening says what it is."""
        if isinstance(why, Excluded):
            self._close(why)
        elif isinstance(why, NotNow) or self._may_try_again(NAME_ATTEMPTS):
            if self.numbered:
                self._answers.refuse(0, why)
            else:
                self._discard_then_ask(Phase.NAME, f"{why} What is your name?")
        elif self.numbered:
            self._answers.refuse(0, why)
            self._connection.close("Connect again to try another name.")
        else:
            self._connection.close(f"{why} Connect again to try another name.")
