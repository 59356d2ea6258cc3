"""One connection: requests one after another, each of which ends in time; or a stream of events, and nothing more.

It is Twisted's HTTPChannel, which reads heads and bodies; from which request to which it goes, and for how long it
waits, is decided here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from zope.interface import implementer

from groupchat.core.limits import (
    MAX_WEB_AHEAD,
    MAX_WEB_HEAD,
    MAX_WEB_HEADERS,
    WEB_HEAD_SECONDS,
    WEB_IDLE_SECONDS,
    WEB_LINGER_SECONDS,
)
from groupchat.frontends.connections import IConnected
from groupchat.frontends.web import answers
from groupchat.frontends.web.answers import Answer, Refusal
from groupchat.frontends.web.request import Request

if TYPE_CHECKING:
    from groupchat.frontends.web.site import Site

MALFORMED = Refusal(400, "That is no request that this server understands.")
TOO_LARGE = Refusal(431, "The head of that request is too large.")
TOO_SLOW = Refusal(408, "That request took too long.")


@implementer(IConnected, IHalfCloseableProtocol)
class Channel(HTTPChannel):
    """See HTTPChannel. `wait` says for how many seconds it may be as it is now: then it is closed."""

    transport: Any
    requestFactory: Any = Request
    maxHeaders = MAX_WEB_HEADERS
    totalHeadersSize = MAX_WEB_HEAD
    MAX_LENGTH = MAX_WEB_HEAD
    timeOut = None
    _optimisticEagerReadSize = MAX_WEB_AHEAD

    def __init__(self, web: Site, host: str) -> None:
        super().__init__()
        self.web = web
        self.host = host
        self.stream: Any = None
        self.closing = False
        self._lingers = False
        self._reads = False  # a head is being read
        self._untaken = 0  # how many bytes of an answer are there to be taken
        self._done: Request | None = None  # it was answered, and its answer is to be taken before the next is read

    # The transport

    def connectionMade(self) -> None:
        super().connectionMade()
        self.web.registry.opened(self, self.transport)
        self.web.registry.named(self)  # from here on it is looked after here
        self.wait(self.web.registry.limits.name_within)

    def dataReceived(self, data: bytes) -> None:
        if self.closing or self.stream is not None:
            return
        if not self.requests and not self._reads and not self._lingers:
            self._reads = True
            self.wait(WEB_HEAD_SECONDS)
        try:
            super().dataReceived(data)
        except Exception:
            self.web.service.survive("reading a request")
            self.drop()

    def rawDataReceived(self, data: bytes) -> None:
        if self.stream is None:  # else it is thrown away, so that the end of it is heard of
            super().rawDataReceived(data)

    def readConnectionLost(self) -> None:
        """The other side sends nothing more. It may wait for the answer to what it asked, and to nothing else."""
        self.persistent = False
        if self.stream is not None:
            self.drop()
        elif not (self.requests and self.requests[0].is_whole):
            self.finish()

    def writeConnectionLost(self) -> None:
        self.drop()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closing = True
        self.wait(0)
        self.web.registry.closed(self)
        self._taken()
        if self.stream is not None:
            self.stream.lost()
        super().connectionLost(reason)

    def lineLengthExceeded(self, line: bytes) -> None:
        self.fail(TOO_LARGE)

    def lineReceived(self, line: bytes) -> None:
        if self._receivedHeaderSize + len(line) > self.totalHeadersSize or self._receivedHeaderCount >= self.maxHeaders:
            self.fail(TOO_LARGE)
        else:
            super().lineReceived(line)

    def _respondToBadRequestAndDisconnect(self) -> None:
        self.fail(MALFORMED)

    # Requests

    def allHeadersReceived(self) -> None:
        request = self.requests[-1]
        self._reads = False
        self.persistent = self.checkPersistence(request, self._version) and not self.web.stopping
        self.wait(WEB_HEAD_SECONDS)  # for its body
        request.arrived(self._command, self._path, self._version, self.length)

    def allContentReceived(self) -> None:
        if not self.requests or self.closing:  # it was refused
            self.finish()
            return
        self.wait(0)
        super().allContentReceived()

    def requestDone(self, request: Request) -> None:
        if self.closing:
            self.requests.clear()
        elif not request.is_whole:
            self.requests.clear()
            self._lingers = True
            self.persistent = False
            self.setRawMode()
            self.resumeNetwork()
            self.wait(WEB_LINGER_SECONDS)
        elif self.persistent and not self.web.stopping:
            if self.is_full:  # what was asked meanwhile waits: its answers would only be held, too
                self._done = request
                return
            self.wait(WEB_IDLE_SECONDS)
            super().requestDone(request)
        else:
            self.requests.clear()
            self.finish()

    @property
    def is_full(self) -> bool:
        """Whether what was written is not taken yet."""
        return bool(self._waitingForTransport)

    def answered(self, size: int) -> None:
        """An answer of so many bytes was written."""
        if self.is_full and not self._untaken and not self.closing:
            self._untaken = size
            self.web.untaken.hold(self.host, size)

    def _taken(self) -> None:
        if self._untaken:
            self.web.untaken.let_go(self.host, self._untaken)
            self._untaken = 0

    def pauseNetwork(self) -> None:
        self._networkProducer.pauseProducing()

    def resumeNetwork(self) -> None:
        self._networkProducer.resumeProducing()

    # Streams

    def become(self, stream: Any) -> None:
        """Nothing more is read here: a stream is written to."""
        self.requests.clear()
        self.stream = stream
        self.registerProducer(stream, True)
        self.wait(0)

    # Ending

    def wait(self, seconds: float) -> None:
        """For how long it may be as it is now; 0 is for ever."""
        self.web.wait(self, seconds)

    def expired(self) -> None:
        """It was as it is for too long."""
        if self.closing:
            self.drop()
        elif self._lingers:
            self.finish()
        elif self.stream is None and (self._reads or self.requests) and not self._waitingForTransport:
            self.fail(TOO_SLOW)
        elif self.requests or self.stream is not None:
            self.drop()
        else:
            self.finish()

    def pauseProducing(self) -> None:
        super().pauseProducing()
        if self.stream is None:
            self.wait(self.web.stall)

    def resumeProducing(self) -> None:
        super().resumeProducing()
        self._taken()
        if self.stream is None:
            self.wait(0 if self._handlingRequest else WEB_IDLE_SECONDS)
        done, self._done = self._done, None
        if done is not None and not self.closing:
            self.requestDone(done)

    def fail(self, why: Refusal) -> None:
        """Say what is wrong, if nothing was said yet, and close."""
        self.say(why.answer())

    def say(self, answer: Answer) -> None:
        if self.closing:
            return
        if not self._lingers and not (self.requests and self.requests[0].startedWriting):
            self.transport.write(answers.whole(answer))
        self.finish()

    def finish(self) -> None:
        """Close, once what was written is taken."""
        if not self.closing:
            self.closing = True
            self.loseConnection()
            self.wait(self.web.stall)

    def close(self, *why: str) -> None:
        """The daemon stops: what is under way ends first."""
        if self.stream is not None:
            self.stream.stop()
        elif not self.requests:
            self.finish()
        else:
            self.persistent = False

    def drop(self) -> None:
        """Close at once."""
        self.closing = True
        self.transport.abortConnection()
