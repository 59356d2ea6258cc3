"""Uploads to the shelf. A file is hashed as it is written, and is not listed before it is complete.

Nobody can keep others out by sending slowly. An upload holds the room for all of it while it keeps MIN_UPLOAD_RATE; one
that is slower goes on while there is room, and gives its place up if others need it. One of unknown size holds the room
for what came. Of the unfinished uploads that are kept, those of whoever has most make room.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, DeferredSemaphore
from twisted.python.failure import Failure

from groupchat.core.errors import IllegalMessage, NotNow
from groupchat.core.limits import (
    MAX_FILES,
    MAX_PARTS,
    MAX_PARTS_EACH,
    MAX_UPLOADS,
    PART_SECONDS,
)
from groupchat.core.networks import network_of
from groupchat.files import Announced, FileOwner, IReceiving, NoSuchUpload, WrongOffset
from groupchat.files.catalog import Catalog
from groupchat.files.disk import Entry
from groupchat.files.index import Indexed
from groupchat.files.parts import Digest, Part, Record
from groupchat.files.quota import Quota, Usage
from groupchat.files.receiving import CANNOT_WRITE, Expected, Receiving

UNDER_WAY = "That file is being sent already."

MAX_RESUMING = 2
"""Threads that hash what earlier tries left: others can read and write files meanwhile."""

BETWEEN_SECONDS = 60.0
"""How long an upload that was announced may be idle before it makes room for others of its owner."""


class Uploads:
    """The files that are being received, and the parts that are kept for a later try, by their keys.

    `shared` are the parts of files on the shelf whose senders may not know it yet.
    """

    def __init__(
        self,
        catalog: Catalog,
        quota: Quota,
        parts: list[Part],
        shared: list[Part],
        time_of_day: Callable[[], float],
    ) -> None:
        self.threads = catalog.threads
        self.disk = catalog.disk
        self._catalog = catalog
        self._quota = quota
        self._parts = {part.key: part for part in parts}
        self._shared = {part.key: part for part in sorted(shared, key=lambda part: part.at)}
        self._time_of_day = time_of_day
        self._under_way: dict[str, Receiving | None] = {}  # by the keys of their parts; None while the part is opened
        self._resuming = DeferredSemaphore(MAX_RESUMING)

    async def receive(self, expected: Expected, owner: FileOwner) -> IReceiving:
        """Begin to receive a file. See IShelf."""
        size = expected.size or 0
        self._quota.check_size(size)
        await self._free_place(owner.host)
        async with self._catalog.lock:
            part = await self._reserve(expected.key(owner), size, owner)
        return await self._open(part, expected)

    async def _open(
        self, part: Part, expected: Expected, checksum: bytes | None = None, *, changed: bool = False
    ) -> IReceiving:
        """Open the part of an upload that is under way. The record is written if it has `changed`."""
        arguments = part, expected.size or 0, changed, self.threads.is_stopping
        try:
            opening = partial(self.threads.run, self.disk.parts.open, *arguments)
            file = await (self._resuming.run(opening) if part.size and part.digest is None else opening())
            if part.record is not None and file.offset < part.size:  # something else has cut it
                part = replace(part, size=file.offset)
                await self.threads.run(file.close)
                raise WrongOffset(f"The next byte of that upload is number {part.size}.")
        except Exception as why:
            self.ended(part, part.size)
            if isinstance(why, OSError):
                self.threads.report(Failure())
                raise IllegalMessage(CANNOT_WRITE) from why
            raise
        receiving = self._under_way[part.key] = Receiving(self, part, expected, file, checksum)
        if self.threads.is_stopping():
            await receiving.close()
            self.threads.check_running()
        return receiving

    def stop(self) -> Deferred[Any]:
        """End the uploads that are under way."""
        return DeferredList([receiving.close() for receiving in self._under_way.values() if receiving is not None])

    # Uploads that were announced

    async def announce(self, record: Record) -> str:
        """Announce an upload. See IShelf."""
        part = Part(secrets.token_hex(32), record.owner, 0, self._time_of_day(), record)
        self._quota.check_size(record.size)
        async with self._catalog.lock:
            await self._find_room(part.key, record.size, part.owner)
            try:
                await self.threads.run(self.disk.parts.create, part)
            except OSError as why:
                self.threads.report(Failure())
                raise IllegalMessage(CANNOT_WRITE) from why
            self._parts[part.key] = part
        return part.key

    def find(self, key: str, owner: FileOwner) -> Announced:
        """Return an upload that was announced. See IShelf."""
        part, record = self._announced(key, owner)
        receiving = self._under_way.get(key)
        there = part.size if receiving is None else receiving.offset
        offset = record.size if record.shared else max(0, min(there, record.size - 1))
        return Announced(record.size, offset, record.metadata, part.at + PART_SECONDS, record.shared)

    def _announced(self, key: str, owner: FileOwner) -> tuple[Part, Record]:
        """Return the part of an upload that was announced, and its record. Raises NoSuchUpload."""
        part = self._parts.get(key) or self._shared.get(key)
        record = None if part is None else part.record
        if part is None or record is None or not record.is_of(owner):
            raise NoSuchUpload
        if key not in self._under_way and part.at <= self._time_of_day() - PART_SECONDS:
            raise NoSuchUpload
        return part, record

    async def resume(self, key: str, offset: int, checksum: bytes | None, owner: FileOwner) -> IReceiving:
        """Receive the next bytes of an upload that was announced. See IShelf."""
        await self._free_place(owner.host)
        async with self._catalog.lock:
            there = self.find(key, owner)
            if there.shared or there.offset != offset:
                raise WrongOffset(f"The next byte of that upload is number {there.offset}.")
            part = await self._reserve(key, there.size, self._announced(key, owner)[0].owner)
        known = self._announced(key, owner)[1]
        record = replace(known, trusted=None if checksum is None else offset)
        part = self._parts[key] = replace(part, size=offset, record=record)
        return await self._open(part, Expected(record.name, record.size, None), checksum, changed=record != known)

    async def give_up(self, key: str, owner: FileOwner) -> None:
        """Forget an upload that was announced. See IShelf."""
        async with self._catalog.lock:
            part, record = self._announced(key, owner)
            if record.shared:
                raise IllegalMessage(f"It is shared already, as {record.shared}.")
            if key in self._under_way:
                raise NotNow(UNDER_WAY)
            await self._forget([part])

    # Places

    def _is_full(self, host: str) -> bool:
        """Return True if there are too many uploads under way: in all, or from this host."""
        return len(self._under_way) >= MAX_UPLOADS or self._hosts()[network_of(host)] >= MAX_UPLOADS // 2

    def _hosts(self) -> Counter[str]:
        return Counter(network_of(self._parts[key].owner.host) for key in self._under_way)

    async def _free_place(self, host: str) -> None:
        """End a slow upload if there are too many: the slowest from this host, or else from whichever has most."""
        if self._is_full(host):
            counts, own = self._hosts(), network_of(host)
            slow = [receiving for receiving in self._under_way.values() if receiving is not None and receiving.is_slow]
            if counts[own] >= MAX_UPLOADS // 2:
                slow = [receiving for receiving in slow if receiving.host == own]
            if slow:
                await max(slow, key=lambda receiving: (counts[receiving.host], -receiving.holds_until)).close()

    # Space

    async def _reserve(self, key: str, size: int, owner: FileOwner) -> Part:
        """Return the part of a file, and reserve space for the whole file."""
        part = await self._find_room(key, size, owner)
        if key in self._under_way:
            raise NotNow(UNDER_WAY)
        if self._is_full(owner.host):
            raise NotNow("Too many files are being sent: try again later.")
        self._parts[key] = part
        self._under_way[key] = None
        return part

    async def _find_room(self, key: str, size: int, owner: FileOwner) -> Part:
        """Return the part of a file for which there is room, perhaps after others were forgotten."""
        await self._catalog.scan()
        part = self._parts.get(key) or Part(key, owner)
        try:
            await self.check_room(part, size)
        except IllegalMessage:
            if not await self._make_room(key, owner):
                raise
            await self.check_room(part, size)
        self.threads.check_running()
        return part

    async def check_room(self, part: Part, size: int) -> None:
        """Raise IllegalMessage if there is no room for a part that grows to this size."""
        self._quota.check_size(size)
        free = await self.threads.run(self.disk.room)
        others = [self._usage(other) for other in self._parts.values() if other.key != part.key]
        self._quota.check(self._usage(part, size), self._catalog.ledger, others, free)

    def _usage(self, part: Part, size: int = 0) -> Usage:
        receiving = self._under_way.get(part.key)
        there, room = (part.size, part.size) if receiving is None else (receiving.offset, receiving.room)
        return self._quota.usage(there, max(room, size), part.owner)

    async def _make_room(self, key: str, owner: FileOwner) -> bool:
        """Forget parts that are not being sent: all others of this owner. If it has none, and there are too many parts,
        forget the oldest one of whoever has most. Returns False if none was forgotten.

        What was announced is idle only after some time: there is a moment between two requests.
        """
        account, before = self._quota.account, self._time_of_day() - BETWEEN_SECONDS
        idle = [part for part in self._idle() if part.key != key and (part.record is None or part.at <= before)]
        gone = [part for part in idle if account(part.owner) == account(owner)]
        if idle and not gone and 0 < min(MAX_PARTS, MAX_FILES - self._catalog.ledger.total.files) <= len(self._parts):
            counts = Counter(account(part.owner) for part in idle)
            gone = [max(idle, key=lambda part: (counts[account(part.owner)], -part.at))]
        await self._forget(gone)
        return bool(gone)

    def _idle(self) -> list[Part]:
        return [part for part in self._parts.values() if part.key not in self._under_way]

    async def _forget(self, parts: list[Part]) -> None:
        for part in parts:
            await self.threads.run(self.disk.parts.forget, part)
            self._parts.pop(part.key, None)
            self._shared.pop(part.key, None)

    async def sweep(self) -> None:
        """Forget the parts that nobody has resumed for long."""
        async with self._catalog.lock:
            oldest = self._time_of_day() - PART_SECONDS
            await self._forget([part for part in [*self._idle(), *self._shared.values()] if part.at < oldest])

    # The end of an upload

    def ended(self, part: Part, left: int | None, digest: Digest | None = None) -> None:
        """End an upload. `left` bytes are kept in its part; None means that there is no part."""
        self._under_way.pop(part.key, None)
        if left is None:
            self._parts.pop(part.key, None)
        else:
            digest = digest if part.record is not None else None  # or else what may be damaged is hashed again
            self._parts[part.key] = replace(part, size=left, at=self._time_of_day(), digest=digest)

    async def publish(self, part: Part, name: str, sha256: str) -> Entry:
        """Put a complete part on the shelf."""
        async with self._catalog.lock:
            entry = await self.threads.run(self.disk.publish, part, name)
            await self._catalog.add(entry, sha256, part.owner)
            if part.record is not None:
                part = replace(part.shared_as(entry.name), at=self._time_of_day())
                self._shared[part.key] = part
                await self._forget(self._superfluous(part.owner))
            # Until the index is saved, only the part says whose the file is.
            try:
                entry = await self.threads.run(self.disk.settle, entry, part)
            except OSError:
                self.threads.report(Failure())
            self._catalog.put(Indexed(entry, sha256, part.owner))
        return entry

    def _superfluous(self, owner: FileOwner) -> list[Part]:
        """Return the oldest parts of shared files if there are too many: of this owner, or in all."""
        account, shared = self._quota.account, list(self._shared.values())
        own = [part for part in shared if account(part.owner) == account(owner)]
        return [*own[:-MAX_PARTS_EACH], *shared[:-MAX_PARTS]]

    async def withdraw(self, part: Part, entry: Entry, keep: bool) -> None:
        """Take a file from the shelf again, and keep it as a part if `keep` is true."""
        async with self._catalog.lock:
            self._shared.pop(part.key, None)
            is_there = await self.threads.run(self.disk.withdraw, entry, part)
            self._catalog.remove(entry)
            if is_there and part.key not in self._parts:
                self._parts[part.key] = replace(part, size=entry.size, at=self._time_of_day())
                if not keep:
                    await self._forget([part])
