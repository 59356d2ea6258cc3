"""The plain client: lines of standard input go out as requests, one at a time, and replies go to standard output.

Standard output carries what the server says and nothing else; everything the client has to say goes through `complain`.
"""

from __future__ import annotations

import os
import signal
import stat
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, cast
from typing import Protocol as Interface

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.stdio import StandardIO
from twisted.python.failure import Failure
from zope.interface import implementer

from groupchat.client.lines import LineSplitter, TooLong
from groupchat.client.messages import CLOSE, ILLEGAL, LEAVE, MAX_DATAGRAM, is_join, is_repeatable
from groupchat.client.text import clean, quote
from groupchat.client.udp import ANSWER_SECONDS, TRIES, Conversation, Link, Route, UnreachableError, resolve

if TYPE_CHECKING:
    from twisted.internet.epollreactor import EPollReactor

LINES_AHEAD = 100
"""More lines than this waiting, and input is not read until they are fewer. One read is at most 64 KiB."""

LAST_SECONDS = ANSWER_SECONDS + 0.5
"""The most an interrupted client takes: to wait for the answer to its `4`, and to write out what it has."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
FAILED = 1


class Console:
    """What the client is run from and how it speaks up. `where` is the server in words, for messages."""

    def __init__(self, complain: Callable[[str], None], where: str, *, terminal: bool, pipe: bool) -> None:
        self.complain = complain
        self.where = where
        self.terminal = terminal  # a person types: what fails is said, and the next line is awaited
        self.pipe = pipe  # the output's reader may go, and means nothing by it


class Stdio(Interface):
    """What is used of `StandardIO`, which has no annotations."""

    def write(self, data: bytes) -> None: ...

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """The producer is paused while the output takes no more."""

    def unregisterProducer(self) -> None: ...

    def loseConnection(self) -> None:
        """Write out what is written, then `connectionLost`; the latter not, if the output was lost before."""

    def pauseProducing(self) -> None:
        """Read no input, until `resumeProducing`."""

    def resumeProducing(self) -> None: ...


@implementer(IHalfCloseableProtocol, IPushProducer)
class Plain(Protocol):
    """Standard input and output. `over` is called once, when all is said and written; `status` is then final."""

    def __init__(self, clock: IReactorTime, route: Route, console: Console, over: Callable[[], None]) -> None:
        self.status = 0
        self.conversation = Conversation(clock, route, self, tries=None if console.terminal else TRIES)
        self._clock = clock
        self._console = console
        self._over: Callable[[], None] | None = over
        self._splitter = LineSplitter(MAX_DATAGRAM)
        self._queue: deque[bytes | TooLong] = deque()
        self._input_ended = False
        self._output_gone = False
        self._output_full = False
        self._leaving = False
        self._hurried = False

    # Standard input

    def dataReceived(self, data: bytes) -> None:
        self._take(self._splitter.feed(data))
        if len(self._queue) > LINES_AHEAD:
            self._stdio.pauseProducing()

    def readConnectionLost(self) -> None:
        if not self._input_ended:
            self._take(self._splitter.finish())
            self._end_input()

    def _take(self, lines: list[bytes | TooLong]) -> None:
        if not self._input_ended:
            self._queue.extend(lines)
            self._next()

    def _end_input(self) -> None:
        self._input_ended = True
        self.conversation.tries = TRIES  # nobody is left to interrupt a wait without end
        self._next()

    def _next(self) -> None:
        """Send what comes next, if it may be sent now: a line, or at the end of input the `4`."""
        while self.conversation.outstanding is None and not self._output_full and not self._leaving:
            if self._queue:
                self._send(self._queue.popleft())
            elif self._input_ended:
                self._leave()
            else:
                return

    def _send(self, line: bytes | TooLong) -> None:
        if len(self._queue) == LINES_AHEAD:
            self._stdio.resumeProducing()
        if isinstance(line, TooLong):
            self._fail(f"a line of {line.length} bytes was not sent: a datagram holds at most {MAX_DATAGRAM}")
        else:
            self.conversation.ask(line)

    # The conversation

    def heard(self, reply: bytes) -> None:
        text = clean(reply)
        if text:
            self._stdio.write(f"{text}\n".encode())

    def answered(self, request: bytes, reply: bytes) -> None:
        if is_join(request) and reply == ILLEGAL and not self._console.terminal:
            self.status = self.status or FAILED  # a script sees nothing but the status
        if self._leaving or (request == LEAVE and reply == CLOSE):
            self._end()
        else:
            self._next()

    def waiting(self, request: bytes, seconds: int) -> None:
        self._console.complain(f"no answer to {quote(request)} within {seconds} seconds; asking again")

    def unanswered(self, request: bytes, seconds: int, times: int) -> None:
        missing = f"no answer to {quote(request)} within {seconds} seconds"
        if is_repeatable(request):
            self._fail(f"{missing}, asked {times} times; is {self._console.where} the right place?")
            self._leave()
        else:
            self._fail(f"{missing}; it may or may not have been heard")
            self._end() if self._leaving else self._next()

    def unheard(self, request: bytes, reason: str) -> None:
        problem = f"{quote(request)} was not heard on {self._console.where}: {reason}"
        self._fail(f"{problem}; check the host and the port, and that the daemon runs there")
        if self._console.terminal and self.conversation.met and not self._leaving:
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
        """`writeConnectionLost` tells the same."""

    def connectionMade(self) -> None:
        self._stdio = cast(Stdio, self.transport)
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
        if not self._console.pipe:
            self._fail("standard output cannot be written to")

    # The end

    def interrupt(self, number: int) -> None:
        """A signal came: the first one leaves the group and ends, the second ends at once."""
        self.status = 128 + number
        if self._hurried:
            self.finish()
        else:
            self._hurry()

    def _hurry(self) -> None:
        """Leave now, without what is still queued or outstanding, and end within LAST_SECONDS."""
        self._hurried = True
        self._clock.callLater(LAST_SECONDS, self.finish)
        if not self._leaving:
            self.conversation.abandon()
            self._leave()

    def _leave(self) -> None:
        self._leaving = True
        self._input_ended = True
        self._queue.clear()
        self._stdio.pauseProducing()
        if self.conversation.membership.possible:
            self.conversation.ask(LEAVE)
        else:
            self._end()

    def _end(self) -> None:
        """Write out what is still to be written, then finish."""
        self._leaving = True
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


def talk(host: str, port: int, complain: Callable[[str], None]) -> int:
    """Run the client on this process's standard input and output. Returns the exit status."""
    try:
        addresses = resolve(host, port)
    except OSError as error:
        complain(str(error))
        return FAILED
    where = f"{quote(os.fsencode(host))[1:-1]} port {port}"
    from twisted.internet import reactor as installed  # here, because importing it chooses and installs one

    reactor = cast("EPollReactor", installed)  # or one with the same methods
    standard_io: Callable[..., object] = StandardIO
    output = os.fstat(1).st_mode
    pipe = stat.S_ISFIFO(output) or stat.S_ISSOCK(output)
    console = Console(complain, where, terminal=os.isatty(0), pipe=pipe)
    link = Link(reactor, addresses)
    plain = Plain(reactor, link, console, reactor.stop)
    try:
        link.open(plain.conversation)
    except UnreachableError as error:
        complain(f"there is no way to {where}: {error}; check the network and the address")
        return FAILED
    # What was ignored when we were started, by nohup or in the background, stays so.
    heeded = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]

    def start() -> None:
        for number in heeded:
            signal.signal(number, lambda received, _: reactor.callFromThread(plain.interrupt, received))
        standard_io(plain, reactor=reactor)

    blocking = [os.get_blocking(number) for number in (0, 1)]
    reactor.callWhenRunning(start)
    reactor.run()
    for number, was_blocking in enumerate(
        blocking
    ):  # whoever shares them, as the shell does, expects them as they were
        os.set_blocking(number, was_blocking)
    return plain.status
