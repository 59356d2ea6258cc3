"""Files in a chat: the commands about them, and their results and progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from unicodedata import normalize

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from groupchat.client.commands import Cancel, FileCommand, Get, ListTransfers, Send
from groupchat.client.failures import explain
from groupchat.client.files.connection import TEMPORARY, FileConnection
from groupchat.client.files.names import BadNameError, is_safe, split, target, typed_path, unquoted
from groupchat.client.files.progress import Bar, line, time_in_words
from groupchat.client.files.requests import ListedFile
from groupchat.client.files.transfers import ENDS, MOST, Transfer, Transfers, Worker
from groupchat.client.recent import RecentNames
from groupchat.client.text import clean_line
from groupchat.core.commands import Files
from groupchat.core.notices import size_in_words

PROGRESS_SECONDS = 0.25
"""The interval at which the progress is shown."""


class SharingListener(Protocol):
    """The chat. See chat.py."""

    def file_event(self, words: str, about: Mapping[str, object]) -> None: ...

    def answer(self, *lines: str) -> None: ...

    def not_done(self, words: str) -> None: ...

    def show_progress(self, bars: Sequence[Bar]) -> None: ...

    def file_command_done(self) -> None: ...


class Sharing:
    """A TransferListener. `names` are files that were seen; `by` returns the words after BY."""

    def __init__(
        self,
        clock: IReactorTime,
        connection: FileConnection,
        worker: Worker,
        listener: SharingListener,
        by: Callable[[], str],
    ) -> None:
        self.names = RecentNames()
        self.transfers = Transfers(clock, connection, worker, self)
        self._clock = clock
        self._connection = connection
        self._listener = listener
        self._by = by
        self._asking: list[Deferred[None]] = []  # commands that wait for the list of files
        self._drawing: IDelayedCall | None = None

    @property
    def count(self) -> int:
        """The number of commands and transfers that are not finished."""
        return len(self.transfers.all) + len(self._asking)

    def stop(self) -> None:
        """Cancel everything."""
        for asking in list(self._asking):
            asking.cancel()
        self.transfers.stop()

    # Commands

    def ask(self, ask: FileCommand) -> None:
        match ask:
            case Files():
                self._begin(self._list())
            case Get(words):
                self._begin(self._get(words))
            case Send(path):
                self._send(path)
            case ListTransfers():
                lines = [line(bar, 79) for bar in self.transfers.bars()]
                self._listener.answer(*(lines or ["Nothing is being fetched or sent."]))
            case Cancel(name):
                self._cancel(unquoted(name))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        async def run() -> None:
            try:
                await work
            except (BadNameError, *ENDS) as why:
                self._listener.not_done(f"Not done: {explain(why)}")

        asking = Deferred.fromCoroutine(run())
        self._asking.append(asking)

        def over(result: object) -> None:
            self._asking.remove(asking)
            self._listener.file_command_done()

        asking.addErrback(lambda failure: failure.trap(CancelledError) and None)
        asking.addBoth(over)

    async def _list(self) -> None:
        files = await self._learn()
        noun = "file" if len(files) == 1 else "files"
        self._listener.answer(
            f"{len(files)} {noun}:" if files else "There are no files yet.", *map(listed_in_words, files)
        )

    async def _learn(self) -> Sequence[ListedFile]:
        files = await self._connection.listing()
        self.names.add(*[file.name for file in reversed(files)])
        return files

    async def _get(self, words: str) -> None:
        name, to = split(words, self.names)
        if name not in self.names or name != words:  # a longer name may fit
            name, to = split(words, await self._names_now())
        self._check_room()
        self.transfers.get(name, target(name, to))

    async def _names_now(self) -> Sequence[str]:
        """Return the names on the server; while it cannot be reached, those that were seen."""
        try:
            return [file.name for file in await self._learn()]
        except TEMPORARY:
            if not self._connection.reached:
                raise
            return list(self.names)

    def _check_room(self) -> None:
        """Raises BadNameError if too many transfers wait."""
        if len(self.transfers.all) >= MOST:
            raise BadNameError(f"{MOST} files are waiting already: ask again when there are fewer")

    def _send(self, typed: str) -> None:
        try:
            self._check_room()
            path = Path(typed_path(typed)).expanduser()
            if not is_safe(path.name):
                raise BadNameError(f"{shown(path)} has a name that not everybody can have: send a copy of it")
        except (BadNameError, RuntimeError) as why:
            self._listener.not_done(f"Not done: {why}")
            return
        self.transfers.send(path, path.name, self._by)

    def _cancel(self, name: str) -> None:
        name, forms = normalize("NFC", name), [(one, normalize("NFC", one.name)) for one in self.transfers.all]
        found = [transfer for transfer, form in forms if not name or form == name]
        found = found or [transfer for transfer, form in forms if form.startswith(name)]
        if len(found) == 1 or (found and len({transfer.name for transfer in found}) == 1 and name):
            self.transfers.cancel(found[0])
        elif found:
            self._listener.not_done("Which one? Write /cancel and its name: see /transfers.")
        else:
            self._listener.not_done("No such file is being fetched or sent." if name else "Nothing is under way.")

    # The listener of transfers

    def began(self, transfer: Transfer) -> None:
        self._tell(transfer, "began", "fetching it" if transfer.is_download else "sending it")
        if self._drawing is None:
            self._drawing = self._clock.callLater(PROGRESS_SECONDS, self._draw)

    def waits(self, transfer: Transfer, why: str) -> None:
        self._tell(transfer, "waits", f"trying again ({why})")

    def is_done(self, transfer: Transfer, name: str) -> None:
        self._tell(transfer, "done", done_in_words(transfer, name), as_name=name)
        self._finished()

    def failed(self, transfer: Transfer, why: Exception) -> None:
        self._tell(transfer, "failed", f"{explain(why)}{kept_in_words(transfer)}")
        self._finished()

    def stopped(self, transfer: Transfer) -> None:
        self._tell(transfer, "stopped", f"stopped{kept_in_words(transfer)}")
        self._finished()

    def _finished(self) -> None:
        self._listener.show_progress(self.transfers.bars())
        self._listener.file_command_done()

    def _draw(self) -> None:
        self._drawing = None
        bars = self.transfers.bars()
        self._listener.show_progress(bars)
        if bars:
            self._drawing = self._clock.callLater(PROGRESS_SECONDS, self._draw)

    def _tell(self, transfer: Transfer, state: str, words: str, as_name: str = "") -> None:
        about: dict[str, object] = {"file": transfer.name, "direction": "get" if transfer.is_download else "send"}
        about |= {"state": state}
        if transfer.path is not None:
            about["path"] = shown(transfer.path)
        if as_name:
            about |= {"as": as_name, "bytes": transfer.progress.total}
        self._listener.file_event(f"{transfer.name}: {words}", about)


def done_in_words(transfer: Transfer, name: str) -> str:
    """Describe a transfer that is done. `name` is the name of the file in the group."""
    words = f"{size_in_words(transfer.progress.total)} in {time_in_words(max(1.0, transfer.seconds))}"
    if not transfer.is_download:
        return f"{words}, shared as {name}"
    return f"{words}, saved as {shown(transfer.path)}" if transfer.path is not None else words


def kept_in_words(transfer: Transfer) -> str:
    """Describe what is kept of a transfer that was not finished."""
    if transfer.kept is None:
        return ""
    size, path = transfer.kept
    return f" ({size_in_words(size)} of it are kept in {shown(path)}, for when it is fetched again)"


def shown(path: Path) -> str:
    """Return a path as it is shown, and can be typed."""
    words = str(path) if path.is_absolute() or path.parts[:1] in ((".",), ("..",)) else f"./{path}"
    return clean_line(words)


def listed_in_words(file: ListedFile) -> str:
    """Return a line for a file of the group: its size, when it came, and its name."""
    try:
        at = time.strftime("%Y-%m-%d %H:%M", time.localtime(file.at))
    except (OverflowError, ValueError, OSError):
        at = "----------------"
    return f"{size_in_words(file.size):>8}  {at}  {file.name}"
