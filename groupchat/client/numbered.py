"""A numbered session over a stream: what is asked has a number, what is heard has one, and a key goes on with both.

Whatever becomes of connections, every line is heard once and in order, and what is asked is done once. See
docs/protocol.md, "Numbered sessions".
"""

from __future__ import annotations

import random
import secrets
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from groupchat.client.asks import Ask, Poll, Rename, typed
from groupchat.client.session import Listener
from groupchat.client.text import clean
from groupchat.client.trust import UntrustedError
from groupchat.client.wire import Wire, explain

NAME_QUESTION = b"* What is your name?"
PASSWORD_QUESTION = b"* What is the password?"
WRONG_PASSWORD = b"* That is not the password"

AT_ONCE = 32
"""How much may be asked and unanswered. The server knows the last 64 numbers."""

MAX_WORDS = 10_000
"""How many lines are kept of one answer, or of a greeting."""

FIRST_PAUSE, LONGEST_PAUSE = 0.3, 15.0
"""Seconds before a connection is made again: the first time, and at most."""

LAST_TRIES = 12
"""How often a connection is tried for somebody who wants to leave, before it is given up: about a minute."""

GREETING_SECONDS = 10.0
"""How long a server may be silent before it has said anything."""

BUSY_SECONDS = 1.0
"""After how long that is asked again which the server was too busy for."""


