"""A numbered session over a stream of lines: commands and lines have numbers, and a key resumes it.

Whatever happens to connections, every line is received once and in order, and every command takes effect once. See
docs/protocol.md, "Numbered sessions".
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto

from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.python.failure import Failure

from groupchat.client.commands import SessionCommand
from groupchat.client.failures import explain
from groupchat.client.greeting import NAME_QUESTION, PASSWORD_QUESTION, Greeting, keep
from groupchat.client.line_connection import LineConnection
from groupchat.client.outbox import Outbox
from groupchat.client.own_seat import OwnSeat
from groupchat.client.reconnector import Reconnector
from groupchat.client.session import Ending, Seat, SessionListener
from groupchat.client.text import clean
from groupchat.client.trust import UntrustedError
from groupchat.core.commands import Poll, Rename

REMOVED = "removed"
DISPLACED = b"* This session goes on on another connection."

LAST_TRIES = 12
"""The number of connections that are tried when the user wants to leave: about a minute."""

GREETING_SECONDS = 10.0
"""The time that a server may be silent at the beginning of a connection."""

BUSY_SECONDS = 1.0
"""The pause before a busy server is asked again."""


class Phase(Enum):
    """The progress of the connection."""

    OFFLINE = auto()
    GREETING = auto()
    """The server greets, or asks for the password."""
    INTRODUCING = auto()
    """The server has asked for a name: it takes a new session or an old one."""
    OPEN = auto()
    """The session runs over this connection."""
    REMOVED = auto()
    """An operator removed the member: the reason comes next, and then the end."""


class Told(Enum):
    """What the listener knows of the connection."""

    NOTHING = auto()
    """The client has not been in the group in this run."""
    ONLINE = auto()
    OFFLINE = auto()


class NumberedSession:
    """A Session, and the LineHandler of its connections. For `ask_password` see Greeting."""

    unsupported: frozenset[type[SessionCommand]] = frozenset([Poll])

    def __init__(
        self,
        clock: IReactorTime,
        endpoint: IStreamClientEndpoint,
        listener: SessionListener,
        ask_password: Callable[[Callable[[str], None]], None],
        seat: OwnSeat | None = None,
    ) -> None:
        self._reconnector = Reconnector(clock, endpoint, self, self._not_connected)
        self._seat = seat or OwnSeat()
        self._outbox = Outbox(self._seat.new_id)
        self._greeting = Greeting(ask_password, self._give_password)
        self._clock = clock
        self._listener = listener
        self._phase = Phase.OFFLINE
        self._ending = Ending.STAYING
        self._told = Told.NOTHING
        self._name = ""
        self._words: list[str] = []  # of the answer that is coming
        self._busy: IDelayedCall | None = None  # until a busy server is asked again

    @property
    def proof(self) -> str:
        return f"KEY {self._seat.key}" if self._seat.state is Seat.HELD else ""

    @property
    def keeps_seat(self) -> bool:
        return self._seat.is_kept

    # The session's owner

    def join(self, name: str) -> None:
        self._name = name
        self._seat.take(name)
        if self._phase is Phase.INTRODUCING:
            self._introduce()
        elif self._reconnector.is_idle:
            self._ending = Ending.STAYING
            self._reconnector.connect()

    def ask(self, command: SessionCommand) -> None:
        self._outbox.waiting.append(command)
        self._send()

    def leave(self) -> None:
        self._ending = Ending.LEAVING
        self._outbox.leaving = True
        is_known = self._seat.state is not Seat.NONE or self._phase is Phase.INTRODUCING
        if self._name and (is_known or self._outbox.waiting):
            self._send()
        else:
            self._end("")

    def suspend(self) -> None:
        self._ending = Ending.LEAVING
        self._send()

    def stop(self) -> None:
        self._seat.close()
        self._stop()

    def _stop(self) -> None:
        self._ending = Ending.OVER
        if self._busy is not None and self._busy.active():
            self._busy.cancel()
        self._reconnector.stop()

    def pause(self) -> None:
        self._reconnector.pause()

    def resume(self) -> None:
        self._reconnector.resume()

    def _end(self, why: str, *, for_good: bool = False) -> None:
        if for_good:
            self._seat.give_up()
        if self._ending is not Ending.OVER:
            self.stop()
            self._listener.ended(why)

    # The connection

    def connected(self, connection: LineConnection) -> None:
        self._reconnector.connected(connection)
        self._phase = Phase.GREETING
        self._greeting.begin()
        self._reconnector.call_later(GREETING_SECONDS, self._no_greeting)

    def _no_greeting(self) -> None:
        if self._told is Told.NOTHING:
            self._end("nothing comes from there: is it a groupchat server, and the right one of tcp:// and tls://?")
        elif self._reconnector.connection is not None:
            self._reconnector.connection.abort()

    def _not_connected(self, failure: Failure) -> None:
        """Retry, unless this was the very first attempt."""
        if self._ending is Ending.OVER or self._ended_by(failure):
            return
        if self._told is not Told.NOTHING or self._reconnector.failures:
            self._retry()
        else:
            self._end(explain(failure.value))

    def disconnected(self, connection: LineConnection, reason: Failure) -> None:
        if connection is not self._reconnector.connection:
            return
        self._reconnector.disconnected()
        phase, self._phase = self._phase, Phase.OFFLINE
        self._words = []
        if self._ending is Ending.OVER or self._ended_by(reason):
            return
        if phase is Phase.REMOVED:
            self._end("You were removed.", for_good=True)
        elif self._told is Told.NOTHING and phase is not Phase.INTRODUCING and not self._reconnector.failures:
            self._end(self._greeting.words[-1] if self._greeting.words else explain(reason.value))
        else:
            if self._told is Told.ONLINE:
                self._told = Told.OFFLINE
                self._listener.lost(explain(reason.value))
            self._retry()

    def _ended_by(self, failure: Failure) -> bool:
        """End the session if the server is not trusted."""
        if isinstance(failure.value, UntrustedError):
            self._stop()
            self._listener.untrusted(failure.value)
            return True
        return False

    def _retry(self) -> None:
        if self._ending is Ending.LEAVING and self._reconnector.failures >= LAST_TRIES:
            for command in self._outbox.give_up():
                self._listener.unconfirmed(command)
            for command in self._outbox.waiting:
                self._listener.refused(command, "there was no way to the server")
            self._end("the server did not come back")
        else:
            self._reconnector.retry()

    # Lines from the server

    def lines_received(self, connection: LineConnection, lines: list[bytes]) -> None:
        """Report lines of the group that come together in one call."""
        received: list[tuple[int, str]] = []
        for line in lines:
            if self._ending is Ending.OVER or connection is not self._reconnector.connection:
                return
            number, _, rest = line.partition(b" ")
            if self._phase is Phase.REMOVED:
                self._end(clean(line.removeprefix(b"* ")), for_good=True)
            elif self._phase is Phase.OPEN and _is_number(number):
                received.append((int(number), clean(rest)))
            elif self._phase is Phase.OPEN and line.startswith(b"* ") and line != DISPLACED:
                received.append((0, clean(line)))
            else:
                self._report(received)
                received = []
                self._read(line)
        self._report(received)

    def _report(self, received: list[tuple[int, str]]) -> None:
        if received:
            self._listener.received(received)
            self._seat.note(max(self._seat.seen, *(number for number, _ in received)), self._clock)

    def _read(self, line: bytes) -> None:
        verb, _, rest = line.partition(b" ")
        match verb:
            case b"session":
                self._open(rest)
            case b"ok" | b"no" | b"busy":
                number, _, why = rest.partition(b" ")
                if _is_number(number):
                    self._answered(verb, int(number), clean(why))
            case b"=":
                keep(self._words, rest)
            case b"*" if line == DISPLACED:  # by a copy of the key: to resume would displace that in turn, without end
                self._end("another client goes on with a copy of your seat")
            case _ if self._phase is not Phase.OPEN:
                self._greeted(line)

    # Joining, and resuming on a new connection

    def _greeted(self, line: bytes) -> None:
        if line in (NAME_QUESTION, PASSWORD_QUESTION):
            self._reconnector.stop_timer()
        if not self._greeting.read(line):
            self._end("that is not the password")
        elif line == NAME_QUESTION:
            self._phase = Phase.INTRODUCING
            self._introduce()

    def _give_password(self, password: str) -> None:
        if self._phase is Phase.GREETING:
            self._reconnector.send(password)

    def _introduce(self) -> None:
        if self._phase is Phase.INTRODUCING and self._name:  # else the connection was lost, or there is a question
            self._reconnector.send(self._seat.introduction(self._name))

    def _open(self, rest: bytes) -> None:
        number, _, rest = rest.partition(b" ")
        waiting, _, name = rest.partition(b" ")
        if not (_is_number(number) and _is_number(waiting)):
            self._end("the server speaks another protocol")
            return
        self._reconnector.failures = 0
        if self._seat.gives_up:
            self._reconnector.send(f"{self._seat.first_id} /quit")
        elif self._seat.state is Seat.LOST:
            # What the server wrote to an earlier connection may not have come, or more than it knows: resume.
            self._seat.state = Seat.REGAINED
            self._reconnector.replace()
        else:
            self._enter(int(number), int(waiting), clean(name))

    def _enter(self, number: int, waiting: int, name: str) -> None:
        """Begin or continue the conversation after the line with this number."""
        self._phase = Phase.OPEN
        self._name = name
        before, seat, told = self._seat.seen, self._seat.state, self._told
        self._seat.state, self._told = Seat.HELD, Told.ONLINE
        self._seat.note(number, self._clock)
        is_complete = seat is Seat.HELD or number <= before
        if told is Told.NOTHING:
            self._listener.joined(name, self._greeting.without_lines() if waiting else self._greeting.words)
        if seat is Seat.REGAINED and is_complete:
            self._listener.regained(name)
        if seat is not Seat.NONE and is_complete:
            if number < before:
                self._listener.began_anew()
            self._listener.back(waiting)
        elif seat is Seat.REGAINED or told is Told.OFFLINE:
            self._listener.rejoined(name)
        self._send_again()

    def _seat_refused(self, why: str) -> None:
        if self._outbox.quit_id:
            self._end("", for_good=True)  # the server has carried out /quit; the answer was lost
        elif self._seat.state in (Seat.HELD, Seat.REGAINED):  # no longer: join with the same key
            self._seat.state = Seat.LOST
            for command in self._outbox.give_up():
                self._listener.unconfirmed(command)
            self._introduce()
        elif self._seat.gives_up:  # the server knows nothing of it
            self._seat.renew()
            self._introduce()
        else:
            self._name = ""
            self._listener.not_joined(why)

    def _session_answered(self, verb: bytes, number: int, why: str) -> None:
        """Read the answer to an introduction, or to the /quit of a seat that is given up."""
        if verb == b"no" and why == REMOVED:
            self._phase = Phase.REMOVED
        elif verb == b"busy":
            self._reconnector.call_later(BUSY_SECONDS, self._reconnector.replace if number else self._introduce)
        elif number:
            self._seat.renew()
            self._reconnector.replace()
        elif self._phase is not Phase.OPEN:
            self._seat_refused(why)

    # Commands, once the session is open

    def _send(self) -> None:
        if self._ending is Ending.LEAVING and self._outbox.is_done:
            self._end("")
        elif self._phase is Phase.OPEN and self._busy is None:
            self._reconnector.send(*self._outbox.unsent())

    def _send_again(self) -> None:
        """Send all that is not answered, with the same ids, and then what waits."""
        self._busy = None
        if self._phase is Phase.OPEN:
            self._reconnector.send(*self._outbox.unanswered())
            self._send()

    def _answered(self, verb: bytes, number: int, why: str) -> None:
        words, self._words = self._words, []
        if number == 0 or self._seat.gives_up:
            self._session_answered(verb, number, why)
        elif verb == b"busy":  # later commands may have been taken: sent again, they take effect once
            self._busy = self._busy or self._clock.callLater(BUSY_SECONDS, self._send_again)
        elif number == self._outbox.quit_id:
            self._end("", for_good=True)
        elif command := self._outbox.answered(number):
            if verb == b"ok":
                if isinstance(command, Rename):
                    self._name = command.name
                    self._seat.renamed(command.name)
                self._listener.answered(command, words)
            else:
                self._listener.refused(command, why)
            self._send()


def _is_number(word: bytes) -> bool:
    return word.isdigit() and len(word) < 20
