"""The view for pipes and scripts: each line of standard input is typed, and what comes goes to standard output.

Lines of the group, answers and the server's words are written as they are, or, with `json`, everything as one object a
line. Problems and the state of the connection go to standard error.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from groupchat.client.chat import Chat
from groupchat.client.files.progress import Bar
from groupchat.client.lines import LineSplitter, TooLong
from groupchat.client.text import quote
from groupchat.client.view import Shown

MAX_LINE = 65_507
"""The longest line in bytes that is read. No server accepts as much."""

AHEAD = 100
"""The most commands that may be unanswered before no more input is read."""


@implementer(IHalfCloseableProtocol, IPushProducer)
class Piped(Protocol):
    """A View on standard input and output. `over` is called once, when all is written."""

    def __init__(
        self, complain: Callable[[str], None], over: Callable[[], None], *, json: bool, pipe: bool = True
    ) -> None:
        self.chat: Chat  # set by the owner
        self._complain = complain
        self._over: Callable[[], None] | None = over
        self._json = json
        self._pipe = pipe  # the reader of the output may close it
        self._output_gone = False
        self._has_output = False
        self._splitter = LineSplitter(MAX_LINE)
        self._lines: list[str] = []  # read, and not typed yet
        self._question: Callable[[str], None] | None = None
        self._input_ended = False
        self._joined = False
        self._hurried = False
        self._reading = True
        self._closing = False

    # Standard input and output

    def connectionMade(self) -> None:
        self._stdio.registerProducer(self, True)
        self.chat.proceed = self.proceed
        self.chat.start()

    @property
    def _stdio(self) -> Any:  # StandardIO has no annotations
        return self.transport

    def dataReceived(self, data: bytes) -> None:
        self._take(self._splitter.feed(data))

    def readConnectionLost(self) -> None:
        self._take(self._splitter.finish())
        self._input_ended = True
        self.proceed()

    def writeConnectionLost(self) -> None:
        self._output_gone = True
        self._output_failed()
        self.hurry()  # there is nobody to wait for
        self.chat.leave()
        if self._closing:
            self.abandon()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not reason.check(ConnectionDone):
            self._output_failed()
        self.abandon()

    def _output_failed(self) -> None:
        if self._has_output and not self._pipe:  # a closed descriptor is lost even if nothing is written
            self.chat.status = self.chat.status or 1
            self._complain("standard output cannot be written to")

    def hurry(self) -> None:
        """Receive the answer to leaving even if nobody reads the output that comes before it."""
        self._hurried = True
        self.chat.session.resume()

    def abandon(self) -> None:
        """End at once. Output that is not written yet is lost."""
        over, self._over = self._over, None
        if over is not None:
            over()

    def pauseProducing(self) -> None:
        if not self._hurried:
            self.chat.session.pause()

    def resumeProducing(self) -> None:
        self.chat.session.resume()

    def stopProducing(self) -> None:
        """Do nothing: `connectionLost` is called as well."""

    # Typing

    def _take(self, lines: Sequence[bytes | TooLong]) -> None:
        for line in lines:
            if isinstance(line, TooLong):
                self.chat.not_done(f"A line of {line.length} bytes is longer than any that can be said.")
            else:
                self._lines.append(line.decode(errors="replace"))
        self.proceed()

    def proceed(self) -> None:
        """Type as many lines as may be typed now."""
        while self._lines and not self.chat.is_leaving and (self._question is not None or self.chat.pending < AHEAD):
            line = self._lines.pop(0)
            question, self._question = self._question, None
            if question is not None:
                question(line.strip())
            else:
                self.chat.typed(line)
        if self._input_ended and not self._lines:
            if self._joined or self._question is not None:  # joined first, even if there is nothing to say
                self.chat.leave()
        elif self._reading != (len(self._lines) < AHEAD) and not self._input_ended:
            self._reading = not self._reading
            (self._stdio.resumeProducing if self._reading else self._stdio.pauseProducing)()

    # View

    def show(self, lines: Sequence[Shown]) -> None:
        written = []
        for line in lines:
            if self._json:
                written.append(_object(line))
            elif line.kind in ("state", "problem", "file"):
                self._complain(line.text)
            elif line.kind == "answer":
                written.append(f"* {line.text}")
            elif line.kind != "own":
                written.append(line.line)
        if written and not self._closing:
            self._has_output = True
            self._stdio.write("".join([f"{line}\n" for line in written]).encode())

    def ask(self, question: str, then: Callable[[str], None], *, secret: bool = False) -> None:
        self._complain(question)
        self._question = then
        self.proceed()

    def name_is(self, name: str) -> None:
        self._joined = True

    def show_progress(self, bars: Sequence[Bar]) -> None:
        """Do nothing: progress is only shown on a terminal."""

    def close(self) -> None:
        if not self._closing:
            if any(line.strip() for line in self._lines) and not self.chat.status:
                self.chat.not_done(f"Not said, as the chat ended before: {quote(self._lines[0])}, and what follows.")
            self._closing = True
            if self._output_gone:  # `connectionLost` would not be called
                self.abandon()
                return
            self._stdio.unregisterProducer()
            self._stdio.loseConnection()


def _object(shown: Shown) -> str:
    at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    found: dict[str, object] = {"at": at, "kind": shown.kind}
    if shown.number:
        found["number"] = shown.number
    if shown.name:
        found["name"] = shown.name
    if shown.text:
        found["text"] = shown.text
    if shown.waits:
        found["waits"] = True
    found |= shown.about
    return json.dumps(found, ensure_ascii=False)
