"""The handlers of requests on streams: for a password, the list of files, a download and an upload."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from groupchat.core.errors import IllegalMessage, NotNow
from groupchat.core.limits import FILE_CHUNK, MAX_DOWNLOADS_EACH, PASSWORD_ATTEMPTS
from groupchat.files import File, FileOwner, IReading
from groupchat.frontends.transfers.download import Download
from groupchat.frontends.transfers.server import Peer, RequestHandler, State, TransferServer
from groupchat.frontends.transfers.upload import Phase, Upload
from groupchat.wire import files as wire_files
from groupchat.wire.files import Get, Put, Sender

MAX_EARLY = 16 * FILE_CHUNK
"""How many bytes may come unasked: a transport that is paused may still deliver some."""

_WRONG = IllegalMessage("That is not the password.")


class PasswordHandler(RequestHandler):
    """PASSWORD: a check that waits for its turn among those of the same host."""

    def __init__(self, transfer_server: TransferServer, peer: Peer, given: bytes) -> None:
        super().__init__(transfer_server, peer)
        self._given = given
        self._check: Deferred[bool] | None = None

    async def begin(self) -> None:
        registry, peer = self.transfer_server.registry, self.peer
        if registry.limits.password is not None and not peer.trusted:
            if peer.attempts >= PASSWORD_ATTEMPTS:
                raise _WRONG  # without a check: the connection is about to be closed
            self._check = registry.passwords.check(peer.host, peer, self._given)
            is_right = await self._check
            if self.is_over:
                return
            if not is_right:
                self._refuse_password()
                return
        peer.trusted = True
        self.end(wire_files.accepted())

    def _refuse_password(self) -> None:
        self.peer.attempts += 1
        self.refuse(_WRONG)
        if self.peer.attempts >= PASSWORD_ATTEMPTS:
            self.peer.close("That is not the password. Ask whoever runs this group for it.")

    def stopped(self) -> None:
        if self._check is not None:
            self._check.cancel()


class ListHandler(RequestHandler):
    """FILES: the list of all files. The lists that are not taken yet are bounded."""

    def __init__(self, transfer_server: TransferServer, peer: Peer) -> None:
        super().__init__(transfer_server, peer)
        self._size = 0

    async def begin(self) -> None:
        answer = await self.transfer_server.shelf.listing(_list_of)
        if self.is_over:
            return
        self.transfer_server.hold_list(self.peer, len(answer))
        self._size = len(answer)
        self.end(answer)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self.transfer_server.hold_list(self.peer, -self._size)


def _list_of(files: Sequence[File]) -> bytes:
    lines = [wire_files.entry(file.name, file.size, file.sha256, file.at) for file in files]
    return wire_files.count(len(files)) + b"".join(lines)


class DownloadHandler(RequestHandler):
    """GET: a file, once its hash is known."""

    def __init__(self, transfer_server: TransferServer, peer: Peer, get: Get) -> None:
        super().__init__(transfer_server, peer)
        self._get = get
        self._download: Download | None = None

    async def begin(self) -> None:
        if self.peer.downloads >= MAX_DOWNLOADS_EACH:
            raise NotNow("You are fetching too many files at once: try again later.")
        self.transfer_server.registry.downloads.take(self.peer.host)
        self.peer.downloads += 1
        try:
            reading = await self.transfer_server.shelf.open(self._get.name)
            try:
                if not self.is_over:
                    await self._send(reading)
            finally:
                await reading.close()
        finally:
            self.peer.downloads -= 1
            self.transfer_server.registry.downloads.give_back(self.peer.host)

    async def _send(self, reading: IReading) -> None:
        server, size, sha256 = self.transfer_server, reading.file.size, reading.file.sha256 or "-"
        offset = self._get.begin(size, sha256)
        self.transport.write(wire_files.sending(size, sha256, offset))
        self._download = Download(self.transport, server.registry.clock, server.service.settings.stall, self.wait)
        if await self._download.run(reading, range(offset, size)):
            self.end()
        else:
            self.abort()

    def stopped(self) -> None:
        if self._download is not None:
            self._download.stop()

    def stop(self) -> None:
        super().stop() if self._download is None else self.abort()


class UploadHandler(RequestHandler):
    """PUT: a file from the stream to the shelf. It is the `Source` of its Upload."""

    def __init__(self, transfer_server: TransferServer, peer: Peer, put: Put, sender: Sender) -> None:
        super().__init__(transfer_server, peer)
        self._put = put
        self._sender = sender
        self._upload = Upload(self, transfer_server.service)

    async def begin(self) -> None:
        server, put, owner = self.transfer_server, self._put, self._owner()
        server.check_running()
        key = (owner.member or (owner.host, owner.name), put)
        await server.displace(key)
        if self.is_over:
            return
        server.begin_upload(key, self)
        try:
            if name := server.recall(key):
                self.ask(put.size)
            else:
                server.service.may_share(owner.host, owner.member, owner.guest)
                opening = server.shelf.receive(put.name, put.size, put.sha256, owner)
                name = await self._upload.run(opening, owner)
                server.remember(key, name)
            self.end(wire_files.done(name))
        finally:
            del server.uploads[key]

    def _owner(self) -> FileOwner:
        """Return the owner of the file. Raises IllegalMessage."""
        sender, group = self._sender, self.transfer_server.service.group
        if sender.guest:
            return FileOwner(0, self.peer.host, sender.guest)
        address = self.peer.address()
        if sender.secret:
            member = group.by_secret.get(sender.secret)
        else:
            member = None if address is None else group.by_address.get(address)
        if member is None:
            what = "session" if sender.secret else "member with your address and port"
            raise IllegalMessage(f"There is no such {what}.")
        return FileOwner(member.id, self.peer.host, member.name)

    def ask(self, offset: int) -> None:
        self.transport.write(wire_files.go(offset))

    def hold(self, held: bool) -> None:
        self.transport.pauseProducing() if held else self.transport.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        if not self.is_over and self._upload.phase is not Phase.FINISHING:
            self._upload.feed(data)
            if self._upload.unwritten > MAX_EARLY:
                self.abort()

    def readConnectionLost(self) -> None:
        self._upload.end()

    def stopped(self) -> None:
        self._upload.lost() if self.state is State.LOST else self._upload.stop()

    def timed_out(self) -> None:
        self.refuse(NotNow("Nothing more came: send the rest later."))

    def give_way(self) -> bool:
        if self._upload.phase is Phase.FINISHING:
            return False
        self.refuse(NotNow("That file is sent on another connection now."))
        return True

    def stop(self) -> None:
        if self._upload.phase is not Phase.FINISHING:
            super().stop()
