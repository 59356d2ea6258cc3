"""The files on the shelf: the directory as it was last scanned, and what the index says of its files.

A change costs the reactor the same for any number of files. What costs more, such as a scan or the list of all files,
runs in a thread; and it is not done again for everybody who asks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredLock
from twisted.python.failure import Failure

from groupchat.core.errors import NotNow
from groupchat.files import File, FileOwner, index
from groupchat.files.disk import TICK_SECONDS, Disk, Entry
from groupchat.files.hashing import Hasher
from groupchat.files.index import Indexed
from groupchat.files.parts import Part
from groupchat.files.quota import Ledger
from groupchat.files.threads import Threads

T = TypeVar("T")
Form = Callable[[Sequence[File]], T]

FRESH_SECONDS = 1.0
"""How long the directory is not scanned again, whoever asks, unless a name was added or removed."""


class Catalog:
    """All files on the shelf, by name. Hold `lock` to refresh the catalog and then change the directory."""

    def __init__(self, threads: Threads, disk: Disk, ledger: Ledger, time_of_day: Callable[[], float]) -> None:
        self.files: dict[str, Indexed] = {}
        self.lock = DeferredLock()
        self.threads = threads
        self.disk = disk
        self.ledger = ledger
        self.hasher = Hasher(threads, disk, self._hashed, self.save_soon, time_of_day)
        self._time_of_day = time_of_day
        self._scanned = float("-inf")
        self._changed_at = -1  # the time of the directory when it was scanned; -1 if it may change without another
        self._unsaved = False
        self._forms: dict[Form[Any], Any] = {}  # what each form made of these files
        self._waiting: list[tuple[Form[Any], Deferred[Any]]] = []

    async def load(self) -> tuple[list[Part], list[Part]]:
        """Read the index and the directory. Returns the parts, and those whose files are shared already."""
        for indexed in (await self.threads.run(index.load, self.disk.folder)).values():
            self.put(indexed)
        self._unsaved = False
        await self.scan()
        entries = {name: indexed.entry for name, indexed in self.files.items()}
        parts, shared, owners = await self.threads.run(self.disk.load_parts, entries)
        for name, owner in owners.items():
            self.put(replace(self.files[name], owner=owner))
        return parts, shared

    async def stop(self) -> None:
        """Stop hashing, and save the index. Call it once the threads are stopping."""
        self.hasher.stop()
        await self.lock.run(self.save)

    # Listing

    def listing(self, form: Form[T]) -> Deferred[T]:
        """Return what `form` makes of the files. See IShelf."""
        listed: Deferred[T] = Deferred()
        self._waiting.append((form, listed))
        if len(self._waiting) == 1:  # otherwise a scan is about to begin
            self.lock.run(self._list).addErrback(self.threads.report)
        return listed

    async def _list(self) -> None:
        waiting, self._waiting = self._waiting, []
        try:
            await self.scan()
            forms, files = self._forms, list(self.files.values())
            for form in dict.fromkeys(form for form, _ in waiting if form not in forms):
                forms[form] = await self.threads.run(_made, form, files)
        except Exception:
            self.threads.report(Failure())
            for _, listed in waiting:
                listed.errback(NotNow("The server cannot read its files now."))
            return
        for form, listed in waiting:
            listed.callback(forms[form])

    def refresh(self) -> Deferred[None]:
        """Update the catalog from the directory."""
        return self.lock.run(self.scan)

    async def scan(self) -> None:
        """Update the catalog from the directory, unless that was done a moment ago. The lock must be held."""
        now, time_of_day = self.threads.seconds(), self._time_of_day()
        is_fresh = 0 <= now - self._scanned < FRESH_SECONDS
        found = await self.threads.run(_scan, self.disk, self.files, self._changed_at if is_fresh else -1)
        if found is None:
            return
        self._scanned, (changed_at, entries) = now, found
        self._changed_at = -1 if 0 <= time_of_day - changed_at / 1e9 < TICK_SECONDS else changed_at
        for indexed in [indexed for name, indexed in self.files.items() if name not in entries]:
            self.remove(indexed.entry)
        for name, entry in entries.items():
            known = self.files.get(name)
            if known is None or (known.entry is not entry and known.entry != entry):
                is_touched = known is not None and known.entry.only_touched(entry)
                self.put(Indexed(entry, owner=known.owner if known is not None and is_touched else None))
                self.hasher.want(entry)
            elif known.sha256 is None:
                self.hasher.want(entry)

    # The index

    def known(self, entry: Entry) -> Indexed:
        """Return what is known of a file."""
        indexed = self.files.get(entry.name)
        return indexed if indexed is not None and indexed.entry == entry else Indexed(entry)

    def _hashed(self, entry: Entry, sha256: str) -> None:
        indexed = self.known(entry)
        if self.files.get(entry.name, indexed) is indexed:
            self.put(replace(indexed, sha256=sha256))

    async def add(self, entry: Entry, sha256: str, owner: FileOwner) -> None:
        """Add a new file, and save the index. The lock must be held."""
        self.put(Indexed(entry, sha256, owner))
        await self.save()

    def put(self, indexed: Indexed) -> None:
        self.remove(indexed.entry)
        self.files[indexed.entry.name] = indexed
        self.ledger.add(indexed.owner, indexed.entry.size)

    def remove(self, entry: Entry) -> None:
        """Forget the file of this name. What was made of all files is made anew from now on."""
        indexed = self.files.pop(entry.name, None)
        if indexed is not None:
            self.ledger.remove(indexed.owner, indexed.entry.size)
        self._unsaved = True
        self._forms = {}

    # Saving

    def save_soon(self) -> None:
        if self._unsaved and not self.threads.is_stopping():
            self.lock.run(self.save)

    async def save(self) -> None:
        """Save the index if it has changed. If that fails, it is tried again later. The lock must be held."""
        if self._unsaved:
            self._unsaved = False
            try:
                await self.threads.run(index.save, self.disk.folder, list(self.files.values()))
            except Exception:
                self._unsaved = True
                self.threads.report(Failure())


def _scan(disk: Disk, known: dict[str, Indexed], unless: int) -> tuple[int, dict[str, Entry]] | None:
    """Scan the directory, unless it was last changed at this time. Return when it was changed, and its files.

    The entry of a file that has not changed is the same object as before.
    """
    changed_at = disk.changed_at()
    if changed_at == unless:
        return None
    found = disk.scan()
    for name, entry in found.items():
        indexed = known.get(name)
        if indexed is not None and indexed.entry == entry:
            found[name] = indexed.entry
    return changed_at, found


def _made(form: Form[T], files: list[Indexed]) -> T:
    """Return what a form makes of all files, those that changed last at the end."""
    files.sort(key=lambda indexed: indexed.entry.mtime)
    return form([one.entry.file(one.sha256) for one in files])
