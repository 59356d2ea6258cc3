"""The files on the shelf: the directory as it was last scanned, and what the index says of its files."""

from __future__ import annotations

from twisted.internet.defer import Deferred, DeferredLock
from twisted.python.failure import Failure

from groupchat.core.errors import NotNow
from groupchat.files import File, FileOwner, index
from groupchat.files.disk import Disk, Entry, Part
from groupchat.files.hashing import Hasher
from groupchat.files.index import Indexed
from groupchat.files.threads import Threads


class Catalog:
    """All files on the shelf, by name. Hold `lock` to scan the directory and then change it."""

    def __init__(self, threads: Threads, disk: Disk) -> None:
        self.files: dict[str, Entry] = {}
        self.lock = DeferredLock()
        self.threads = threads
        self.disk = disk
        self.hasher = Hasher(threads, disk, self._hashed, self.save_soon)
        self._index: dict[str, Indexed] = {}
        self._unsaved = False
        self._waiting: list[Deferred[list[File]]] = []

    async def load(self) -> list[Part]:
        """Read the index and the directory. Returns the parts."""
        self._index = await self.threads.run(index.load, self.disk.folder)
        files = await self.threads.run(self.disk.scan)
        parts, owners = await self.threads.run(self.disk.load_parts, files)
        for name, owner in owners.items():
            self.learn(files[name], None, owner)
        self._found(files)
        return parts

    async def stop(self) -> None:
        """Stop hashing, and save the index. Call it once the threads are stopping."""
        self.hasher.stop()
        await self.lock.run(self.save)

    # Listing

    def listing(self) -> Deferred[list[File]]:
        listed: Deferred[list[File]] = Deferred()
        self._waiting.append(listed)
        if len(self._waiting) == 1:  # otherwise a scan is about to begin
            self.lock.run(self._list).addErrback(self.threads.report)
        return listed

    async def _list(self) -> None:
        waiting, self._waiting = self._waiting, []
        try:
            await self.scan()
        except Exception:
            self.threads.report(Failure())
            for listed in waiting:
                listed.errback(NotNow("The server cannot read its files now."))
            return
        files = [File(entry.name, entry.size, entry.at, self.known(entry).sha256) for entry in self.files.values()]
        for listed in waiting:
            listed.callback(files)

    async def scan(self) -> None:
        """Update the catalog from the directory."""
        self._found(await self.threads.run(self.disk.scan))

    def _found(self, files: dict[str, Entry]) -> None:
        self.files = files
        known = {name: indexed for name, indexed in self._index.items() if files.get(name) == indexed.entry}
        self._unsaved = self._unsaved or len(known) < len(self._index)
        self._index = known
        for entry in files.values():
            if self.known(entry).sha256 is None:
                self.hasher.want(entry)

    # The index

    def known(self, entry: Entry) -> Indexed:
        """Return what is known of a file."""
        indexed = self._index.get(entry.name)
        return indexed if indexed is not None and indexed.entry == entry else Indexed(entry)

    def _hashed(self, entry: Entry, sha256: str) -> None:
        if self.files.setdefault(entry.name, entry) == entry:
            self.learn(entry, sha256, None)

    def learn(self, entry: Entry, sha256: str | None, owner: FileOwner | None) -> None:
        """Put the hash and the owner into the index. What is None stays as it was."""
        known = self.known(entry)
        self._index[entry.name] = Indexed(entry, sha256 or known.sha256, owner or known.owner)
        self._unsaved = True

    async def add(self, entry: Entry, sha256: str, owner: FileOwner) -> None:
        """Add a new file, and save the index. The lock must be held."""
        self.files[entry.name] = entry
        self.learn(entry, sha256, owner)
        await self.save()

    def remove(self, entry: Entry) -> None:
        self.files.pop(entry.name, None)
        if self._index.pop(entry.name, None) is not None:
            self._unsaved = True

    # Saving

    def save_soon(self) -> None:
        if self._unsaved and not self.threads.is_stopping():
            self.lock.run(self.save)

    async def save(self) -> None:
        """Save the index if it has changed. If that fails, it is tried again later. The lock must be held."""
        if self._unsaved:
            self._unsaved = False
            try:
                await self.threads.run(index.save, self.disk.folder, dict(self._index))
            except Exception:
                self._unsaved = True
                self.threads.report(Failure())
