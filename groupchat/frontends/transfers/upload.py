"""PUT: a file from a stream to the shelf. No more of it is taken than is written, and the group is told at the end.

What came is kept for another try, however the stream ends: only what can never become that file is forgotten.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks

from groupchat.core.commands import Share
from groupchat.core.errors import IllegalMessage, NotNow
from groupchat.core.limits import FILE_CHUNK
from groupchat.files import FileOwner, IReceiving
from groupchat.frontends import guests
from groupchat.frontends.transfers.inflow import Inflow
from groupchat.frontends.transfers.server import Answer, Peer, TransferServer, Upload
from groupchat.wire import files as wire_files
from groupchat.wire.files import Put, Sender

MAX_EARLY = 16 * FILE_CHUNK
"""How much may come that was not asked for, in bytes: a transport that is paused may have some more."""


class Uploading(Answer):
    """One file, whose head was read. `data` is what came behind it."""

    is_upload = True

    def __init__(self, transfer_server: TransferServer, peer: Peer, asked: Put, sender: Sender) -> None:
        super().__init__(transfer_server, peer)
        self._asked = asked
        self._sender = sender
        self._inflow = Inflow(self._hold, self._be_patient)
        self._takes = True  # what comes is for the shelf

    # The stream

    def dataReceived(self, data: bytes) -> None:
        if self.over or not self._takes:
            return
        self._inflow.feed(data)
        if self._inflow.size > MAX_EARLY:
            self.abort()

    def _hold(self, held: bool) -> None:
        self.transport.pauseProducing() if held else self.transport.resumeProducing()

    def readConnectionLost(self) -> None:
        self._inflow.end()

    def stopped(self) -> None:
        self._inflow.stop()

    def waited(self) -> None:
        self.refuse(NotNow("Nothing more came: send the rest later."))

    def gives_way(self) -> bool:
        if self._takes and not self.over:
            self.refuse(NotNow("That file is sent on another connection now."))
            self.stopped()
        return self._takes

    def stop(self) -> None:
        if self._takes:
            super().stop()  # else it is whole, and waited for

    # The upload

    @inlineCallbacks
    def begin(self) -> Generator[Deferred[Any], Any, None]:
        owner = self._owner()
        self.transfer_server.check_open()
        upload = self._identity(owner)
        yield self.transfer_server.displace(upload)
        if self.is_over:
            return
        self.transfer_server.begin_upload(self.peer, upload, self)
        try:
            name = self.transfer_server.recall(upload)
            if name:
                self._say_again(name)
                return
            asked = self._asked
            self.transfer_server.service.may_share(self.peer.host, owner.member, "" if owner.member else owner.name)
            receiving = yield self.transfer_server.shelf.receive(asked.name, asked.size, asked.sha256, owner)
            yield self._receive(receiving, owner)
        finally:
            self.transfer_server.end_upload(self.peer, upload)

    def _owner(self) -> FileOwner:
        """Who sends it. Raises IllegalMessage."""
        sender, group = self._sender, self.transfer_server.service.group
        if sender.guest:
            return FileOwner(0, self.peer.host, sender.guest)
        member = group.by_secret.get(sender.secret) if sender.secret else self.transfer_server.member_at(self.peer)
        if member is None:
            what = "session" if sender.secret else "member with your address and port"
            raise IllegalMessage(f"There is no such {what}.")
        return FileOwner(member.id, self.peer.host, member.name)

    def _identity(self, owner: FileOwner) -> Upload:
        asked = self._asked
        who = (owner.member,) if owner.member else (owner.host, owner.name)
        return (*who, asked.name, asked.size, asked.sha256)

    def _say_again(self, name: str) -> None:
        """It was uploaded not long ago, and its sender did not hear of that: nothing is told or kept twice."""
        self._takes = False
        self.transport.write(wire_files.go(self._asked.size))
        self.end(wire_files.done(name))

    @inlineCallbacks
    def _receive(self, receiving: IReceiving, owner: FileOwner) -> Generator[Deferred[Any], Any, None]:
        try:
            if not self.is_over:
                self.transport.write(wire_files.go(receiving.offset))
                yield self._inflow.write_to(receiving)
            if self.over or (self.is_lost and not self._inflow.ended):
                return
            self._takes = False
            self._be_patient(False)
            name = yield receiving.finish()
        finally:
            yield receiving.keep()  # unless it is over
        try:
            yield self._share(name, owner)
        except Exception:
            yield receiving.withdraw()
            raise
        self.transfer_server.received += 1
        self.transfer_server.remember(self._identity(owner), name)
        self.end(wire_files.done(name))

    def _be_patient(self, patient: bool) -> None:
        """Whether it is the other side that is waited for: not for too long. Or else it is the disk."""
        if not self.is_over:
            self.wait(self.transfer_server.stall if patient else 0)

    def _share(self, name: str, owner: FileOwner) -> Deferred[None]:
        """Tell the group. Fails with IllegalMessage if that is refused."""
        guest = "" if owner.member else owner.name
        share = Share(name, self._asked.size, owner.member, guest)
        return guests.submit(self.transfer_server.service, self.peer.host, share)
