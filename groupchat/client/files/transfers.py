"""Transfers of files: several at once. Each goes on over lost connections until done, cancelled or refused."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.internet.error import ConnectError, ConnectionLost
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from groupchat.client.failures import explain
from groupchat.client.files import requests
from groupchat.client.files.connection import TEMPORARY, FileConnection
from groupchat.client.files.parts import CorruptError, FileError, Output, Part, Source
from groupchat.client.files.progress import Bar, Progress
from groupchat.client.files.stream import BusyError, ProtocolError, RefusedError, RequestStream
from groupchat.client.trust import UntrustedError

AT_ONCE = 3
"""The number of transfers that run at once. The others wait."""

MOST = 100
"""The most transfers that may run and wait in all."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 20.0
"""Seconds before the next try: after the first failure, and at most (see also reconnector.py)."""

PATIENCE = 300.0
"""The seconds without progress after which a transfer is given up."""

ENDS = (RefusedError, ProtocolError, FileError, CorruptError, UntrustedError, *TEMPORARY)
"""The errors that a transfer may end with."""


class Transfer:
    """One file that is fetched (`is_download`) or sent. `doing` is the current activity, in a word."""

    def __init__(self, name: str, *, is_download: bool, path: Path | None) -> None:
        self.name = name
        self.is_download = is_download
        self.path = path
        """The file on this side. None is standard output."""
        self.doing = "waits"
        self.progress = Progress()
        self.moved = 0
        """The bytes that went over the network, in all tries."""
        self.seconds = 0.0
        """The time it took, once it is done."""
        self.kept: tuple[int, Path] | None = None
        """The size and the path of the partial file, if it came in part."""
        self.done: Deferred[None] = Deferred()

    def bar(self, now: float) -> Bar:
        progress = self.progress
        is_moving = self.doing != "waits"
        rate, left = (progress.rate(now), progress.left(now)) if is_moving else (0.0, None)
        return Bar(self.name, self.doing, progress.done, progress.total, rate, left)


class TransferListener(Protocol):
    """Is told about transfers. For each, `began` comes first, and one of `is_done`, `failed`, `stopped` last."""

    def began(self, transfer: Transfer) -> None: ...

    def waits(self, transfer: Transfer, why: str) -> None:
        """The transfer failed for now, and will be tried again."""

    def is_done(self, transfer: Transfer, name: str) -> None:
        """The transfer is done. `name` is the name of the file in the group."""

    def failed(self, transfer: Transfer, why: Exception) -> None: ...

    def stopped(self, transfer: Transfer) -> None:
        """The transfer was cancelled."""


class Worker(Protocol):
    """Does what blocks in a thread, one call at a time."""

    def do(self, work: Callable[..., Any], *arguments: object) -> Deferred[Any]: ...


