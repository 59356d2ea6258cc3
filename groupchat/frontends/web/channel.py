"""One HTTP connection: it carries one request after another, or becomes one stream of events.

Twisted's HTTPChannel reads heads and bodies. This module decides which state follows which, and how long each may last.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from zope.interface import implementer

from groupchat.core.limits import (
    MAX_WEB_HEAD,
    MAX_WEB_HEADERS,
    STOP_STALL,
    WEB_HEAD_SECONDS,
    WEB_IDLE_SECONDS,
    WEB_LINGER_SECONDS,
)
from groupchat.core.numbers import MAX_DIGITS
from groupchat.frontends.connections import IConnected
from groupchat.frontends.turn_budget import PER_KIB, REQUEST
from groupchat.frontends.web import answers
from groupchat.frontends.web.answers import Refusal
from groupchat.frontends.web.chunk_reader import ChunkReader
from groupchat.frontends.web.dispatch import dispatch
from groupchat.frontends.web.request import Request
from groupchat.frontends.web.site import Site

MALFORMED = Refusal(400, "This server does not understand that request.")
TOO_LARGE = Refusal(431, "The head of that request is too large.")
TOO_LONG = Refusal(413, "That body is too long.")
TOO_SLOW = Refusal(408, "That request took too long.")
CODED = Refusal(501, "This server understands no transfer coding but chunked.")

_NOT_ASCII = re.compile(rb"[\x80-\xff]")


class State(Enum):
    """The states of a connection."""

    IDLE = auto()  # between requests
    READING = auto()  # a head or a body arrives
    ANSWERING = auto()  # the whole request has arrived
    DRAINING = auto()  # the answer is written; the next request is read when the client has taken it
    STREAMING = auto()  # a stream is written; what arrives is thrown away
    LINGERING = auto()  # the request was refused; the rest of its body is thrown away
    CLOSING = auto()  # nothing more is read


@implementer(IConnected, IHalfCloseableProtocol)
class Channel(HTTPChannel):
    """See HTTPChannel. `is_full` is True while the client does not take what was written."""

    way = "web"
    transport: Any
    requestFactory: Any = Request
    maxHeaders = MAX_WEB_HEADERS
    totalHeadersSize = MAX_WEB_HEAD
    MAX_LENGTH = MAX_WEB_HEAD
    timeOut = None

    def __init__(self, site: Site, host: str) -> None:
        super().__init__()
        self.host = host
        self.is_full = False
        self.site = site
        self._state = State.IDLE
        self._stream: Any = None  # an EventStream
        self._turn = -1  # in which it was last answered
        self._head_bytes = 0
        self._header_lines = 0
        self._backlog = 0  # bytes of an answer that the client does not take
        self._chunks: ChunkReader | None = None  # of the body that arrives
        self._held = set[str]()  # why nothing is read

    # The transport

    def connectionMade(self) -> None:
        super().connectionMade()
        registry = self.site.registry
        registry.opened(self, self.transport)
        self._opened = registry.clock.seconds()
        registry.named(self)  # the registry waits for a name no longer: the channel sets its own deadlines
        self.wait(registry.limits.name_within)

    def dataReceived(self, data: bytes) -> None:
        if self._state in (State.STREAMING, State.CLOSING):
            return
        self._begin_reading()
        try:
            super().dataReceived(data)
        except Exception:
            self.site.service.survive("reading a request")
            self.drop()

    def rawDataReceived(self, data: bytes) -> None:
        if self._chunks is not None:
            self._chunks.feed(data)
        elif self._state is not State.STREAMING:  # HTTPChannel would keep it, and then stop reading
            super().rawDataReceived(data)

    def readConnectionLost(self) -> None:
        """Handle the end of the client's input: it still gets the answer to a complete request."""
        self.persistent = False
        if self._state is State.STREAMING:
            self.drop()
        elif self._state not in (State.ANSWERING, State.DRAINING):
            self.finish()

    def writeConnectionLost(self) -> None:
        self.drop()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._state is not State.CLOSING:
            self.transport.unregisterProducer()  # TLS keeps it: a circle
        self._transferDecoder = None  # it knows this channel
        if self._chunks is not None:
            self._chunks.stop()
        self._state = State.CLOSING
        self.wait(0)
        self.site.registry.closed(self)
        self._end_backlog()
        if self._stream is not None:
            self._stream.lost()
        super().connectionLost(reason)

    # Reading a request

    def _begin_reading(self) -> None:
        if self._state is State.IDLE:
            self._state = State.READING
            self.wait(WEB_HEAD_SECONDS)

    def lineReceived(self, line: bytes) -> None:
        """Refuse a head that is too large with a 431: HTTPChannel would send a 400."""
        if not self.requests:
            self._begin_reading()  # the line may have arrived with the request before it
            if not line.isascii():
                line = _encoded(line)
            if len(line) > MAX_WEB_HEAD:
                self.fail(TOO_LARGE)
                return
            super().lineReceived(line)
            if self.requests and self._state is not State.CLOSING:
                self._head_bytes, self._header_lines = len(line), 0
                self.requests[0].request_line(line)
            return
        self._head_bytes += len(line)
        self._header_lines += bool(line)
        if self._head_bytes > MAX_WEB_HEAD or self._header_lines > MAX_WEB_HEADERS:
            self.fail(TOO_LARGE)
        else:
            super().lineReceived(line)

    def lineLengthExceeded(self, line: bytes) -> None:
        self.fail(TOO_LARGE)

    def headerReceived(self, line: bytes) -> bool:
        """Refuse what HTTPChannel would convert or take: a length of too many digits, and bare ends of lines."""
        name, _, value = line.partition(b":")
        if b"\n" in line or b"\r" in line or b"\0" in line:  # Twisted before 26.10 lets them pass
            self.fail(MALFORMED)
            return False
        name = name.lower()
        if name == b"content-length":
            if len(value.strip(b" \t")) > MAX_DIGITS or self._chunks is not None:
                self.fail(TOO_LONG if self._chunks is None else MALFORMED)
                return False
        elif name == b"transfer-encoding":
            return self._begin_chunks(value.strip(b" \t").lower())
        elif name.startswith(b"if-"):
            self.requests[0].is_conditional = True
        return bool(super().headerReceived(line))

    def _begin_chunks(self, coding: bytes) -> bool:
        """Expect a chunked body: RFC 9112, sections 6.1 and 6.3. Return False if the header is refused."""
        request = self.requests[0]
        has_length = self._chunks is not None or request.requestHeaders.hasHeader(b"Content-Length")
        if has_length or request.clientproto == b"HTTP/1.0" or not re.search(rb"(^|[ \t,])chunked$", coding):
            self.fail(MALFORMED)
            return False
        if coding != b"chunked":
            self.fail(CODED)
            return False
        self._chunks, self.length = ChunkReader(self, self.site.registry.budget), None
        return True

    def chunk_received(self, data: bytes) -> None:
        if self.requests:  # it was not refused
            self.requests[0].handleContentChunk(data)

    def chunks_ended(self, rest: bytes) -> None:
        self._chunks = None
        self.allContentReceived()
        self.dataReceived(rest)

    def chunks_malformed(self) -> None:
        self.fail(MALFORMED)

    def _respondToBadRequestAndDisconnect(self) -> None:
        """Answer in the same form as every other error.

        Twisted has no public hook for a malformed request. It would write a status line and nothing else, and wait
        without end for a client that does not take it.
        """
        self.fail(MALFORMED)

    def allHeadersReceived(self) -> None:
        request = self.requests[0]
        self.persistent = self.checkPersistence(request, request.clientproto) and not self.site.stopping
        self.wait(WEB_HEAD_SECONDS)  # for the body
        request.headReceived(self.length)

    def dispatch(self, request: Request) -> None:
        dispatch(self.site, request)

    def allContentReceived(self) -> None:
        if not self.requests or self._state is State.CLOSING:  # it was refused
            self.finish()
            return
        self._state = State.ANSWERING
        self.wait(0)
        super().allContentReceived()

    # Answering

    def may_answer(self) -> bool:
        """Return True if one more request may be answered in this turn, which then counts as begun."""
        budget = self.site.registry.budget
        if budget.room <= 0 or self._turn == budget.turn:
            return False
        self._turn = budget.turn
        budget.spend(REQUEST)
        return True

    def answered(self, size: int) -> None:
        """Count an answer of so many bytes as work, and as backlog until the client takes it."""
        self.site.registry.budget.spend(size * PER_KIB // 1024)
        if self.is_full and not self._backlog and self._state is not State.CLOSING:
            self._backlog = size
            self.site.backlog.add(self.host, size)

    def _end_backlog(self) -> None:
        if self._backlog:
            self.site.backlog.add(self.host, -self._backlog)
            self._backlog = 0

    def requestDone(self, request: Request) -> None:
        if self._state is State.CLOSING:
            self.requests.clear()
        elif not request.is_whole:
            self.requests.clear()
            self._state = State.LINGERING
            self.persistent = False
            self.setRawMode()
            self.resumeNetwork()
            self.wait(WEB_LINGER_SECONDS)
        elif not self.persistent or self.site.stopping:
            self.requests.clear()
            self.finish()
        elif self.is_full:
            self._state = State.DRAINING
        else:
            self._state = State.IDLE
            self.wait(WEB_IDLE_SECONDS)
            super().requestDone(request)

    def hold(self, reason: str, held: bool) -> None:
        """Read nothing for this reason; or, if `held` is false, go on unless there is another reason."""
        if held:
            self._held.add(reason)
            self.transport.pauseProducing()
        else:
            self._held.discard(reason)
            if not self._held and self._state is not State.CLOSING:
                self.transport.resumeProducing()

    def pauseNetwork(self) -> None:
        self.hold("request", True)

    def resumeNetwork(self) -> None:
        self.hold("request", False)

    def become(self, stream: Any) -> None:
        """Carry this stream, and no more requests."""
        self.requests.clear()
        self._stream = stream
        self.registerProducer(stream, True)
        if self._state is not State.CLOSING:
            self._state = State.STREAMING
            self.wait(0)

    def pauseProducing(self) -> None:
        self.is_full = True
        super().pauseProducing()
        if self._state is not State.STREAMING:
            self.wait(self.site.stall)

    def resumeProducing(self) -> None:
        self.is_full = False
        if self._state is not State.STREAMING:
            self.wait(0 if self._state is State.ANSWERING else WEB_IDLE_SECONDS)
        super().resumeProducing()  # a download may write at once, and be full again
        self._end_backlog()
        if self._state is State.DRAINING:
            self.requestDone(self.requests[0])

    # Ending

    def wait(self, seconds: float) -> None:
        """Set how long the state may last; 0 is without end."""
        self.site.deadlines.set(self.expired, seconds)

    def expired(self) -> None:
        """Handle a state that has lasted too long."""
        if self._state in (State.IDLE, State.LINGERING):
            self.finish()
        elif self._state in (State.READING, State.ANSWERING) and not self.is_full:
            self.fail(TOO_SLOW)
        else:
            self.drop()

    def fail(self, why: Refusal) -> None:
        """Close, and say why, if no other answer was begun."""
        begun = self._state is State.LINGERING or (self.requests and self.requests[0].startedWriting)
        if not begun and self._state is not State.CLOSING:
            self.transport.write(answers.serialized(why.answer()))
        self.finish()

    def finish(self) -> None:
        """Close once the client has taken what was written."""
        if self._state is not State.CLOSING:
            self._state = State.CLOSING
            self.loseConnection()
            self.wait(self.site.stall)

    def close(self, *why: str) -> None:
        """Close after the request that is under way: the daemon stops. That of a new connection is waited for."""
        if self._state is State.STREAMING:
            self._stream.stop()
        elif not self.requests and self._turn < 0 and self.site.clock.seconds() - self._opened < STOP_STALL:
            pass  # the registry drops it if there comes none
        elif not self.requests:
            self.finish()
        else:
            self.persistent = False

    def drop(self) -> None:
        """Close at once."""
        self._state = State.CLOSING
        self.transport.abortConnection()


def _encoded(line: bytes) -> bytes:
    """Encode the bytes of a target that are not ASCII: people and programs write UTF-8 there as it is."""
    method, space, rest = line.partition(b" ")
    return method + space + _NOT_ASCII.sub(lambda found: b"%%%02X" % found[0][0], rest)
