"""Live lines over TCP, TLS, or whatever else is a stream. See wire/lines.py for the grammar.

A connection has no queue. What it is given it reads from its place in the conversation, as fast as it takes it; what it
asks is read no faster than it is answered. So one that is slow, or wants to do harm, holds some buffers and no more.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Generator, Sequence
from hashlib import sha256
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from groupchat.core.commands import Command, Files, Join, Leave, Recall, Rename, Users, Whisper
from groupchat.core.errors import IllegalMessage, NotNow
from groupchat.core.group import Member
from groupchat.core.limits import LISTING_SECONDS, MAX_ANSWER, MAX_UNTERMINATED, PASSWORD_ATTEMPTS, QUEUE
from groupchat.files import File
from groupchat.frontends import listings
from groupchat.frontends.connections import ConnectionRegistry, IConnected, writer
from groupchat.service.seats import IConnection, Seat
from groupchat.service.subscriptions import IReader, Subscription
from groupchat.wire import lines as wire_lines
from groupchat.wire.lines import Help, Resume, notes

AT_ONCE = 64
"""How many lines of one connection are read before the others have their turn."""


@implementer(IConnection, IConnected, IReader, IHalfCloseableProtocol, IPushProducer)
class Lines(Protocol):
    """One connection: it asks for a password if there is one, then for a name, and is a live seat from there on."""

    transport: Any  # ITransport and IConsumer, of whatever kind

    def __init__(self, registry: ConnectionRegistry, host: str) -> None:
        self.host = host
        self._registry = registry
        self._service = registry.group_service
        self._group = registry.group_service.group
        self._splitter = wire_lines.Splitter()
        self._lines: list[bytes] = []  # that are not read yet
        self._under_way: dict[int, Command] = {}  # what was asked and is not answered, by identity
        self._seat: Seat | None = None
        self._subscription: Subscription | None = None
        self._numbered = False
        self._trusted = registry.limits.password is None
        self._attempts = 0
        self._greeted = 0  # the last line there was when its greeting was written
        self._resting = False  # after a wrong password
        self._full = False  # takes nothing more for now
        self._held = False  # is asked to send nothing for now
        self._working = False
        self._over = False  # nothing more comes
        self._ended = False  # and lines were made of all that came
        self._soon = False  # is to read on in the next turn
        self._closing = False
        self._lost = False

    # The transport

    def connectionMade(self) -> None:
        self._write = writer(self.transport)
        self.transport.registerProducer(self, True)
        self._registry.opened(self, self.transport)
        if self._trusted:
            self._greet()
        else:
            self._note("What is the password?")

    def dataReceived(self, data: bytes) -> None:
        if self._closing:
            return
        self._splitter.feed(data)
        if self._ended:
            self._splitter.lines(len(data))  # nothing is read any more, so that nothing is held either
            self._answer_mark()
        else:
            self._work()

    def readConnectionLost(self) -> None:
        self._over = True
        self._work()

    def writeConnectionLost(self) -> None:
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost = True
        self._full = False
        self._registry.closed(self)
        self._unsubscribe()
        if self._numbered or self._closing:
            self._hang_up()
            return
        self._over = True
        if not reason.check(ConnectionDone):  # it was reset, and the kernel forgot what it had as well
            self._forget_input()
        self._work()

    def pauseProducing(self) -> None:
        self._full = True
        if self._subscription is not None:
            self._subscription.pauseProducing()

    def resumeProducing(self) -> None:
        self._full = False
        if self._subscription is not None:
            self._subscription.resumeProducing()
        self._work()

    def stopProducing(self) -> None:
        self._unsubscribe()

    def give(self, lines: bytes) -> None:
        if not self._lost and not self._closing:
            self._write(lines)

    def _note(self, *why: str) -> None:
        self.give(notes(why))

    def close(self, *why: str) -> None:
        """Say why, and close once that is taken. Nothing more is read."""
        if self._closing or self._lost:
            return
        self._note(*why)
        self._closing = True
        self._forget_input()
        self._unsubscribe()
        self._registry.closing(self)
        if self._held:
            self.transport.resumeProducing()  # TLS has to hear that the other side closes, too
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def _forget_input(self) -> None:
        self._lines.clear()
        self._splitter.clear()

    def drop(self) -> None:
        """Close at once."""
        self._closing = True
        self._forget_input()
        self._unsubscribe()
        self.transport.abortConnection()

    # Reading lines: no more than are answered

    def _work(self) -> None:
        """Read lines, some at a time. Not to be called while the service is: see `_work_soon`."""
        self._soon = False
        if self._working:
            return
        self._working = True
        most, count = min(AT_ONCE, self._registry.room()), 0
        try:
            while count < most and not self._is_held_up() and self._split():
                line = self._lines.pop(0)
                count += 1
                if not self._read(line):
                    self._lines.insert(0, line)
                    break
        except Exception:
            self._service.survive("reading a line")
            self._work_soon()
        finally:
            self._working = False
            self._registry.have_read(count)
        if not self._closing:
            self._go_on(may_read=count == most)

    def _go_on(self, *, may_read: bool) -> None:
        """Read on in the next turn, or leave; and let more come in only when all that came is read."""
        waiting = bool(self._lines or self._splitter)
        if may_read and (waiting or self._over):
            self._work_soon()
        if self._ended and not self._lines and not self._under_way and not self._resting:
            self._leave()
        elif waiting != self._held and not self._lost and not self._over and not self._ended:
            self._held = waiting
            (self.transport.pauseProducing if waiting else self.transport.resumeProducing)()

    def _work_soon(self) -> None:
        """In the next turn, so that nothing is asked in the middle of an answer."""
        if not self._soon and (self._lines or self._splitter or self._over or self._ended):
            self._soon = True
            self._registry.clock.callLater(0, self._work)

    def _split(self) -> bool:
        """Make some lines of what has come, if none are left. Returns whether there are any."""
        while not self._lines and not self._ended and not self._closing:
            if self._splitter:
                self._lines = self._splitter.lines(AT_ONCE)
                self._answer_mark()
                if self._splitter.ended:
                    self._finish()
                elif self._splitter.unterminated > MAX_UNTERMINATED:
                    self.close("That line has no end.")
            elif self._over:
                self._finish()
            else:
                break
        return bool(self._lines)

    def _answer_mark(self) -> None:
        if self._splitter.marked and not self._full:
            self.give(wire_lines.NO_TIMING_MARK)

    def _finish(self) -> None:
        """There is nothing more: what has no end of line is one, too."""
        self._ended = True
        self._lines += [line for line in self._splitter.finish() if not self._is_program(line)]

    def _is_program(self, line: bytes) -> bool:
        """Whether this last line is a program's: it sends again what broke off, and half of it is not the whole."""
        return self._numbered or any(map(wire_lines.asks_for_numbers, [*self._lines, line]))

    def _is_held_up(self) -> bool:
        asked = len(self._under_way)
        joins = self._seat is not None and self._seat.member is None
        before = 0 if self._seat is None else len(self._seat.queue or ())  # also on the connection before this one
        room = asked < QUEUE and before < QUEUE
        return self._closing or self._full or self._resting or not room or (joins and bool(asked))

    def _leave(self) -> None:
        """Everything that came before the end of input is done."""
        if not self._lost and not self._numbered and self._seat is not None and self._seat.member is not None:
            self._submit(self._seat, Leave())
        elif self._lost:
            self._hang_up()
        else:
            self.close()

    def _hang_up(self) -> None:
        self._forget_input()
        seat, self._seat = self._seat, None
        if seat is not None and seat.client is self:
            self._service.hang_up(seat, hold=self._numbered)

    def _read(self, raw: bytes) -> bool:
        """Returns whether this line is read: what is answered here waits for the answers to what came before."""
        if not self._trusted:
            return self._check(raw)
        if not raw:
            pass
        elif self._seat is None or self._seat.member is None:
            self._introduce(raw)
        else:
            return self._ask(self._seat, raw)
        return True

    def _check(self, given: bytes) -> bool:
        """The password comes first, and nothing of the group before it."""
        if pause := self._registry.pause_of(self.host):
            self._rest(pause, self._work)
            return False
        password = self._registry.limits.password
        assert password is not None
        if hmac.compare_digest(sha256(given).digest(), sha256(password).digest()):
            self._trusted = True
            self._greet()
        else:
            self._attempts += 1
            self._registry.guessed(self.host)
            self._rest(self._registry.pause_of(self.host), self._refuse_password)
        return True

    def _rest(self, seconds: float, then: Callable[[], None]) -> None:
        """Read nothing for so long."""
        self._resting = True
        self._registry.clock.callLater(seconds, self._wake, then)

    def _wake(self, then: Callable[[], None]) -> None:
        self._resting = False
        then()

    def _refuse_password(self) -> None:
        if self._attempts >= PASSWORD_ATTEMPTS:
            self.close("That is not the password. Ask whoever runs this group for it.")
        else:
            self._note("That is not the password. What is it?")
            self._work()

    # Joining

    def _greet(self) -> None:
        self._greeted = self._group.history.head
        self.give(notes([*listings.greeting(self._service), "What is your name?"]))

    def _introduce(self, raw: bytes) -> None:
        """A line of somebody who is no member yet."""
        if wire_lines.is_http(raw):
            self.close("This is no web server.")
            return
        self._numbered = self._numbered or wire_lines.asks_for_numbers(raw)
        try:
            asked = wire_lines.parse_first(wire_lines.decode(raw))
            if self._numbered and isinstance(asked, Join) and not asked.secret:
                # A program that did not wait for its session: this line is no name.
                raise IllegalMessage("Ask for a session first: /numbered KEY Name, or /resume KEY NUMBER.")
        except IllegalMessage as why:
            self._refuse_name(why)
            return
        match asked:
            case Help():
                self._note("Write your name, and you are in the group.", *wire_lines.HELP)
            case Leave():
                self.close("Bye.")
            case Resume():
                self._resume(asked)
            case Join():
                if not self._joined_before(asked):
                    self._seat = Seat(self.host)
                    self._seat.client = self
                    self._submit(self._seat, asked)

    def _resume(self, asked: Resume) -> None:
        try:
            self._take_over(asked.secret, asked.number)
        except IllegalMessage as why:
            self._refuse_name(why)

    def _joined_before(self, asked: Join) -> bool:
        """Whether this goes on with the session that this very join began, on a connection that ended too soon."""
        if not asked.secret:
            return False
        try:
            self._take_over(asked.secret, 0)
        except IllegalMessage:
            return False
        return True

    def _take_over(self, secret: str, number: int) -> None:
        """Go on with a session after the line of this number. Raises IllegalMessage if there is none."""
        self._seat = self._service.resume(secret, self)
        member = self._seat.member
        assert member is not None
        self._begin(member, max(number, member.joined))

    def _begin(self, member: Member, number: int) -> None:
        """Live from here on, after the line of this number."""
        place = self._group.place(member, number)
        self._registry.named(self)
        if self._numbered:
            waiting = self._group.history.head - place[0] - self._group.hidden(member, place[1])
            self.give(b"session %d %d %s\n" % (place[0], waiting, member.name.encode()))
        else:
            self._note(f"You are {member.name}. What you type goes to all; /help tells more, and Ctrl-D leaves.")
        if self._lost or self._closing:
            return  # it has ended meanwhile
        render = wire_lines.with_numbers if self._numbered else None
        self._subscription = self._service.subscriptions.open(member, place, self, render)
        if self._full:
            self._subscription.pauseProducing()

    def _unsubscribe(self) -> None:
        if self._subscription is not None:
            self._service.subscriptions.close(self._subscription)
            self._subscription = None

    # Asking, and being told what came of it

    def _ask(self, seat: Seat, raw: bytes) -> bool:
        client_id = 0
        refused: IllegalMessage | None = None
        asked: Command | Help = Help()
        try:
            line = wire_lines.decode(raw)
            if self._numbered:
                client_id, line = wire_lines.numbered(line)
            asked = wire_lines.parse(line, client_id)
        except IllegalMessage as why:
            refused = why
        if not isinstance(asked, Help | Users | Files | Recall):
            self._submit(seat, asked)
        elif self._under_way:
            return False  # nor are several long answers there at once
        elif not isinstance(asked, Help):
            self._submit(seat, asked)
        elif refused is not None:
            self._tell_why(client_id, refused)
        else:
            self._reply(asked.id, wire_lines.HELP)
        return True

    def _submit(self, seat: Seat, command: Command) -> None:
        self._under_way[id(command)] = command
        self._service.submit(seat, command)

    def answered(self, seat: Seat, command: Command) -> None:
        self._under_way.pop(id(command), None)
        member = seat.member
        match command:
            case Join() if member is not None:
                self._begin(member, member.joined if self._numbered else self._greeted)
            case Leave():
                self._reply(command.id)
                self.close(*([] if self._numbered else ["You have left the group."]))
            case Users():
                self._reply(command.id, listings.users(self._service, self._registry.clock.seconds()))
            case Files():
                self._list_files(command)
            case Recall() if member is not None:
                self._recall(member, command)
            case Rename() if member is not None:
                self._reply(command.id, [] if self._numbered else [f"You are {member.name} now."])
            case Whisper():
                self._reply(command.id, [] if self._numbered else [f"Only {command.to} will see that."])
            case _:
                self._reply(getattr(command, "id", 0))
        self._work_soon()

    @inlineCallbacks
    def _list_files(self, command: Files) -> Generator[Deferred[list[File]], list[File], None]:
        """Answer once the shelf does; until then the command is still under way."""
        shelf = self._registry.shelf
        if shelf is None:
            self._reply(command.id, ["No files are shared here."])
            return
        self._under_way[id(command)] = command
        try:
            files = yield shelf.listing().addTimeout(LISTING_SECONDS, self._registry.clock)
            self._reply(command.id, listings.files(files))
        except IllegalMessage as why:
            self._tell_why(command.id, why)
        except Exception:
            self._service.survive("listing files")
            self._tell_why(command.id, NotNow("The server cannot look that up now: ask again."))
        finally:
            del self._under_way[id(command)]
            self._work_soon()

    def refused(self, seat: Seat, command: Command, why: IllegalMessage) -> None:
        self._under_way.pop(id(command), None)
        if isinstance(command, Join):
            if self._closing or not self._joined_before(command):  # it may have the name itself
                self._seat = None
                self._refuse_name(why)
        elif isinstance(command, Leave) and self._ended and not self._numbered:
            self.close(str(why))  # whoever hangs up leaves, now or when that can be stored
        else:
            self._tell_why(getattr(command, "id", 0), why)
        self._work_soon()

    def dropped(self, seat: Seat, command: Command) -> None:
        self.refused(seat, command, NotNow("The server cannot take that now: send it again."))

    def displaced(self, why: str) -> None:
        self._seat = None
        self.close(why)

    def _refuse_name(self, why: IllegalMessage) -> None:
        if self._numbered:
            self._tell_why(0, why)
        else:
            self._note(f"{why} What is your name?")

    def _tell_why(self, client_id: int, why: IllegalMessage) -> None:
        if self._numbered:
            verb = "busy" if isinstance(why, NotNow) else "no"
            self.give(f"{verb} {client_id} {why}\n".encode())
        else:
            self._note(str(why))

    def _reply(self, client_id: int, answer: Sequence[str | bytes | bytearray] = ()) -> None:
        if self._numbered:
            self.give(notes(answer, b"= ") + b"ok %d\n" % client_id)
        elif answer:
            self.give(notes(answer))

    def _recall(self, member: Member, command: Recall) -> None:
        """The last lines, as they came; to a program with their numbers."""
        last = self._group.history.last(command.lines, member.id, MAX_ANSWER)
        if self._numbered:
            self._reply(command.id, [b"%d %s" % numbered for numbered in last])
        else:
            self.give(notes([b"  " + line for _, line in last] or ["There is nothing yet."]))
