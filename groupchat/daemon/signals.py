"""What the daemon does on signals.

    SIGTERM, SIGINT   stop; the second one ends the process at once
    SIGHUP, SIGUSR1   open the log file anew, after a rotation
    SIGHUP            read the settings anew, too; but stop if the terminal of a daemon in the foreground was closed,
                      and it does not run under nohup

What was acknowledged is stored, so nothing of it is lost by ending at once.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from twisted.logger import Logger

from groupchat.daemon.log_file import LogFile

_logger = Logger()


class Signals:
    """The handlers of signals. `pidfile` is removed if the process ends at once; it may be empty."""

    def __init__(self, reactor: Any, log_file: LogFile | None, pidfile: str, *, in_foreground: bool) -> None:
        self._reactor = reactor
        self.log_file = log_file
        self._pidfile = pidfile
        self.reload: Callable[[], None] = lambda: None
        """Reads the settings anew."""
        self._terminal = in_foreground and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN and _has_terminal()

    def install_first(self) -> None:
        """Install the handlers that hold before the reactor runs, also in the daemon that is forked from here."""
        signal.signal(signal.SIGHUP, self._hang_up)
        signal.signal(signal.SIGUSR1, self._in_turn(self._reopen))

    def install(self) -> None:
        """Install all handlers. Call it when the reactor runs, and has installed its own."""
        for number in (signal.SIGTERM, signal.SIGINT):
            stop = signal.getsignal(number)
            if callable(stop):  # SIGINT may be ignored
                signal.signal(number, self._stopping(stop))

    def _in_turn(self, function: Callable[[], None]) -> Callable[[int, FrameType | None], None]:
        """Return a handler that has a function called in a turn of the reactor."""
        return lambda number, frame: self._reactor.callFromThread(function)

    def _hang_up(self, number: int, frame: FrameType | None) -> None:
        if self._terminal and not _has_terminal():
            self._terminal = False
            signal.raise_signal(signal.SIGTERM)
        else:
            self._reactor.callFromThread(self._reopen)
            self._reactor.callFromThread(self.reload)

    def _reopen(self) -> None:
        if self.log_file is None:
            _logger.info("There is no log file to reopen")
            return
        try:
            self.log_file.reopen()
        except OSError as why:
            _logger.error("The log file cannot be reopened, and is written on as it was: {why}", why=str(why))
        else:
            _logger.info("The log file was reopened")

    def _stopping(self, stop: Callable[[int, FrameType | None], Any]) -> Callable[[int, FrameType | None], None]:
        """Return a handler that stops in order, and has the next signal end the process."""

        def handle(number: int, frame: FrameType | None) -> None:
            for again in (signal.SIGTERM, signal.SIGINT):
                if signal.getsignal(again) != signal.SIG_IGN:
                    signal.signal(again, self._end)
            stop(number, frame)

        return handle

    def _end(self, number: int, frame: FrameType | None) -> None:
        """End the process by this signal, at once."""
        _logger.warn("Received a second signal: ending at once")
        if self._pidfile:
            with suppress(OSError):  # as the user that it has now, it may not be allowed to
                os.unlink(self._pidfile)
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)


def _has_terminal() -> bool:
    """Return True if this process has a controlling terminal that is not closed."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
