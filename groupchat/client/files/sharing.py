"""Files in a chat: what is asked of them, what becomes of that, and how far it is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from groupchat.client.asks import Cancel, FileAsk, Get, ListFiles, ListTransfers, Send
from groupchat.client.files import wire
from groupchat.client.files.names import BadNameError, is_fit, split, target, unquoted
from groupchat.client.files.progress import Bar, line, time_in_words
from groupchat.client.files.transfers import ENDS, MOST, Disk, Transfer, Transfers
from groupchat.client.files.way import LOST, Way, explain
from groupchat.client.text import clean
from groupchat.core.notices import size_in_words

DRAWN_SECONDS = 0.25
"""How often it is shown how far the transfers are."""

MOST_NAMES = 10_000
"""How many names of files are known at once."""


class Host(Protocol):
    """The chat that the files are in."""

    def told(self, words: str, about: Mapping[str, object]) -> None:
        """What becomes of a transfer: see `about`."""

    def answer(self, *lines: str) -> None:
        """What was asked for."""

    def not_done(self, words: str) -> None: ...

    def under_way(self, bars: Sequence[Bar]) -> None:
        """How far the transfers are, again and again, and nothing once there are none."""

    def moved_on(self) -> None:
        """Less is under way than before."""


class Sharing:
    """A Watcher. `names` are those of files that were seen, the last one last; `by` gives the words after BY."""

    def __init__(self, clock: IReactorTime, way: Way, disk: Disk, host: Host, by: Callable[[], str]) -> None:
        self.names: dict[str, None] = {}
        self.transfers = Transfers(clock, way, disk, self)
        self._clock = clock
        self._way = way
        self._host = host
        self._by = by
        self._asking: list[Deferred[None]] = []  # that do not know yet what they are about
        self._drawing: IDelayedCall | None = None

    @property
    def count(self) -> int:
        """How much is under way."""
        return len(self.transfers.all) + len(self._asking)

    def stop(self) -> None:
        """Cancel all."""
        for asking in list(self._asking):
            asking.cancel()
        self.transfers.stop()

    def saw(self, *names: str) -> None:
        for name in names:
            self.names.pop(name, None)
            self.names[name] = None
        while len(self.names) > MOST_NAMES:
            del self.names[next(iter(self.names))]

    # What is asked

    def ask(self, ask: FileAsk) -> None:
        match ask:
            case ListFiles():
                self._begin(self._list())
            case Get(words):
                self._begin(self._get(words))
            case Send(path):
                self._send(path)
            case ListTransfers():
                lines = [line(bar, 79) for bar in self.transfers.bars()]
                self._host.answer(*(lines or ["Nothing is being fetched or sent."]))
            case Cancel(name):
                self._cancel(unquoted(name))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        async def run() -> None:
            try:
                await work
            except (BadNameError, *ENDS) as why:
                self._host.not_done(f"Not done: {explain(why)}")

        asking = Deferred.fromCoroutine(run())
        self._asking.append(asking)

        def over(result: object) -> None:
            self._asking.remove(asking)
            self._host.moved_on()

        asking.addErrback(lambda failure: failure.trap(CancelledError) and None)
        asking.addBoth(over)

    async def _list(self) -> None:
        files = await self._learn()
        noun = "file" if len(files) == 1 else "files"
        lines = [f"{size_in_words(file.size):>8}  {date_in_words(file.at)}  {file.name}" for file in files]
        self._host.answer(f"{len(files)} {noun}:" if files else "There are no files yet.", *lines)

    async def _learn(self) -> Sequence[wire.Listed]:
        files = await self._way.listing()
        self.saw(*[file.name for file in reversed(files)])
        return files

    async def _get(self, words: str) -> None:
        name, to = split(words, self.names)
        if name not in self.names or name != words:  # there may be a longer one
            name, to = split(words, await self._names_now())
        self._room()
        self.transfers.get(name, target(name, to))

    async def _names_now(self) -> Sequence[str]:
        """Those on the shelf; while there is no way to it, those that were seen."""
        try:
            return [file.name for file in await self._learn()]
        except LOST:
            if not self._way.was_there:
                raise
            return list(self.names)

    def _room(self) -> None:
        """Raises BadNameError."""
        if len(self.transfers.all) >= MOST:
            raise BadNameError(f"{MOST} files are waiting already: ask again when there are fewer")

    def _send(self, typed: str) -> None:
        try:
            self._room()
            path = Path(unquoted(typed)).expanduser()
            if not is_fit(path.name):
                raise BadNameError(f"{shown(path)} has a name that not everybody can have: send a copy of it")
        except (BadNameError, RuntimeError) as why:
            self._host.not_done(f"Not done: {why}")
            return
        self.transfers.send(path, path.name, self._by)

    def _cancel(self, name: str) -> None:
        found = [transfer for transfer in self.transfers.all if not name or transfer.name == name]
        found = found or [transfer for transfer in self.transfers.all if transfer.name.startswith(name)]
        if len(found) == 1 or (found and len({transfer.name for transfer in found}) == 1 and name):
            self.transfers.cancel(found[0])
        elif found:
            self._host.not_done("Which one? Write /cancel and its name: see /transfers.")
        else:
            self._host.not_done("No such file is being fetched or sent." if name else "Nothing is under way.")

    # What becomes of it

    def began(self, transfer: Transfer) -> None:
        self._tell(transfer, "began", "fetching it" if transfer.comes else "sending it")
        if self._drawing is None:
            self._drawing = self._clock.callLater(DRAWN_SECONDS, self._draw)

    def waits(self, transfer: Transfer, why: str) -> None:
        self._tell(transfer, "waits", f"trying again ({why})")

    def is_done(self, transfer: Transfer, name: str) -> None:
        self._tell(transfer, "done", in_words(transfer, name), as_name=name)
        self._over()

    def failed(self, transfer: Transfer, why: Exception) -> None:
        self._tell(transfer, "failed", f"{explain(why)}{kept(transfer)}")
        self._over()

    def stopped(self, transfer: Transfer) -> None:
        self._tell(transfer, "stopped", f"stopped{kept(transfer)}")
        self._over()

    def _over(self) -> None:
        self._host.under_way(self.transfers.bars())
        self._host.moved_on()

    def _draw(self) -> None:
        self._drawing = None
        bars = self.transfers.bars()
        self._host.under_way(bars)
        if bars:
            self._drawing = self._clock.callLater(DRAWN_SECONDS, self._draw)

    def _tell(self, transfer: Transfer, state: str, words: str, as_name: str = "") -> None:
        about: dict[str, object] = {"file": transfer.name, "direction": "get" if transfer.comes else "send"}
        about |= {"state": state}
        if transfer.path is not None:
            about["path"] = shown(transfer.path)
        if as_name:
            about |= {"as": as_name, "bytes": transfer.progress.total}
        self._host.told(f"{transfer.name}: {words}", about)


def in_words(transfer: Transfer, name: str) -> str:
    """How a transfer was that is done, if this is the name by which the group knows the file."""
    words = f"{size_in_words(transfer.progress.total)} in {time_in_words(max(1.0, transfer.seconds))}"
    if not transfer.comes:
        return f"{words}, shared as {name}"
    return f"{words}, saved as {shown(transfer.path)}" if transfer.path is not None else words


def kept(transfer: Transfer) -> str:
    """What there is of a transfer that is not done."""
    if transfer.kept is None:
        return ""
    size, path = transfer.kept
    return f" ({size_in_words(size)} of it are kept in {shown(path)}, for when it is fetched again)"


def shown(path: Path) -> str:
    """A path as it can be shown, and typed."""
    words = str(path) if path.is_absolute() or path.parts[:1] in ((".",), ("..",)) else f"./{path}"
    return clean(os.fsencode(words)).replace("\n", " ")


def date_in_words(at: int) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
    except (OverflowError, ValueError, OSError):
        return "----------------"
