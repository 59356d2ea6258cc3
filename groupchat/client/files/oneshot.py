"""One-shot commands: `groupchat files`, `get` and `send`. Each runs the reactor for one request and ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Timer
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from groupchat.client.chat import HOW_TO_TRUST
from groupchat.client.failures import explain
from groupchat.client.files.connection import FileConnection
from groupchat.client.files.parts import DiskThread
from groupchat.client.files.progress import line
from groupchat.client.files.requests import ListedFile
from groupchat.client.files.sharing import PROGRESS_SECONDS, done_in_words, kept_in_words, listed_in_words
from groupchat.client.files.transfers import ENDS, Transfer, Transfers
from groupchat.client.lazy_quic import LazyQUIC
from groupchat.client.process import LAST_SECONDS, complain, ending_signals, write_output
from groupchat.client.trust import KnownServers, UnknownCertificateError, default_path
from groupchat.client.url import ServerURL


class OneShot:
    """A TransferListener. Each of its commands runs the reactor, and returns the exit status."""

    def __init__(self, url: ServerURL, password: str, *, ca: Path | None, trust_new: bool) -> None:
        from twisted.internet import reactor as installed

        self._reactor: Any = installed
        known = KnownServers(default_path(), trust_new=trust_new)
        self._connection = FileConnection(LazyQUIC(installed, url, known, ca), lambda: password)
        self._transfers = Transfers(self._reactor, self._connection, DiskThread(self._reactor), self)
        self._drawing = LoopingCall(self._draw)
        self._drawn = False
        self._status = 0
        self._interrupted = False

    def files(self, *, as_json: bool) -> int:
        async def work() -> None:
            try:
                found = await self._connection.listing()
            except ENDS as error:
                self._fail(_reason(error))
            else:
                entry = _as_json if as_json else listed_in_words
                self._status = write_output("".join([f"{entry(file)}\n" for file in found]))

        return self._run(work)

    def get(self, name: str, to: Path | None) -> int:
        return self._transfer(lambda: self._transfers.get(name, to))

    def send(self, paths: Sequence[Path], guest: str) -> int:
        def start(path: Path) -> Transfer:
            return self._transfers.send(path, path.name, lambda: f"GUEST {guest}")

        return self._transfer(*[partial(start, path) for path in paths])

    def _transfer(self, *starts: Callable[[], Transfer]) -> int:
        """Make transfers one after the other."""

        async def work() -> None:
            for start in starts:
                await start().done

        return self._run(work)

    def _run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> int:
        def start() -> None:
            for number in ending_signals():
                signal.signal(number, lambda got, _: self._reactor.callFromThread(self._interrupt, got))
            if os.isatty(2):
                self._drawing.start(PROGRESS_SECONDS, now=False)
            self._work = Deferred.fromCoroutine(work())
            self._work.addErrback(self._broke).addBoth(lambda _: self._stop())

        self._reactor.callWhenRunning(start)
        self._reactor.run()
        return self._status

    def _stop(self) -> None:
        if self._drawing.running:
            self._drawing.stop()
        self._reactor.stop()

    def _broke(self, failure: Any) -> None:
        if not self._interrupted:
            failure.printTraceback(sys.stderr)
            self._status = 1

    def _interrupt(self, number: int) -> None:
        if self._interrupted:
            return
        self._interrupted = True
        self._status = 128 + number
        timer = Timer(LAST_SECONDS, os._exit, [self._status])  # a thread may be blocked in writing the output
        timer.daemon = True
        timer.start()
        self._transfers.stop()
        self._work.cancel()

    def _fail(self, why: str) -> None:
        self._status = self._status or 1
        self._say(why)

    def _say(self, words: str) -> None:
        if self._drawn:
            self._drawn = False
            with suppress(OSError):
                os.write(2, b"\r\x1b[K")
        complain(words)

    def _draw(self) -> None:
        width = shutil.get_terminal_size().columns - 1
        for bar in self._transfers.bars():
            self._drawn = True
            with suppress(OSError):
                os.write(2, f"\r{line(bar, width)}\x1b[K".encode())

    # The listener of transfers

    def began(self, transfer: Transfer) -> None:
        """Do nothing: on a terminal the progress is shown."""

    def waits(self, transfer: Transfer, why: str) -> None:
        self._say(f"{transfer.name}: trying again ({why})")

    def is_done(self, transfer: Transfer, name: str) -> None:
        self._say(f"{transfer.name}: {done_in_words(transfer, name)}")

    def failed(self, transfer: Transfer, why: Exception) -> None:
        self._fail(f"{transfer.name}: {_reason(why)}{kept_in_words(transfer)}")

    def stopped(self, transfer: Transfer) -> None:
        self._say(f"{transfer.name}: stopped{kept_in_words(transfer)}")


def _reason(why: Exception) -> str:
    return f"{why} {HOW_TO_TRUST}" if isinstance(why, UnknownCertificateError) else explain(why)


def _as_json(file: ListedFile) -> str:
    found = {"name": file.name, "size": file.size, "at": file.at, "sha256": file.sha256}
    return json.dumps({key: value for key, value in found.items() if value != "-"}, ensure_ascii=False)
