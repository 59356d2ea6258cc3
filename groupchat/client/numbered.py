"""A numbered session over a stream of lines: commands and lines have numbers, and a key resumes it.

Whatever happens to connections, every line is received once and in order, and every command takes effect once. See
docs/protocol.md, "Numbered sessions".
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from enum import Enum, auto

from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.python.failure import Failure

from groupchat.client.commands import SessionCommand
from groupchat.client.failures import explain
from groupchat.client.line_connection import LineConnection
from groupchat.client.outbox import Outbox
from groupchat.client.reconnector import Reconnector
from groupchat.client.session import Ending, Seat, SessionListener
from groupchat.client.text import clean
from groupchat.client.trust import UntrustedError
from groupchat.core.commands import Poll, Rename

NAME_QUESTION = b"* What is your name?"
PASSWORD_QUESTION = b"* What is the password?"
WRONG_PASSWORD = b"* That is not the password. What is it?"

REMOVED = "removed"

MAX_PASSWORDS = 3
"""Wrong passwords in a row after which the session ends."""

MAX_WORDS = 10_000
"""The most lines that are kept of one answer, or of a greeting."""

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


class NumberedSession:
    """A Session, and the LineHandler of its connections.

    `ask_password` is called with the function that takes the password, when the server wants it and if it was wrong.
    """

    unsupported: frozenset[type[SessionCommand]] = frozenset([Poll])

    def __init__(
        self,
        clock: IReactorTime,
        endpoint: IStreamClientEndpoint,
        listener: SessionListener,
        ask_password: Callable[[Callable[[str], None]], None],
    ) -> None:
        self._reconnector = Reconnector(clock, endpoint, self, self._not_connected)
        self._outbox = Outbox()
        self._clock = clock
        self._listener = listener
        self._ask_password = ask_password
        self._phase = Phase.OFFLINE
        self._seat = Seat.NONE
        self._ending = Ending.STAYING
        self._lost_told = False
        self._key = secrets.token_hex(16)
        self._name = ""
        self._password = ""
        self._wrong = 0  # passwords in a row
        self._greeting: list[str] = []
        self._seen = 0  # the number of the last line
        self._words: list[str] = []  # of the answer that is coming
        self._busy: IDelayedCall | None = None  # until a busy server is asked again

    @property
    def proof(self) -> str:
        return f"KEY {self._key}" if self._seat is Seat.HELD else ""

    # The session's owner

    def join(self, name: str) -> None:
        self._name = name
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
        is_known = self._seat is not Seat.NONE or self._phase is Phase.INTRODUCING
        if self._name and (is_known or self._outbox.waiting):
            self._send()
        else:
            self._end("")

    def stop(self) -> None:
        self._ending = Ending.OVER
        if self._busy is not None and self._busy.active():
            self._busy.cancel()
        self._reconnector.stop()

    def pause(self) -> None:
        self._reconnector.pause()

    def resume(self) -> None:
        self._reconnector.resume()

    def _end(self, why: str) -> None:
        if self._ending is not Ending.OVER:
            self.stop()
            self._listener.ended(why)

    # The connection

    def connected(self, connection: LineConnection) -> None:
        self._reconnector.connected(connection)
        self._phase = Phase.GREETING
        self._greeting = []
        self._reconnector.call_later(GREETING_SECONDS, self._no_greeting)

    def _no_greeting(self) -> None:
        if self._seat is Seat.NONE:
            self._end("nothing comes from there: is it a groupchat server, and the right one of tcp:// and tls://?")
        elif self._reconnector.connection is not None:
            self._reconnector.connection.abort()

    def _not_connected(self, failure: Failure) -> None:
        """Retry, unless this was the very first attempt."""
        if self._ending is Ending.OVER or self._ended_by(failure):
            return
        if self._seat is not Seat.NONE or self._reconnector.failures:
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
            self._end("You were removed.")
        elif self._seat is not Seat.NONE:
            if not self._lost_told:
                self._lost_told = True
                self._listener.lost(explain(reason.value))
            self._retry()
        elif phase is Phase.INTRODUCING or self._reconnector.failures:
            self._retry()
        else:
            self._end(self._greeting[-1] if self._greeting else explain(reason.value))

    def _ended_by(self, failure: Failure) -> bool:
        """End the session if the server is not trusted."""
        if isinstance(failure.value, UntrustedError):
            self.stop()
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
                self._end(clean(line.removeprefix(b"* ")))
            elif self._phase is Phase.OPEN and _is_number(number):
                self._seen = max(self._seen, int(number))
                received.append((int(number), clean(rest)))
            elif self._phase is Phase.OPEN and line.startswith(b"* "):
                received.append((0, clean(line)))
            else:
                self._report(received)
                received = []
                self._read(line)
        self._report(received)

    def _report(self, received: list[tuple[int, str]]) -> None:
        if received:
            self._listener.received(received)

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
                _keep(self._words, rest)
            case _ if self._phase is not Phase.OPEN:
                self._greeted(line)

    # Joining, and resuming on a new connection

    def _greeted(self, line: bytes) -> None:
        if line == NAME_QUESTION:
            self._wrong = 0
            self._reconnector.stop_timer()
            self._phase = Phase.INTRODUCING
            self._introduce()
        elif line == PASSWORD_QUESTION:
            self._reconnector.stop_timer()
            if self._password:
                self._give_password(self._password)
            else:
                self._ask_password(self._give_password)
        elif line == WRONG_PASSWORD:
            self._password = ""
            self._wrong += 1
            if self._wrong < MAX_PASSWORDS:
                self._ask_password(self._give_password)
            else:
                self._end("that is not the password")
        else:
            _keep(self._greeting, line.removeprefix(b"* "))

    def _give_password(self, password: str) -> None:
        self._password = password  # for the next connection, too: nobody may be there to type it then
        if self._phase is Phase.GREETING:
            self._reconnector.send(password)

    def _introduce(self) -> None:
        if self._phase is not Phase.INTRODUCING:  # the connection was lost meanwhile
            return
        if self._seat is Seat.HELD:
            self._reconnector.send(f"/resume {self._key} {self._seen}")
        elif self._name:
            self._reconnector.send(f"/numbered {self._key} {self._name}")

    def _open(self, rest: bytes) -> None:
        number, _, rest = rest.partition(b" ")
        waiting, _, name = rest.partition(b" ")
        if not (_is_number(number) and _is_number(waiting)):
            self._end("the server speaks another protocol")
            return
        self._reconnector.failures = 0
        self._phase = Phase.OPEN
        before, self._seen = self._seen, int(number)
        self._name = clean(name)
        seat, self._seat = self._seat, Seat.HELD
        match seat:
            case Seat.HELD:
                if self._seen < before:
                    self._listener.began_anew()
                self._listener.back(int(waiting))
            case Seat.LOST:
                self._listener.rejoined(self._name)
            case Seat.NONE:
                self._listener.joined(self._name, self._greeting)
        self._lost_told = False
        if seat is Seat.HELD:
            self._send_again()
        else:
            self._send()

    def _seat_refused(self, why: str) -> None:
        if self._outbox.quit_id:
            self._end("")  # the server has carried out /quit; the answer was lost
        elif self._seat is Seat.HELD:  # no longer: join anew
            self._seat = Seat.LOST
            self._key = secrets.token_hex(16)
            self._seen = 0
            for command in self._outbox.give_up():
                self._listener.unconfirmed(command)
            self._introduce()
        else:
            self._name = ""
            self._listener.not_joined(why)

    # Commands, once the session is open

    def _send(self) -> None:
        if self._phase is Phase.OPEN and self._busy is None:
            self._reconnector.send(*self._outbox.unsent())

    def _send_again(self) -> None:
        """Send all that is not answered, with the same ids, and then what waits."""
        self._busy = None
        if self._phase is Phase.OPEN:
            self._reconnector.send(*self._outbox.unanswered())
            self._send()

    def _answered(self, verb: bytes, number: int, why: str) -> None:
        words, self._words = self._words, []
        if number == 0:
            if verb == b"no" and why == REMOVED:
                self._phase = Phase.REMOVED
            elif verb == b"busy":
                self._reconnector.call_later(BUSY_SECONDS, self._introduce)
            elif self._phase is not Phase.OPEN:
                self._seat_refused(why)
        elif verb == b"busy":  # later commands may have been taken: sent again, they take effect once
            self._busy = self._busy or self._clock.callLater(BUSY_SECONDS, self._send_again)
        elif number == self._outbox.quit_id:
            self._end("")
        elif command := self._outbox.answered(number):
            if verb == b"ok":
                if isinstance(command, Rename):
                    self._name = command.name
                self._listener.answered(command, words)
            else:
                self._listener.refused(command, why)
            self._send()


def _keep(words: list[str], line: bytes) -> None:
    if len(words) < MAX_WORDS:
        words.append(clean(line))


def _is_number(word: bytes) -> bool:
    return word.isdigit() and len(word) < 20
