"""The transport side of a live connection: bytes become lines, which are read no faster than they are answered.

A connection has no queue. It is sent what follows its place in the conversation, as fast as the peer takes it. So a
slow or hostile peer costs some buffers, and no more.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol, IPushProducer, ISSLTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from groupchat.core.group import Member
from groupchat.core.limits import MAX_UNTERMINATED
from groupchat.frontends.connections import ConnectionRegistry, writer
from groupchat.frontends.lines.dialogue import Dialogue, ILinesConnection
from groupchat.service.subscriptions import IReader, Render, Subscription
from groupchat.wire.lines import NO_TIMING_MARK, Opening, Splitter, asks_for_numbers, notes

AT_ONCE = 64
"""The number of lines that one connection reads before the others have their turn."""

QUIET_SECONDS = 0.1
"""Seconds without input after which a refusal is sent: what a script sends at once may arrive in several pieces."""

PIPED = 32 * 1024
"""Unread bytes that nobody has typed or pasted: a program sends them."""


class State(Enum):
    """The state of a connection."""

    OPEN = auto()  # it reads and writes
    CLOSING = auto()  # its last line is written, and it reads no more
    LOST = auto()  # it cannot write, but still carries out the lines that came
    CLOSED = auto()  # it does nothing more


class Input(Enum):
    """The state of the input of a connection."""

    RECEIVING = auto()  # more bytes may come
    RECEIVED = auto()  # no more bytes come
    SPLIT = auto()  # all of it is split into lines, and what still comes does not count


class Turn(Enum):
    """The state of the reading of lines."""

    IDLE = auto()  # the next event starts it
    PLANNED = auto()  # it begins in the next turn of the reactor
    READING = auto()  # it is going on


class Rush(Enum):
    """What becomes of lines that come too fast. Programs that only send read no refusal, but people do."""

    UNKNOWN = auto()  # it depends on what else comes
    SLOWED = auto()  # they are read as fast as they are allowed
    REFUSED = auto()  # they are read, and refused


@implementer(ILinesConnection, IReader, IHalfCloseableProtocol, IPushProducer)
class LinesProtocol(Protocol):
    """A connection for live lines."""

    transport: Any  # some ITransport and IConsumer

    def __init__(self, registry: ConnectionRegistry, host: str) -> None:
        self.host = host
        self.state = State.OPEN
        self.dialogue = Dialogue(registry, self)
        self._registry = registry
        self._service = registry.group_service
        self._subscription: Subscription | None = None
        self._opening = Opening()
        self._splitter = Splitter()
        self._lines: list[bytes] = []  # split, but not read yet
        self._input = Input.RECEIVING
        self._turn = Turn.IDLE
        self._quiet: IDelayedCall | None = None  # while input is discarded
        self._rush = Rush.UNKNOWN
        self._rush_over: IDelayedCall | None = None  # while a line that came too fast is held
        self._input_paused = False
        self._output_paused = False

    # The transport

    def connectionMade(self) -> None:
        self._write = writer(self.transport)
        self.transport.registerProducer(self, True)
        is_tls = ISSLTransport.providedBy(self.transport)
        self.dialogue.way = getattr(self.transport, "way", "tls" if is_tls else "tcp")
        self._registry.opened(self, self.transport)
        self.dialogue.begin()

    def dataReceived(self, data: bytes) -> None:
        if not self.is_open:
            return
        if why := self._opening.feed(data):
            self.close(why)
            return
        self._splitter.feed(data)
        if self._input is Input.SPLIT or self.is_discarding:
            self._discard()
        else:
            self._stop_holding()
            self.read()

    def readConnectionLost(self) -> None:
        if self._input is Input.RECEIVING:
            self._input = Input.RECEIVED
        if self.is_discarding:
            self._discard()
        self._stop_holding()
        self.read()

    def writeConnectionLost(self) -> None:
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.is_open:
            self.transport.unregisterProducer()  # TLS keeps it: a circle
        self._output_paused = False
        self._registry.closed(self)
        self._unsubscribe()
        if self.state is State.CLOSING or self.dialogue.numbered or self.dialogue.is_in_queue:
            self._hang_up()
            return
        self.state = State.LOST
        if not reason.check(ConnectionDone):  # after a reset the kernel has lost data as well
            self._forget_input()
        self.readConnectionLost()

    def pauseProducing(self) -> None:
        self._output_paused = True
        if self._subscription is not None:
            self._subscription.pauseProducing()

    def resumeProducing(self) -> None:
        self._output_paused = False
        if self._subscription is not None:
            self._subscription.resumeProducing()
        self.read()

    def stopProducing(self) -> None:
        self._unsubscribe()

    @property
    def way(self) -> str:
        return self.dialogue.way

    # Sending

    @property
    def is_open(self) -> bool:
        return self.state is State.OPEN

    def give(self, lines: bytes) -> None:
        if self.state is State.OPEN:
            self._write(lines)

    def subscribe(self, member: Member, place: tuple[int, int], render: Render | None) -> None:
        if self.is_open:
            self._subscription = self._service.subscriptions.open(member, place, self, render)
            if self._output_paused:
                self._subscription.pauseProducing()

    def _unsubscribe(self) -> None:
        if self._subscription is not None:
            self._service.subscriptions.close(self._subscription)
            self._subscription = None

    def _answer_mark(self) -> None:
        if self._splitter.marked and not self._output_paused:
            self.give(NO_TIMING_MARK)

    # Closing

    def close(self, *why: str) -> None:
        """Say why, and close once that is sent. No more lines are read."""
        self._forget_input()
        if not self.is_open:
            return
        self.give(notes(why))
        self.state = State.CLOSING
        self._unsubscribe()
        self._registry.closing(self)
        if self._input_paused:
            self.transport.resumeProducing()  # TLS has to read the peer's close
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def drop(self) -> None:
        """Close at once."""
        self.state = State.CLOSING
        self._forget_input()
        self._unsubscribe()
        self.transport.abortConnection()

    def _hang_up(self) -> None:
        self.state = State.CLOSED
        if self._quiet is not None and self._quiet.active():
            self._quiet.cancel()
        self._forget_input()
        self.dialogue.hang_up()
        del self.dialogue  # it knows this connection: a circle

    # Reading

    @property
    def has_unread(self) -> bool:
        """True if lines, or parts of one, wait to be read."""
        return bool(self._lines or self._splitter)

    @property
    def input_ended(self) -> bool:
        return self._input is Input.SPLIT

    def read(self) -> None:
        """Read lines now. This must not be called in the middle of an answer: see `read_soon`."""
        if self._turn is not Turn.IDLE or self.state is State.CLOSED:
            return
        self._turn = Turn.READING
        budget, count, failed = self._registry.budget, 0, False
        self.dialogue.begin_turn()
        try:
            while count < AT_ONCE and budget.room > 0 and self._can_read() and self._split() and not self._hold():
                line = self._lines.pop(0)
                count += 1
                budget.spend(1)
                if not self.dialogue.line_received(line):
                    self._lines.insert(0, line)
                    break
        except Exception:
            failed = True
            self._service.survive("reading a line")
        self._turn = Turn.IDLE
        if self.state in (State.OPEN, State.LOST):
            is_over = count == AT_ONCE or budget.room <= 0 or self.dialogue.has_long_answer
            self._after_reading(read_on=failed or is_over)

    @property
    def is_discarding(self) -> bool:
        return self._quiet is not None and self._quiet.active()

    def discard_input(self, then: Callable[[], None]) -> None:
        """Discard the input until none has come for a while, and call this then."""
        self._quiet = self._registry.clock.callLater(QUIET_SECONDS, then)
        self._lines.clear()
        self._discard()
        if self._input_paused and self.is_open:
            self._input_paused = False
            self.transport.resumeProducing()

    def _discard(self) -> None:
        """Discard what was received. A sign of the end counts, and a timing mark is answered."""
        self._splitter.discard()
        self._answer_mark()
        if self._splitter.ended:
            self._input = Input.SPLIT
        if self._quiet is not None and self._quiet.active():
            self._quiet.reset(QUIET_SECONDS if self._input is Input.RECEIVING else 0)

    def read_soon(self) -> None:
        """Read lines in the next turn of the reactor, so no command is submitted in the middle of an answer."""
        if self._turn is Turn.IDLE and (self.has_unread or self._input is not Input.RECEIVING):
            self._turn = Turn.PLANNED
            self._registry.budget.wait(self._begin_turn)

    def _begin_turn(self) -> None:
        self._turn = Turn.IDLE
        self.read()

    def _can_read(self) -> bool:
        return self.state in (State.OPEN, State.LOST) and not self._output_paused and self.dialogue.is_ready()

    def _split(self) -> bool:
        """Split some input into lines, unless there are lines. Return True if there are lines now."""
        while not self._lines and self._input is not Input.SPLIT:
            if self._splitter:
                self._lines = self._splitter.lines(AT_ONCE)
                self._answer_mark()
                if self._splitter.ended:
                    self._end_input()
                elif self._splitter.unterminated > MAX_UNTERMINATED:
                    self.close("That line has no end.")
            elif self._input is Input.RECEIVED:
                self._end_input()
            else:
                break
        return bool(self._lines)

    def _end_input(self) -> None:
        """Count an unfinished line as the last one, but not that of a program, which sends the whole line again."""
        self._input = Input.SPLIT
        last = self._splitter.finish()
        if not self.dialogue.numbered and not any(map(asks_for_numbers, [*self._lines, *last])):
            self._lines += last

    def _hold(self) -> bool:
        """Hold the next line if it comes too fast, unless it is to be refused. Return True if it is held."""
        seconds = 0.0 if self._rush is Rush.REFUSED else self.dialogue.wait(self._lines[0])
        if seconds and self._rush_over is None:
            if self._input is not Input.RECEIVING or self._splitter.size > PIPED:
                self._rush = Rush.SLOWED
            then, seconds = (self._go_on, seconds) if self._rush is Rush.SLOWED else (self._refuse, QUIET_SECONDS)
            self._rush_over = self._registry.clock.callLater(seconds, then)
        return bool(seconds)

    @property
    def waits_for_more(self) -> bool:
        """True while it depends on what else comes whether a line is refused."""
        return self._rush_over is not None and self._rush is Rush.UNKNOWN

    def _go_on(self) -> None:
        self._rush_over = None
        self.read_soon()

    def _refuse(self) -> None:
        self._rush = Rush.REFUSED
        self._go_on()

    def _stop_holding(self) -> None:
        if self._rush_over is not None:
            self._rush_over.cancel()
            self._rush_over = None

    def _forget_input(self) -> None:
        self._stop_holding()
        self._lines.clear()
        self._splitter.clear()

    def _after_reading(self, *, read_on: bool) -> None:
        """Plan to read on, or leave at the end of input; and receive more bytes only once all lines are read."""
        unread = self.has_unread
        if not unread and self._input is Input.RECEIVING:
            self._rush = Rush.UNKNOWN
        if read_on and (unread or self._input is Input.RECEIVED):
            self.read_soon()
        if self._input is Input.SPLIT and not self._lines and self.dialogue.is_idle():
            if self.state is State.LOST:
                self._hang_up()
            else:
                self.dialogue.leave()
        elif self.is_open and self._input is Input.RECEIVING:
            is_full = unread and not self.waits_for_more
            if is_full != self._input_paused:
                self._input_paused = is_full
                (self.transport.pauseProducing if is_full else self.transport.resumeProducing)()
