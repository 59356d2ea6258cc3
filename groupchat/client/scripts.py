"""What `groupchat files`, `get` and `send` do: one request, and the end. How far it is stands on a terminal only."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from groupchat.client.cli import complain
from groupchat.client.files.late import LateCarrier
from groupchat.client.files.late import Server as QUICServer
from groupchat.client.files.parts import Disk
from groupchat.client.files.progress import line
from groupchat.client.files.sharing import date_in_words, in_words, kept
from groupchat.client.files.transfers import ENDS, Transfer, Transfers
from groupchat.client.files.way import Way, explain
from groupchat.client.files.wire import Listed
from groupchat.client.run import LAST_SECONDS, heeded
from groupchat.client.trust import KnownServers, NewError, default_path
from groupchat.client.where import Where
from groupchat.core.notices import size_in_words

DRAWN_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Server:
    """Where it is, who vouches for it, and what it wants to hear."""

    where: Where
    ca: Path | None
    trust_new: bool
    password: str


class Script:
    """A Watcher of one transfer. Each of its requests runs the reactor, and returns the exit status."""

    def __init__(self, server: Server) -> None:
        from twisted.internet import reactor as installed

        self._reactor: Any = installed
        known = KnownServers(default_path(), trust_new=server.trust_new)
        quic = QUICServer(server.where.host, server.where.port, known, server.ca)
        self._way = Way(LateCarrier(self._reactor, quic), lambda: server.password)
        self._transfers = Transfers(self._reactor, self._way, Disk(self._reactor), self)
        self._drawing = LoopingCall(self._draw)
        self._drawn = False
        self._status = 0
        self._interrupted = False

    def files(self, *, as_json: bool) -> int:
        async def work() -> None:
            try:
                found = await self._way.listing()
            except ENDS as error:
                self._fail(_reason(error))
            else:
                self._write("".join(_entry(file, as_json=as_json) for file in found))

        return self._run(work())

    def get(self, name: str, to: Path | None) -> int:
        return self._transfer(lambda: self._transfers.get(name, to))

    def send(self, path: Path, guest: str) -> int:
        return self._transfer(lambda: self._transfers.send(path, path.name, lambda: f"GUEST {guest}"))

    def _transfer(self, start: Callable[[], Transfer]) -> int:
        async def work() -> None:
            await start().done

        return self._run(work())

    def _run(self, work: Coroutine[Any, Any, None]) -> int:
        def start() -> None:
            for number in heeded():
                signal.signal(number, lambda got, _: self._reactor.callFromThread(self._interrupt, got))
            if os.isatty(2):
                self._drawing.start(DRAWN_SECONDS, now=False)
            self._work = Deferred.fromCoroutine(work)
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
        self._last(LAST_SECONDS)
        self._transfers.stop()
        self._work.cancel()

    def _last(self, seconds: float) -> None:
        """End by then, also if a thread waits for whoever is to read the output, and does not."""
        timer = Timer(seconds, os._exit, [self._status])
        timer.daemon = True
        timer.start()

    def _write(self, text: str) -> None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:  # nobody reads on: said nothing of, as everywhere
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        except OSError as error:
            self._fail(f"standard output: {error.strerror}")

    def _fail(self, why: str) -> None:
        self._status = self._status or 1
        self._say(why)

    def _say(self, words: str) -> None:
        self._erase()
        complain(words)

    def _draw(self) -> None:
        width = shutil.get_terminal_size().columns - 1
        for bar in self._transfers.bars():
            self._drawn = True
            with suppress(OSError):
                os.write(2, f"\r{line(bar, width)}\x1b[K".encode())

    def _erase(self) -> None:
        if self._drawn:
            self._drawn = False
            with suppress(OSError):
                os.write(2, b"\r\x1b[K")

    # What becomes of the transfer

    def began(self, transfer: Transfer) -> None:
        """It is drawn, if there is somebody who looks."""

    def waits(self, transfer: Transfer, why: str) -> None:
        self._say(f"{transfer.name}: trying again ({why})")

    def is_done(self, transfer: Transfer, name: str) -> None:
        self._say(f"{transfer.name}: {in_words(transfer, name)}")

    def failed(self, transfer: Transfer, why: Exception) -> None:
        self._fail(f"{transfer.name}: {_reason(why)}{kept(transfer)}")

    def stopped(self, transfer: Transfer) -> None:
        self._say(f"{transfer.name}: stopped{kept(transfer)}")


def _reason(why: Exception) -> str:
    return f"{why} To trust it: --trust-new, or --ca FILE." if isinstance(why, NewError) else explain(why)


def _entry(file: Listed, *, as_json: bool) -> str:
    if as_json:
        found = {"name": file.name, "size": file.size, "at": file.at, "sha256": file.sha256}
        return json.dumps({key: value for key, value in found.items() if value != "-"}, ensure_ascii=False) + "\n"
    return f"{size_in_words(file.size):>8}  {date_in_words(file.at)}  {file.name}\n"