class Transfers:
    """All transfers of a client. `all` are those that are not over, the oldest first."""

    def __init__(
        self, clock: IReactorTime, connection: FileConnection, worker: Worker, listener: TransferListener
    ) -> None:
        self.all: list[Transfer] = []
        self._clock = clock
        self._connection = connection
        self._worker = worker
        self._listener = listener
        self._slots = DeferredSemaphore(AT_ONCE)

    def get(self, name: str, to: Path | None) -> Transfer:
        """Fetch a file, and save it as `to`, or write it to standard output."""
        transfer = Transfer(name, is_download=True, path=to)
        part = Part(to) if to is not None else Output(1)
        return self._start(transfer, part, self._fetch(transfer, part))

    def send(self, path: Path, name: str, by: Callable[[], str]) -> Transfer:
        """Send a file. `by` returns the words after BY, or an empty text while there is no seat."""
        transfer = Transfer(name, is_download=False, path=path)
        source = Source(path)
        return self._start(transfer, source, self._offer(transfer, source, by))

    def cancel(self, transfer: Transfer) -> None:
        """Cancel a transfer. Its partial file is kept."""
        transfer.done.cancel()

    def stop(self) -> None:
        """Cancel all."""
        for transfer in list(self.all):
            self.cancel(transfer)

    def bars(self) -> list[Bar]:
        now = self._clock.seconds()
        return [transfer.bar(now) for transfer in self.all]

    # All transfers

    def _start(self, transfer: Transfer, file: Part | Output | Source, work: Coroutine[Any, Any, str]) -> Transfer:
        self.all.append(transfer)
        self._listener.began(transfer)
        transfer.done = Deferred.fromCoroutine(self._run(transfer, file, work))
        transfer.done.addErrback(lambda failure: failure.trap(CancelledError) and None)
        return transfer

    async def _run(self, transfer: Transfer, file: Part | Output | Source, work: Coroutine[Any, Any, str]) -> None:
        tell: Callable[[], None] = lambda: self._listener.stopped(transfer)  # noqa: E731
        try:
            await self._slots.acquire()
            try:
                began = self._clock.seconds()
                name = await work
                transfer.seconds = self._clock.seconds() - began
                tell = lambda: self._listener.is_done(transfer, name)  # noqa: E731
            finally:
                self._slots.release()
        except ENDS as error:
            why = error
            tell = lambda: self._listener.failed(transfer, why)  # noqa: E731
        finally:
            work.close()
            if isinstance(file, Part) and file.path is not None and file.offset:
                transfer.kept = file.offset, file.path
            self._worker.do(file.close).addErrback(lambda _: None)
            self.all.remove(transfer)
            tell()

    async def _persist(self, transfer: Transfer, attempt: Callable[[], Awaitable[str]]) -> str:
        """Retry after temporary errors, if the server was ever reached, until PATIENCE is over. Raises one of ENDS."""
        pause, since = FIRST_PAUSE, self._clock.seconds()
        while True:
            before = transfer.moved
            try:
                return await attempt()
            except TEMPORARY as why:
                now = self._clock.seconds()
                if transfer.moved > before:
                    pause, since = FIRST_PAUSE, now
                is_nowhere = isinstance(why, ConnectError) and not self._connection.reached
                if is_nowhere or now - since > PATIENCE:
                    raise
                transfer.doing = "waits"
                self._listener.waits(transfer, explain(why))
            await deferLater(self._clock, pause * random.uniform(0.7, 1.0))  # noqa: S311 - not a secret
            pause = min(LONGEST_PAUSE, 1.7 * pause)

    async def _hash(self, transfer: Transfer, doing: str, size: int, piece: Callable[[], int | None]) -> None:
        """Hash pieces until one has 0 bytes. None stands for one that is to come."""
        transfer.doing = doing
        transfer.progress.begin(self._clock.seconds(), 0, size)
        while (count := await self._worker.do(piece)) != 0:
            transfer.progress.advance(self._clock.seconds(), count or 0)

    # Fetching

    async def _fetch(self, transfer: Transfer, part: Part | Output) -> str:
        there = await self._worker.do(part.open)
        if there:
            await self._hash(transfer, "checking", there, part.check_piece)
        return await self._persist(transfer, lambda: self._get(transfer, part))

    async def _get(self, transfer: Transfer, part: Part | Output) -> str:
        stream = await self._connection.open()
        try:
            size, whole, begin = await requests.get(stream, transfer.name, part.offset, part.beginning)
            await self._worker.do(part.begin, whole, begin)
            transfer.doing = "getting"
            transfer.progress.begin(self._clock.seconds(), begin, size)
            await self._take(transfer, part, stream, size - begin)
            await self._worker.do(part.finish)
        except BaseException:
            stream.abort()
            raise
        stream.close()
        return transfer.name

    async def _take(self, transfer: Transfer, part: Part | Output, stream: RequestStream, rest: int) -> None:
        while rest:
            data = await stream.read()
            if not data:
                raise ConnectionLost()
            if len(data) > rest:
                raise ProtocolError("more came than the server promised")
            await self._worker.do(part.write, data)
            rest -= len(data)
            self._moved(transfer, len(data))

    def _moved(self, transfer: Transfer, count: int) -> None:
        transfer.moved += count
        transfer.progress.advance(self._clock.seconds(), count)

    # Sending

    async def _offer(self, transfer: Transfer, source: Source, by: Callable[[], str]) -> str:
        size = await self._worker.do(source.open)
        await self._hash(transfer, "reading", size, source.hash_piece)
        try:
            return await self._persist(transfer, lambda: self._put(transfer, source, by()))
        except RefusedError as why:
            if source.has_changed:
                raise FileError(f"{source.path} has changed while it was sent: {why}") from why
            raise

    async def _put(self, transfer: Transfer, source: Source, by: str) -> str:
        if not by:
            raise BusyError("there is no seat in the group just now")
        if not self._connection.reached:
            (await self._connection.open()).close()
        stream = await self._connection.for_uploads.open()
        try:
            offset = await requests.put(stream, transfer.name, source.size, source.sha256, by)
            transfer.doing = "sending"
            transfer.progress.begin(self._clock.seconds(), offset, source.size)
            while offset < source.size and not stream.is_answered:
                data = await self._worker.do(source.read, offset)
                await stream.write(data)
                offset += len(data)
                self._moved(transfer, len(data))
            stream.finish()
            name = await requests.accepted(stream)
        except BaseException:
            stream.abort()
            raise
        stream.close()
        return name
