"""The server of all streams that transfer files, and the base class of the handlers of their requests.

A handler is a protocol that takes over a stream once the request is read. It ends the stream with an answer or an
error, and waits for the other side only for a bounded time.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure
from zope.interface import implementer

from groupchat.core.errors import IllegalMessage, NotNow
from groupchat.core.limits import MAX_LISTED, MAX_LISTED_EACH, MAX_LISTED_HOST, MAX_UPLOADS_EACH
from groupchat.core.networks import is_loopback
from groupchat.files import STOPPING, IShelf
from groupchat.frontends.connections import ConnectionRegistry, HostCounter
from groupchat.wire import files as wire_files

REMEMBERED_SECONDS = 600
"""How long an upload is remembered. A sender that missed the answer sends the file again."""

REMEMBERED = 1_000
"""How many uploads are remembered at most."""

STOP_SECONDS = 10.0
"""How long stopping waits for complete files to be shared."""

MISTAKE = NotNow("The server made a mistake: try again later.")

UploadKey = tuple[object, ...]
"""The owner of a file and what was announced of it: the same if it is sent again."""


@dataclass(eq=False, slots=True)
class Peer:
    """The other side of a connection, which may have many streams.

    `address` returns its current host and port, if they are proven; `close` ends the connection with a reason. A peer
    is `trusted` once it gave the password, or if there is none.
    """

    way: ClassVar[str] = "quic"

    host: str
    address: Callable[[], tuple[str, int] | None]
    close: Callable[[str], object]
    trusted: bool = False
    attempts: int = 0  # wrong passwords
    downloads: int = 0  # under way
    listed: int = 0  # bytes of lists that are not taken yet


class TransferServer:
    """The transfers over all streams, and their limits. `lines` makes the protocol of a stream for live lines."""

    def __init__(self, registry: ConnectionRegistry, shelf: IShelf, lines: Callable[[Peer], Protocol | None]) -> None:
        self.registry = registry
        self.service = registry.group_service
        self.shelf = shelf
        self.lines = lines
        self.handlers: dict[RequestHandler, Deferred[None]] = {}
        """All handlers that are not done. The Deferred of each fires when it is."""
        self.uploads: dict[UploadKey, RequestHandler] = {}
        self._listed = HostCounter()
        self._remembered: dict[UploadKey, tuple[float, str]] = {}
        self._stopping = False

    def check_running(self) -> None:
        """Raise NotNow once the server is stopping."""
        if self._stopping:
            raise NotNow(STOPPING)

    def check_ban(self, peer: Peer) -> None:
        """Raise Excluded if the address of the peer is banned."""
        self.service.group.moderation.check(peer.host, None, None, self.service.seconds())

    # Limits

    def displace(self, upload: UploadKey) -> Deferred[Any]:
        """End an earlier try of this upload, whose peer may be gone without notice. Fires when it has ended."""
        earlier = self.uploads.get(upload)
        ended = self.handlers.get(earlier) if earlier is not None and earlier.give_way() else None
        return DeferredList([] if ended is None else [ended])

    def begin_upload(self, upload: UploadKey, handler: RequestHandler) -> None:
        """Count an upload. Raises NotNow if its peer has too many, or this one is under way."""
        own = sum(other.peer is handler.peer for other in self.uploads.values())
        if own >= MAX_UPLOADS_EACH:
            raise NotNow("Too many files are being sent: try again later.")
        if upload in self.uploads:
            raise NotNow("That file is being sent already.")
        self.uploads[upload] = handler

    def hold_list(self, peer: Peer, size: int) -> None:
        """Count bytes of lists that are not taken yet. A negative `size` frees them. Raises NotNow for too many."""
        if size > 0:
            most = MAX_LISTED if is_loopback(peer.host) else MAX_LISTED_HOST
            of_host, of_all = self._listed.of(peer.host), len(self._listed)
            if peer.listed + size > MAX_LISTED_EACH or of_host + size > most or of_all + size > MAX_LISTED:
                raise NotNow("Too many lists of files are being sent: try again later.")
        self._listed.add(peer.host, size)
        peer.listed += size

    # Completed uploads

    def remember(self, upload: UploadKey, name: str) -> None:
        """Remember the name that an upload got."""
        while len(self._remembered) >= REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[upload] = (self.registry.clock.seconds(), name)

    def recall(self, upload: UploadKey) -> str:
        """Return the name that this upload got not long ago, or an empty string."""
        at, name = self._remembered.get(upload, (float("-inf"), ""))
        return name if 0 <= self.registry.clock.seconds() - at < REMEMBERED_SECONDS else ""

    def stop(self) -> Deferred[Any]:
        """End all handlers. Fires when parts of files are kept, and complete files are shared.

        If the log is broken, sharing may never end; then it fires after STOP_SECONDS.
        """
        self._stopping = True
        uploads = [self.handlers[handler] for handler in self.uploads.values()]
        for handler in tuple(self.handlers):
            handler.stop()
        stopped: Deferred[Any] = Deferred()
        stopped.addTimeout(STOP_SECONDS, self.registry.clock, onTimeoutCancel=lambda result, seconds: None)
        DeferredList(uploads).addCallback(lambda result: None if stopped.called else stopped.callback(result))
        return stopped


class State(Enum):
    """The state of a handler's stream."""

    OPEN = "there is more to send"
    ENDING = "all is sent, but not all is taken"
    LOST = "the stream is gone"


