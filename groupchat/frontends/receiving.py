"""PUT: a file from a stream to the shelf. No more of it is taken than is written, and the group is told at the end.

What came is kept for another try, however the stream ends: only what can never become that file is forgotten.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from zope.interface import implementer

from groupchat import filecodec
from groupchat.commands import Command, Share
from groupchat.errors import IllegalMessage, NotNow
from groupchat.filecodec import Put, Sender
from groupchat.files import IReceiving, Owner
from groupchat.frontends.desk import Answer, Desk, Peer, Upload
from groupchat.limits import FILE_CHUNK
from groupchat.seats import IClient, Seat

MAX_EARLY = 16 * FILE_CHUNK
"""How much may come that was not asked for, in bytes: a transport that is paused may have some more."""


@implementer(IClient)
class Uploading(Answer):
    """One file, whose head was read. `data` is what came behind it."""

    is_upload = True

    def __init__(self, desk: Desk, peer: Peer, asked: Put, sender: Sender) -> None:
        super().__init__(desk, peer)
        self._asked = asked
        self._sender = sender
        self._came: list[bytes] = []  # and is not written yet
        self._size = 0  # of that
        self._ended = False  # nothing more comes
        self._paused = False
        self._takes = True  # what comes is for the shelf
        self._more: Deferred[None] | None = None  # fires when something came, or nothing will
        self._told: Deferred[None] | None = None  # what became of the Share

    # The stream

    def dataReceived(self, data: bytes) -> None:
        if self.over or not self._takes:
            return
        self._came.append(data)
        self._size += len(data)
        if self._size > MAX_EARLY:
            self.abort()
            return
        if self._size >= FILE_CHUNK and not self._paused:
            self._paused = True
            self.transport.pauseProducing()
        self._wake()

    def readConnectionLost(self) -> None:
        self._ended = True
        self._wake()

    def stopped(self) -> None:
        self._wake()

    def waited(self) -> None:
        self.refuse(NotNow("Nothing more came: send the rest later."))

    def stop(self) -> None:
        if self._takes:
            super().stop()  # else it is whole, and waited for

    def _wake(self) -> None:
        more, self._more = self._more, None
        if more is not None:
            more.callback(None)

    def _take(self) -> bytes:
        data, self._came, self._size = b"".join(self._came), [], 0
        if self._paused and not self.is_over:
            self._paused = False
            self.transport.resumeProducing()
        return data

    # The upload

    @inlineCallbacks
    def begin(self) -> Generator[Deferred[Any], Any, None]:
        owner = self._owner()
        self.desk.check_open()
        upload = self._identity(owner)
        self.desk.begin_upload(self.peer, upload)
        try:
            name = self.desk.recall(upload)
            if name:
                self._say_again(name)
                return
            asked = self._asked
            self.desk.service.may_share(self.peer.host, owner.member, "" if owner.member else owner.name)
            receiving = yield self.desk.shelf.receive(asked.name, asked.size, asked.sha256, owner)
            yield self._receive(receiving, owner)
        finally:
            self.desk.end_upload(self.peer, upload)

    def _owner(self) -> Owner:
        """Who sends it. Raises IllegalMessage."""
        sender, group = self._sender, self.desk.service.group
        if sender.guest:
            return Owner(0, self.peer.host, sender.guest)
        member = group.by_secret.get(sender.secret) if sender.secret else self.desk.member_at(self.peer)
        if member is None:
            what = "session" if sender.secret else "member with your address and port"
            raise IllegalMessage(f"There is no such {what}.")
        return Owner(member.id, self.peer.host, member.name)

    def _identity(self, owner: Owner) -> Upload:
        asked = self._asked
        who = (owner.member,) if owner.member else (owner.host, owner.name)
        return (*who, asked.name, asked.size, asked.sha256)

    def _say_again(self, name: str) -> None:
        """It was uploaded not long ago, and its sender did not hear of that: nothing is told or kept twice."""
        self._takes = False
        self.transport.write(filecodec.go(self._asked.size))
        self.end(filecodec.done(name))

    @inlineCallbacks
    def _receive(self, receiving: IReceiving, owner: Owner) -> Generator[Deferred[Any], Any, None]:
        try:
            if not self.is_over:
                self.transport.write(filecodec.go(receiving.offset))
                yield self._write(receiving)
            if self.over or (self.is_lost and not self._ended):
                return
            self._takes = False
            self._rest()
            name = yield receiving.finish()
        finally:
            yield receiving.keep()  # unless it is over
        try:
            yield self._share(name, owner)
        except Exception:
            yield receiving.withdraw()
            raise
        self.desk.received += 1
        self.desk.remember(self._identity(owner), name)
        self.end(filecodec.done(name))

    @inlineCallbacks
    def _write(self, receiving: IReceiving) -> Generator[Deferred[Any], Any, None]:
        """All that comes, also if that is the last. Who sends nothing for too long is not waited for."""
        while True:
            if self._came:
                self._rest()
                yield receiving.write(self._take())
            elif self._ended or self.is_over:
                return
            else:
                self.wait(self.desk.stall)
                self._more = Deferred()
                yield self._more

    def _rest(self) -> None:
        """It is the disk that is waited for."""
        if not self.is_over:
            self.wait(0)

    @inlineCallbacks
    def _share(self, name: str, owner: Owner) -> Generator[Deferred[Any], Any, None]:
        """Tell the group. Fails with IllegalMessage if that is refused."""
        seat = Seat(self.peer.host)
        seat.client = self
        told = self._told = Deferred()
        guest = "" if owner.member else owner.name
        self.desk.service.submit(seat, Share(name, self._asked.size, owner.member, guest))
        yield told

    def answered(self, seat: Seat, command: Command) -> None:
        self._tell(None)

    def refused(self, seat: Seat, command: Command, why: IllegalMessage) -> None:
        self._tell(why)

    def dropped(self, seat: Seat, command: Command) -> None:
        self._tell(NotNow("The server cannot take that now: send it again."))

    def _tell(self, why: IllegalMessage | None) -> None:
        told, self._told = self._told, None
        if told is not None:
            told.errback(why) if why is not None else told.callback(None)
