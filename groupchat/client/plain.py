"""The plain client: lines of standard input go out as requests, one at a time, and replies go to standard output.

Standard output carries the server's words only; messages of the client itself go through `complain`.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from groupchat.client.conversation import ANSWER_SECONDS, TRIES, Conversation, DatagramSender
from groupchat.client.lines import LineSplitter, TooLong
from groupchat.client.messages import LEAVE, is_repeatable
from groupchat.client.process import complain, output_is_pipe
from groupchat.client.stdio import run_on_stdio
from groupchat.client.text import clean, quote
from groupchat.client.udp import UDPSocket, UnreachableError, resolve
from groupchat.wire.datagrams import CLOSE, MAX_REPLY, REFUSAL

if TYPE_CHECKING:
    from twisted.internet.epollreactor import EPollReactor

LINES_AHEAD = 100
"""No more input is read while more lines than this wait. One read is at most 64 KiB."""

LAST_SECONDS = ANSWER_SECONDS + 0.5
"""The time this client may take to end once interrupted: to leave, and to write out what it has."""

FAILED = 1


class Phase(Enum):
    """The state of the input."""

    READING = auto()
    DRAINING = auto()
    """The input has ended; the lines that wait are still sent."""
    LEAVING = auto()
    """Nothing more is sent but a `4`."""


class Console:
    """The user's side. `server` is the server in words, for messages."""

    def __init__(self, complain: Callable[[str], None], server: str, *, terminal: bool, pipe: bool) -> None:
        self.complain = complain
        self.server = server
        self.terminal = terminal  # a person types, and may go on after a failure
        self.pipe = pipe  # the reader of the output may close it