@implementer(IHalfCloseableProtocol)
class RequestHandler(Protocol, TimeoutMixin):
    """The handler of one request, which has a stream to itself."""

    transport: Any  # ITransport and IConsumer

    def __init__(self, transfer_server: TransferServer, peer: Peer) -> None:
        self.transfer_server = transfer_server
        self.peer = peer
        self.state = State.OPEN
        self._working = False

    @property
    def is_over(self) -> bool:
        return self.state is not State.OPEN

    def begin(self) -> Coroutine[Deferred[Any], Any, None] | None:
        """Handle the request, unless the caller does. A failure is sent to the peer."""

    def stopped(self) -> None:
        """Stop what is under way: the state is no longer OPEN."""

    def timed_out(self) -> None:
        """Handle the end of the time that was given to `wait`."""
        self.abort()

    def give_way(self) -> bool:
        """End in favour of another try of the same upload. Returns False if it is too late for that."""
        return False

    def stop(self) -> None:
        """Stop because the daemon does."""
        self.refuse(NotNow(STOPPING))

    # The stream

    def connectionMade(self) -> None:
        self.transfer_server.handlers[self] = Deferred()
        self._working = True
        maybeDeferred(self.begin).addErrback(self.fail).addBoth(self._worked)

    def _worked(self, _: object) -> None:
        self._working = False
        self._check_closed()

    def _check_closed(self) -> None:
        """Forget this handler once it is done."""
        if not self._working and self.is_over:
            done = self.transfer_server.handlers.pop(self, None)
            if done is not None:
                done.callback(None)

    def readConnectionLost(self) -> None:
        """Ignore that the peer sends nothing more: it may go on reading."""

    def writeConnectionLost(self) -> None:
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._go_to(State.LOST, 0)
        self._check_closed()

    def _go_to(self, state: State, seconds: float) -> None:
        self.state = state
        self.wait(seconds)
        self.stopped()

    def wait(self, seconds: float) -> None:
        """Call `timed_out` after so many seconds, unless this is called again before; 0 is never."""
        self.setTimeout(seconds or None)

    def timeoutConnection(self) -> None:
        self.abort() if self.is_over else self.timed_out()

    def callLater(self, period: float, func: Callable[[], None]) -> IDelayedCall:
        return self.transfer_server.registry.clock.callLater(period, func)

    # The end

    def abort(self) -> None:
        """Reset the stream, so that the peer knows that not all was sent."""
        if self.state is not State.LOST:
            self._go_to(State.ENDING, 0)
            self.transport.abortConnection()
            self._check_closed()

    def end(self, last: bytes = b"") -> None:
        """Send this and end the stream. A peer that does not take it is dropped."""
        if not self.is_over:
            self._go_to(State.ENDING, self.transfer_server.service.settings.stall)
            if last:
                self.transport.write(last)
            self.transport.loseConnection()
            self._check_closed()

    def refuse(self, why: IllegalMessage) -> None:
        self.end(wire_files.refusal(why))

    def fail(self, failure: Failure) -> None:
        """Send an error to the peer. An error that is not its fault is logged."""
        try:
            failure.raiseException()
        except IllegalMessage as why:
            self.refuse(why)
        except Exception:
            self.transfer_server.service.survive("answering a stream")
            self.refuse(MISTAKE)
