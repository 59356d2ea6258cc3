"""A node whose log is a SQLite file. The file can be copied at any moment, as a kill would leave it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from groupchat.log.sqlite import SqliteLog
from tests.node import Node


class ThreadReactor:
    """The part of a reactor that a log's thread needs. Calls are made while a test waits."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], object]] = SimpleQueue()

    def callFromThread(self, function: Callable[..., object], *arguments: object) -> None:
        self._calls.put(lambda: function(*arguments))

    def call(self) -> None:
        """Make the next call."""
        self._calls.get(timeout=30)()

    def wait(self, deferred: Deferred[Any]) -> None:
        while not deferred.called:
            self.call()


class DurableNode(Node):
    """A node on the file `path`, with a clock of its own or that of another node."""

    def __init__(self, path: Path, clock: Clock | None = None, **settings: Any) -> None:
        self.path = path
        self.thread_reactor = ThreadReactor()
        self.file_log = SqliteLog(path, self.thread_reactor)  # type: ignore[arg-type]  # all it needs of a reactor
        super().__init__(self.file_log, clock, **settings)
        self.thread_reactor.wait(self.started)

    def settle(self) -> None:
        """Wait until all commands so far are stored and answered."""
        for _ in range(2):
            self.clock.advance(0)
            self.thread_reactor.wait(self.file_log.head())

    def ask(self, who: int, request: str | bytes, host: str = "10.0.0.1") -> str | None:
        self.replies()
        self.send(who, request, host)
        self.settle()
        replies = self.replies(who)
        assert len(replies) <= 1, replies
        return replies[0] if replies else None

    def stop(self) -> None:
        stopped = self.service.stopService()
        while not stopped.called:
            self.clock.advance(0)
            self.thread_reactor.call()

    def cut_off(self, directory: Path) -> Path:
        """Copy the file, as a kill would leave it now, to a new directory. Return the copy."""
        directory.mkdir()
        for path in self.path.parent.glob(f"{self.path.name}*"):
            shutil.copy(path, directory)
        return directory / self.path.name
