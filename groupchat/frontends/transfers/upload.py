"""The upload of one file, from a connection to the shelf. It takes data no faster than the disk does."""

from __future__ import annotations

from collections.abc import Awaitable, Generator
from contextlib import contextmanager
from enum import Enum
from typing import Protocol

from twisted.internet.defer import Deferred

from groupchat.core.commands import Share
from groupchat.core.errors import NotNow
from groupchat.core.limits import FILE_CHUNK
from groupchat.files import FileOwner, IReceiving
from groupchat.frontends import guests
from groupchat.service.group_service import GroupService


class Source(Protocol):
    """The connection that a file comes from."""

    def ask(self, offset: int) -> None:
        """Ask for the bytes from `offset` on."""

    def hold(self, held: bool) -> None:
        """Pause the connection; resume it if `held` is false."""

    def wait(self, seconds: float) -> None:
        """End the connection after so many seconds without data; 0 is never."""


class Phase(Enum):
    """The phase of an upload."""

    RECEIVING = "data may come"
    COMPLETE = "all data came, but not all is written"
    STOPPED = "no more data is taken; what was received is kept"
    FINISHING = "all data is written: the file is checked and shared"


class Upload:
    """The upload of one file, or of a part of it. The group is told when the file is on the shelf.

    `offset` is how many bytes of the file are there.
    """

    def __init__(self, source: Source, service: GroupService) -> None:
        self.phase = Phase.RECEIVING
        self.offset = 0
        self._source = source
        self._service = service
        self._data = bytearray()
        self._held = False
        self._changed: Deferred[None] | None = None  # fires when data came, or the phase has changed

    # The data

    @property
    def unwritten(self) -> int:
        """The number of bytes that were received and are not written yet."""
        return len(self._data)

    def feed(self, data: bytes) -> None:
        """Take data. Pauses the source if too much of it is not written yet."""
        self._data += data
        if self.unwritten >= FILE_CHUNK and not self._held:
            self._held = True
            self._source.hold(True)
        self._wake()

    def end(self) -> None:
        """Note that all data came."""
        if self.phase is Phase.RECEIVING:
            self._go_to(Phase.COMPLETE)

    def lost(self) -> None:
        """Note that the connection is lost. If all data came, the upload goes on."""
        self._held = False  # there is nothing to resume
        if self.phase is Phase.RECEIVING:
            self._go_to(Phase.STOPPED)

    def stop(self) -> None:
        """Stop the upload, unless it is finishing."""
        if self.phase is not Phase.FINISHING:
            self._go_to(Phase.STOPPED)

    def _go_to(self, phase: Phase) -> None:
        self.phase = phase
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, None
        if changed is not None:
            changed.callback(None)

    # The upload

    async def run(self, opening: Awaitable[IReceiving], owner: FileOwner) -> str:
        """Receive what comes, and share the file once it is complete. Returns the name that it got.

        Returns an empty string if more of the file is to come. Raises IllegalMessage.
        """
        self._source.wait(0)
        receiving = await opening
        try:
            if self.phase is not Phase.STOPPED:
                self._source.ask(receiving.offset)
            await self._write_to(receiving)
            if self.phase is Phase.STOPPED:
                raise NotNow("Nothing more came: send the rest later.")
            self.phase = Phase.FINISHING
            self._source.wait(0)
            shown = await receiving.finish()
        finally:
            await receiving.close()
            self.offset = receiving.offset
        if not shown:
            return ""
        try:
            await guests.submit(self._service, owner.host, Share(shown, receiving.offset, owner.member, owner.guest))
        except Exception:
            await receiving.withdraw()
            raise
        return shown

    async def _write_to(self, receiving: IReceiving) -> None:
        """Write data until no more comes."""
        while True:
            if self._data:
                if self.phase is not Phase.STOPPED:
                    self._source.wait(0)  # the disk may take its time
                await receiving.write(self._take())
            elif self.phase is not Phase.RECEIVING:
                return
            else:
                self._source.wait(self._service.settings.stall)
                self._changed = Deferred()
                await self._changed

    def _take(self) -> bytearray:
        data, self._data = self._data, bytearray()
        if self._held and self.phase is not Phase.STOPPED:
            self._held = False
            self._source.hold(False)
        return data


class ResumedUploads:
    """The uploads that a request sends a part of now, by their keys: one request at a time."""

    def __init__(self) -> None:
        self._under_way: dict[str, tuple[Upload, list[Deferred[None]]]] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    async def displace(self, key: str) -> None:
        """End the request that sends a part of this upload: its connection may be gone without notice."""
        while (found := self._under_way.get(key)) is not None:
            upload, waiting = found
            ended: Deferred[None] = Deferred()
            waiting.append(ended)
            upload.stop()  # it may end at once
            await ended

    @contextmanager
    def sends(self, key: str, upload: Upload) -> Generator[None]:
        """Let this be the upload under way. None with this key may be, which `displace` makes sure of."""
        waiting: list[Deferred[None]] = []
        self._under_way[key] = upload, waiting
        try:
            yield
        finally:
            del self._under_way[key]
            for ended in waiting:
                ended.callback(None)