class Numbered:
    """A Session. `ask_password` is called when the server wants one, with what is to be called with it."""

    lacks: frozenset[type[Ask]] = frozenset([Poll])

    def __init__(
        self,
        clock: IReactorTime,
        endpoint: IStreamClientEndpoint,
        listener: Listener,
        ask_password: Callable[[Callable[[str], None]], None],
    ) -> None:
        self._factory = Factory.forProtocol(lambda: Wire(self))
        self._factory.noisy = False
        self._endpoint = endpoint
        self._clock = clock
        self._listener = listener
        self._ask_password = ask_password
        self._wire: Wire | None = None
        self._connecting: Deferred[Any] | None = None
        self._timer: IDelayedCall | None = None  # until the next connection, or until this one has been silent for long
        self._failures = 0  # since the last connection that was of use
        self._paused = False
        self._key = secrets.token_hex(16)
        self._name = ""
        self._password = ""
        self._greeting: list[str] = []
        self._seated = False  # the server has given us a seat, which this key goes on with
        self._was_seated = False
        self._open = False  # this connection is on it
        self._asked_name = False  # this connection waits to be told who we are
        self._lost = False  # and the listener knows
        self._seen = 0
        self._id = 0
        self._waiting: deque[Ask] = deque()
        self._under_way: dict[int, Ask] = {}  # in the order in which it was asked
        self._busy: IDelayedCall | None = None  # while the server is too busy, until it is asked again
        self._words: list[str] = []  # of the answer that is coming
        self._leaving = False
        self._quit = 0  # the number of the /quit, once it was sent
        self._over = False

    @property
    def proof(self) -> str:
        return f"KEY {self._key}" if self._seated else ""

    # What is asked

    def join(self, name: str) -> None:
        self._name = name
        if self._asked_name:
            self._introduce()
        elif self._wire is None and self._connecting is None:
            self._over = False
            self._connect()

    def ask(self, ask: Ask) -> None:
        self._waiting.append(ask)
        self._send()

    def leave(self) -> None:
        self._leaving = True
        if self._name and (self._was_seated or self._waiting or self._asked_name):
            self._send()
        else:
            self._end("")

    def stop(self) -> None:
        self._over = True
        for timer in (self._busy, self._timer):
            if timer is not None and timer.active():
                timer.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
        if self._wire is not None:
            self._wire.close()

    def pause(self) -> None:
        self._paused = True
        self._hold()

    def resume(self) -> None:
        self._paused = False
        self._hold()

    def _hold(self) -> None:
        if self._wire is not None:
            transport: Any = self._wire.transport
            (transport.pauseProducing if self._paused else transport.resumeProducing)()

    def _end(self, why: str) -> None:
        if not self._over:
            self.stop()
            self._listener.ended(why)

    # The connection

    def _connect(self) -> None:
        self._is_of_use()  # no other is to be made
        self._connecting = self._endpoint.connect(self._factory)
        self._connecting.addErrback(self._failed)

    def connected(self, wire: Wire) -> None:
        self._wire = wire
        self._connecting = None
        self._greeting = []
        self._wait(GREETING_SECONDS, self._say_nothing_comes)
        if self._paused:
            self._hold()

    def _failed(self, failure: Failure) -> None:
        """There is no connection. Of the very first that is the end, as long as nobody was asked anything."""
        self._connecting = None
        if not self._over:
            if isinstance(failure.value, UntrustedError):
                self.stop()
                self._listener.untrusted(failure.value)
            elif self._was_seated or self._failures:
                self._try_again()
            else:
                self._end(explain(failure))

    def disconnected(self, wire: Wire, reason: Failure) -> None:
        if wire is not self._wire:
            return
        self._wire = None
        said, chose = self._greeting[-1:], self._asked_name
        self._open = self._asked_name = False
        self._words = []
        if self._over:
            return
        if isinstance(reason.value, UntrustedError):
            self.stop()
            self._listener.untrusted(reason.value)
        elif self._was_seated:
            self._is_lost(explain(reason))
            self._try_again()
        elif chose or self._failures:
            self._try_again()
        else:
            self._end(said[0] if said else explain(reason))

    def _try_again(self) -> None:
        if self._leaving and self._failures >= LAST_TRIES:
            for ask in self._under_way.values():
                self._listener.doubtful(ask)
            for ask in self._waiting:
                self._listener.refused(ask, "there was no way to the server")
            self._end("the server did not come back")
            return
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 1.5**self._failures)
        self._failures += 1
        self._wait(pause * random.uniform(0.5, 1.0), self._connect)  # noqa: S311 - so that not all come at once

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self._clock.callLater(seconds, then)

    def _say_nothing_comes(self) -> None:
        if self._was_seated:
            assert self._wire is not None
            self._wire.abort()
        else:
            self._end("nothing comes from there: is it a groupchat server, and the right one of tcp:// and tls://?")

    def _is_of_use(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _is_lost(self, why: str) -> None:
        if not self._lost:
            self._lost = True
            self._listener.lost(why)

    def received(self, wire: Wire, lines: list[bytes]) -> None:
        """Lines of the group that come together are heard together."""
        heard: list[tuple[int, str]] = []
        for line in [line.removesuffix(b"\r") for line in lines]:
            if self._over or wire is not self._wire:
                return
            number, _, rest = line.partition(b" ")
            if self._open and _is_number(number):
                self._seen = max(self._seen, int(number))
                heard.append((int(number), clean(rest)))
            elif self._open and line.startswith(b"* "):
                heard.append((0, clean(line)))
            else:
                heard = self._told(heard)
                self._read(line)
        self._told(heard)

    def _told(self, heard: list[tuple[int, str]]) -> list[tuple[int, str]]:
        if heard:
            self._listener.heard(heard)
        return []

    def _read(self, line: bytes) -> None:
        verb, _, rest = line.partition(b" ")
        match verb:
            case b"session":
                self._begin(rest)
            case b"ok" | b"no" | b"busy":
                number, _, why = rest.partition(b" ")
                if _is_number(number):
                    self._answer(verb, int(number), clean(why))
            case b"=":
                self._note(self._words, rest)
            case _ if not self._open:
                self._greet(line)

    def _note(self, words: list[str], line: bytes) -> None:
        if len(words) < MAX_WORDS:
            words.append(clean(line))

    # Coming in, for the first time and again

    def _greet(self, line: bytes) -> None:
        if line == NAME_QUESTION:
            self._is_of_use()
            self._asked_name = True
            self._introduce()
        elif line == PASSWORD_QUESTION:
            self._is_of_use()
            if self._password:
                self._give_password(self._password)
            else:
                self._ask_password(self._give_password)
        elif line.startswith(WRONG_PASSWORD):
            self._end("that is not the password")
        else:
            self._note(self._greeting, line.removeprefix(b"* "))

    def _give_password(self, password: str) -> None:
        self._password = password  # for the next connection, too: nobody may be there to type it then
        if self._wire is not None and not self._asked_name:
            self._wire.send(password)

    def _introduce(self) -> None:
        assert self._wire is not None
        if self._seated:
            self._wire.send(f"/resume {self._key} {self._seen}")
            return
        if self._name:
            self._wire.send(f"/numbered {self._key} {self._name}")

    def _introduce_later(self) -> None:
        """The server cannot let anybody in just now."""

        def again() -> None:
            if self._asked_name:
                self._introduce()

        self._wait(BUSY_SECONDS, again)

    def _begin(self, rest: bytes) -> None:
        assert self._wire is not None
        number, _, rest = rest.partition(b" ")
        waiting, _, name = rest.partition(b" ")
        if not (_is_number(number) and _is_number(waiting)):
            self._end("the server speaks another protocol")
            return
        self._failures = 0
        self._open, self._asked_name = True, False
        resumed, self._seated = self._seated, True
        self._seen = max(self._seen, int(number))
        self._name = clean(name)
        if resumed:
            self._listener.back(int(waiting))
        elif self._was_seated:
            self._listener.rejoined(self._name)
        else:
            self._was_seated = True
            self._listener.joined(self._name, self._greeting)
        self._lost = False
        if resumed:
            self._ask_again()
        else:
            self._send()

    def _refused_seat(self, why: str) -> None:
        if self._quit:
            self._end("")  # the answer to it was lost
        elif self._seated:  # it was held no longer
            self._seated = False
            self._key = secrets.token_hex(16)
            self._seen = 0
            asked, self._under_way = self._under_way, {}
            for ask in asked.values():
                self._listener.doubtful(ask)
            self._introduce()
        else:
            self._name = ""
            self._listener.not_joined(why)

    # Asking, once in a seat

    def _ask_again(self) -> None:
        """All that is not answered, with the same numbers, and then what waits."""
        self._busy = None
        if self._wire is not None and self._open:
            for ask_id, ask in self._under_way.items():
                self._wire.send(f"{ask_id} {typed(ask)}")
            if self._quit:
                self._wire.send(f"{self._quit} /quit")
            self._send()

    def _send(self) -> None:
        if self._wire is None or not self._open or self._busy is not None:
            return
        while self._waiting and len(self._under_way) < AT_ONCE:
            self._id += 1
            ask = self._under_way[self._id] = self._waiting.popleft()
            self._wire.send(f"{self._id} {typed(ask)}")
        if self._leaving and not self._under_way and not self._quit:
            self._id += 1
            self._quit = self._id
            self._wire.send(f"{self._quit} /quit")

    def _answer(self, verb: bytes, number: int, why: str) -> None:
        words, self._words = self._words, []
        if number == 0:
            if verb == b"busy":
                self._introduce_later()
            elif not self._open:
                self._refused_seat(why)
        elif verb == b"busy":
            self._pause_asking()
        elif number == self._quit:
            self._end("")
        elif ask := self._under_way.pop(number, None):
            if verb == b"ok":
                if isinstance(ask, Rename):
                    self._name = ask.name
                self._listener.answered(ask, words)
            else:
                self._listener.refused(ask, why)
            self._send()

    def _pause_asking(self) -> None:
        """The server cannot take it now. What came behind it may have been taken: asked again, it is done once."""
        if self._busy is None:
            self._busy = self._clock.callLater(BUSY_SECONDS, self._ask_again)


def _is_number(word: bytes) -> bool:
    return word.isdigit() and len(word) < 20
