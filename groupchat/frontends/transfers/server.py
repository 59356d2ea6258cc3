"""What the answers to all streams have in common: see transfers.py for what a stream may ask.

An answer is a protocol that has a stream to itself, once its first line is read. It says why it ends, or it ends well.
One that waits for the other side waits for a bounded time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from groupchat.core.errors import IllegalMessage, NotNow
from groupchat.core.group import Member
from groupchat.core.limits import MAX_DOWNLOADS_EACH, MAX_LISTED, MAX_LISTED_EACH, MAX_UPLOADS, MAX_UPLOADS_EACH
from groupchat.files import IShelf
from groupchat.frontends.connections import ConnectionRegistry
from groupchat.wire import files as wire_files

REMEMBERED_SECONDS = 600
"""For how long it is remembered what was uploaded: who did not hear of it sends it again."""

REMEMBERED = 1_000
"""How many uploads that is of, at most."""

STOP_SECONDS = 10.0
"""How long stopping waits for files of which all came."""

STOPPING = "The server is stopping: try again later."

Upload = tuple[object, ...]
"""Whose a file is, and which one: the same if it is sent again."""


@dataclass(eq=False, slots=True)
class Peer:
    """The other side of a connection, which may have many streams.

    `address` is its host and port now; `close` ends the whole connection, saying why. `trusted` once it gave the
    password, or if there is none.
    """

    host: str
    address: Callable[[], tuple[str, int] | None]
    close: Callable[[str], object]
    trusted: bool = False
    attempts: int = 0  # how many wrong passwords came from there
    uploads: int = 0  # how many are under way
    downloads: int = 0  # likewise
    listed: int = 0  # how many bytes of lists wait to be taken


class TransferServer:
    """Where streams ask for files. `lines` makes what takes a stream over that is to be a live line, for a peer."""

    def __init__(self, registry: ConnectionRegistry, shelf: IShelf, lines: Callable[[Peer], Protocol | None]) -> None:
        self.registry = registry
        self.service = registry.group_service
        self.shelf = shelf
        self.lines = lines
        self.answers: dict[Answer, Deferred[None]] = {}
        self.received = 0
        self.sent = 0
        self._uploads: dict[Upload, Answer] = {}  # that are under way
        self._listed = 0  # how many bytes of lists wait to be taken
        self._remembered: dict[Upload, tuple[float, str]] = {}
        self._stopping = False

    @property
    def stall(self) -> float:
        """After how many seconds somebody who does nothing is not waited for."""
        return float(self.service.settings.stall)

    def check_open(self) -> None:
        if self._stopping:
            raise NotNow(STOPPING)

    def displace(self, upload: Upload) -> Deferred[None]:
        """This very upload begins again: who had it before may be gone, and nobody knows yet. Fires once it ended."""
        earlier = self._uploads.get(upload)
        ended = None if earlier is None or not earlier.gives_way() else self.answers.get(earlier)
        if ended is None:
            return succeed(None)
        told: Deferred[None] = Deferred()
        ended.addCallback(lambda result: told.callback(None))
        return told

    def begin_upload(self, peer: Peer, upload: Upload, answer: Answer) -> None:
        """Raises NotNow if there are too many, or this one is under way."""
        if len(self._uploads) >= MAX_UPLOADS or peer.uploads >= MAX_UPLOADS_EACH:
            raise NotNow("Too many files are being sent: try again later.")
        if upload in self._uploads:
            raise NotNow("That file is being sent already.")
        self._uploads[upload] = answer
        peer.uploads += 1

    def end_upload(self, peer: Peer, upload: Upload) -> None:
        self._uploads.pop(upload, None)
        peer.uploads -= 1

    def begin_download(self, peer: Peer) -> None:
        """Raises NotNow if there are too many."""
        if peer.downloads >= MAX_DOWNLOADS_EACH:
            raise NotNow("You are fetching too many files at once: try again later.")
        peer.downloads += 1

    def hold_list(self, peer: Peer, size: int) -> None:
        """So many bytes wait to be taken; fewer, if it is below zero. Raises NotNow if they are too many."""
        if size > 0 and (self._listed + size > MAX_LISTED or peer.listed + size > MAX_LISTED_EACH):
            raise NotNow("Too many lists of files are being sent: try again later.")
        self._listed += size
        peer.listed += size

    def member_at(self, peer: Peer) -> Member | None:
        address = peer.address()
        return None if address is None else self.service.group.by_address.get(address)

    def remember(self, upload: Upload, name: str) -> None:
        """Somebody uploaded this, and is told that it has this name now."""
        now = self.registry.clock.seconds()
        while len(self._remembered) >= REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[upload] = (now, name)

    def recall(self, upload: Upload) -> str:
        """The name that this very upload got not long ago, or nothing."""
        at, name = self._remembered.get(upload, (float("-inf"), ""))
        return name if 0 <= self.registry.clock.seconds() - at < REMEMBERED_SECONDS else ""

    def opened(self, answer: Answer) -> None:
        self.answers[answer] = Deferred()

    def closed(self, answer: Answer) -> None:
        """Nothing of an answer is under way, or ever will be. May be called again."""
        ended = self.answers.pop(answer, None)
        if ended is not None:
            ended.callback(None)

    def stop(self) -> Deferred[Any]:
        """End what is under way. Fires when what came of files is kept, and what came of them whole is on the shelf.

        A group that does not say what became of a file, as when its log is broken, is not waited for for ever.
        """
        self._stopping = True
        uploads = [ended for answer, ended in self.answers.items() if answer.is_upload]
        for answer in tuple(self.answers):
            answer.stop()
        stopped: Deferred[Any] = Deferred()
        stopped.addTimeout(STOP_SECONDS, self.registry.clock, onTimeoutCancel=lambda result, seconds: None)
        DeferredList(uploads).addCallback(lambda result: None if stopped.called else stopped.callback(result))
        return stopped


@implementer(IHalfCloseableProtocol)
class Answer(Protocol):
    """One answer. `is_lost` once the stream has ended; `over` once all is said, or nothing more is to be."""

    transport: Any  # ITransport and IConsumer, of whatever kind
    is_upload = False

    def __init__(self, transfer_server: TransferServer, peer: Peer) -> None:
        self.transfer_server = transfer_server
        self.peer = peer
        self.is_lost = False
        self.over = False
        self._works = False
        self._alarm: IDelayedCall | None = None

    def begin(self) -> Deferred[Any] | None:
        """The transport is there. Returns what is under way from here on."""

    def connectionMade(self) -> None:
        self.transfer_server.opened(self)
        self._works = True
        maybeDeferred(self.begin).addErrback(self.fail).addBoth(self._has_worked)

    def _has_worked(self, _: object) -> None:
        self._works = False
        self._check_closed()

    def _check_closed(self) -> None:
        if not self._works and self.is_over:
            self.transfer_server.closed(self)

    @property
    def is_over(self) -> bool:
        return self.over or self.is_lost

    def readConnectionLost(self) -> None:
        """The other side has sent its end. It may go on reading."""

    def writeConnectionLost(self) -> None:
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.is_lost = True
        self.wait(0)
        self.stopped()
        self._check_closed()

    def gives_way(self) -> bool:
        """Another try of the same begins. Returns whether this one ends for it."""
        return False

    def stopped(self) -> None:
        """It is over: let what is under way know."""

    def wait(self, seconds: float) -> None:
        """Call `waited` in so many seconds, and not when it was to be called before; never with 0."""
        if self._alarm is not None and self._alarm.active():
            self._alarm.cancel()
        self._alarm = self.transfer_server.registry.clock.callLater(seconds, self._ring) if seconds else None

    def _ring(self) -> None:
        self.abort() if self.over else self.waited()

    def waited(self) -> None:
        """It took too long."""
        self.abort()

    def abort(self) -> None:
        """End at once: what was sent is not all."""
        self.over = True
        self.wait(0)
        self.stopped()
        if not self.is_lost:
            self.transport.abortConnection()
        self._check_closed()

    def end(self, last: bytes = b"") -> None:
        """Say this, and end, once that is taken; who does not take it is not waited for."""
        if self.is_over:
            return
        self.over = True
        self.wait(self.transfer_server.stall)
        self.stopped()
        if last:
            self.transport.write(last)
        self.transport.loseConnection()
        self._check_closed()

    def refuse(self, why: IllegalMessage) -> None:
        self.end(wire_files.refusal(why))

    def fail(self, failure: Failure) -> None:
        """What went wrong is told if it is the remote's to know, and else logged."""
        try:
            failure.raiseException()
        except IllegalMessage as why:
            self.refuse(why)
        except Exception:
            self.transfer_server.service.survive("answering a stream")
            self.refuse(NotNow("The server made a mistake: try again later."))

    def stop(self) -> None:
        """The daemon stops."""
        self.refuse(NotNow(STOPPING))