@implementer(IHalfCloseableProtocol, IPushProducer)
class Plain(Protocol):
    """A protocol on standard input and output, and the ConversationListener.

    `over` is called once, when all is sent and written; the exit status, `status`, is then final.
    """

    def __init__(self, clock: IReactorTime, sender: DatagramSender, console: Console, over: Callable[[], None]) -> None:
        self.status = 0
        self.conversation = Conversation(clock, sender, self, tries=None if console.terminal else TRIES)
        self._clock = clock
        self._console = console
        self._over: Callable[[], None] | None = over
        self._splitter = LineSplitter(MAX_REPLY)
        self._queue: deque[bytes | TooLong] = deque()
        self._output_gone = False
        self._has_output = False
        self._output_full = False
        self._phase = Phase.READING
        self._hurried = False

    # Standard input

    def dataReceived(self, data: bytes) -> None:
        self._take(self._splitter.feed(data))
        if len(self._queue) > LINES_AHEAD:
            self._stdio.pauseProducing()

    def readConnectionLost(self) -> None:
        if self._phase is Phase.READING:
            self._take(self._splitter.finish())
            self._end_input()

    def _take(self, lines: list[bytes | TooLong]) -> None:
        if self._phase is Phase.READING:
            self._queue.extend(lines)
            self._next()

    def _end_input(self) -> None:
        if self._phase is Phase.READING:
            self._phase = Phase.DRAINING
        self.conversation.tries = TRIES  # nobody is left to interrupt an endless wait
        self._next()

    def _next(self) -> None:
        """Send the next line if it may be sent now, or the `4` at the end of input."""
        while self.conversation.outstanding is None and not self._output_full and self._phase is not Phase.LEAVING:
            if self._queue:
                self._send(self._queue.popleft())
            elif self._phase is Phase.DRAINING:
                self._leave()
            else:
                return

    def _send(self, line: bytes | TooLong) -> None:
        if len(self._queue) == LINES_AHEAD:
            self._stdio.resumeProducing()
        if isinstance(line, TooLong):
            self._fail(f"a line of {line.length} bytes was not sent: a datagram holds at most {MAX_REPLY}")
        else:
            self.conversation.ask(line)

    # The conversation's listener

    def received(self, reply: bytes) -> None:
        text = clean(reply)
        if text:
            self._has_output = True
            self._stdio.write(f"{text}\n".encode())

    def answered(self, request: bytes, reply: bytes) -> None:
        if reply == REFUSAL and not self._console.terminal:
            self.status = self.status or FAILED  # a script looks at the status only
        if self._phase is Phase.LEAVING or (request == LEAVE and reply == CLOSE):
            self._end()
        else:
            self._next()

    def waiting(self, request: bytes, seconds: int) -> None:
        self._console.complain(f"no answer to {quote(request)} within {seconds} seconds; asking again")

    def unanswered(self, request: bytes, seconds: int, times: int) -> None:
        missing = f"no answer to {quote(request)} within {seconds} seconds"
        if is_repeatable(request):
            self._fail(f"{missing}, asked {times} times; is {self._console.server} the right place?")
            self._leave()
        else:
            self._fail(f"{missing}; it may or may not have arrived")
            self._end() if self._phase is Phase.LEAVING else self._next()

    def undelivered(self, request: bytes, reason: str) -> None:
        problem = f"{quote(request)} did not reach {self._console.server}: {reason}"
        self._fail(f"{problem}; check the host and the port, and that the daemon runs there")
        if self._console.terminal and self.conversation.met and self._phase is not Phase.LEAVING:
            self._next()
        else:
            self._end()

    def closed(self) -> None:
        self._queue.clear()
        self._end_input()

    def _fail(self, problem: str) -> None:
        self.status = self.status or FAILED
        self._console.complain(problem)

    # Standard output

    def pauseProducing(self) -> None:
        self._output_full = True

    def resumeProducing(self) -> None:
        self._output_full = False
        self._next()

    def stopProducing(self) -> None:
        """Do nothing: `writeConnectionLost` is called as well."""

    @property
    def _stdio(self) -> Any:  # StandardIO has no annotations
        return self.transport

    def connectionMade(self) -> None:
        self._stdio.registerProducer(self, True)

    def writeConnectionLost(self) -> None:
        self._output_gone = True
        self._output_failed()
        self._hurry()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not reason.check(ConnectionDone):
            self._output_failed()
        self.finish()

    def _output_failed(self) -> None:
        if self._has_output and not self._console.pipe:  # a closed descriptor is lost even if nothing is written
            self._fail("standard output cannot be written to")

    # The end

    def interrupt(self, number: int) -> None:
        """Handle a signal: the first one leaves the group and ends, the second ends at once."""
        self.status = 128 + number
        if self._hurried:
            self.finish()
        else:
            self._hurry()

    def _hurry(self) -> None:
        """Leave now, without sending what is queued, and end within LAST_SECONDS."""
        self._hurried = True
        self._clock.callLater(LAST_SECONDS, self.finish)
        if self._phase is not Phase.LEAVING:
            self.conversation.abandon()
            self._leave()

    def _leave(self) -> None:
        self._phase = Phase.LEAVING
        self._queue.clear()
        self._stdio.pauseProducing()
        if self.conversation.membership.possible:
            self.conversation.ask(LEAVE)
        else:
            self._end()

    def _end(self) -> None:
        """Write out what is still to be written, then finish."""
        self._phase = Phase.LEAVING
        if self._output_gone:
            self.finish()
        else:
            self._stdio.unregisterProducer()
            self._stdio.loseConnection()

    def finish(self) -> None:
        """End at once, whatever is still to be written."""
        over, self._over = self._over, None
        if over is not None:
            self.conversation.abandon()
            over()


def run_plain(host: str, port: int) -> int:
    """Run the client on this process's standard input and output. Return the exit status."""
    try:
        addresses = resolve(host, port)
    except OSError as error:
        complain(str(error))
        return FAILED
    from twisted.internet import reactor as installed  # here, because importing it chooses and installs one

    reactor = cast("EPollReactor", installed)  # or one with the same methods
    server = f"{quote(host)[1:-1]} port {port}"
    console = Console(complain, server, terminal=os.isatty(0), pipe=output_is_pipe())
    opened = UDPSocket(reactor, addresses)
    plain = Plain(reactor, opened, console, reactor.stop)
    try:
        opened.open(plain.conversation)
    except UnreachableError as error:
        complain(f"there is no way to {server}: {error}; check the network and the address")
        return FAILED
    run_on_stdio(reactor, plain, plain.interrupt)
    return plain.status
