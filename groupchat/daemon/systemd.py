"""What systemd and the daemon tell each other. Without systemd, nothing is done.

The daemon tells how it is: sd_notify(3), over the socket in NOTIFY_SOCKET.

    READY=1        all doors are open, or the settings were read anew
    RELOADING=1    the settings are being read anew
    STATUS=...     members, lines, and whether messages are stored: `systemctl status` shows it
    WATCHDOG=1     the reactor and the log's thread came round: without it for WatchdogSec, systemd restarts the daemon
    STOPPING=1     it stops in order

A log that answers with an error, as on a full disk, is alive: a daemon that still answers polls is not restarted.

Systemd passes sockets that it opened, and keeps them while the daemon restarts, so that nobody who connects meanwhile
is refused: sd_listen_fds(3). The name of each, FileDescriptorName, is that of the option that it is for.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from typing import Any

from twisted.application import service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.plugins.twisted_core import systemdEndpointParser

from groupchat.core.errors import CannotStart

SILENT_SECONDS = 30.0
"""Seconds without an answer of the log's thread after which the watchdog is told nothing."""

MOST_SECONDS = 10.0
"""The longest time between two reports, in seconds."""


class Systemd(service.Service):
    """Reports on the daemon. It must be the last to start, and the first to stop.

    `ask_log` returns a Deferred that fires, or fails, when the log's thread has come round; `status` returns a line.
    """

    _logger = Logger()

    def __init__(
        self,
        environment: Mapping[str, str],
        clock: IReactorTime,
        ask_log: Callable[[], Deferred[Any]],
        status: Callable[[], str],
    ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._interval = min(MOST_SECONDS, _watchdog_seconds(environment) / 3)
        self._clock = clock
        self._ask_log = ask_log
        self._status = status
        self._answered = 0.0  # when the log's thread answered last
        self._is_asking = False
        self._ticker = LoopingCall(self._report)
        self._ticker.clock = clock

    def startService(self) -> None:
        super().startService()
        if self._address:
            self._answered = self._clock.seconds()
            self._notify("READY=1")
            self._ticker.start(self._interval)

    def stopService(self) -> None:
        super().stopService()
        if self._ticker.running:
            self._ticker.stop()
            self._notify("STOPPING=1", "STATUS=Stopping: lines are sent, and connections closed")

    def reload(self, read: Callable[[], None]) -> None:
        """Have the settings read anew. Tell when that begins, by the clock that systemd has, and when it is done."""
        if not self.running:
            read()
            return
        self._notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        read()
        self._notify("READY=1")

    def _report(self) -> None:
        if not self._is_asking:
            self._is_asking = True
            self._ask_log().addBoth(self._came_round)
        is_alive = self._clock.seconds() - self._answered < SILENT_SECONDS
        self._notify(f"STATUS={self._status()}", *(["WATCHDOG=1"] if is_alive else []))

    def _came_round(self, _: object) -> None:
        self._is_asking = False
        self._answered = self._clock.seconds()

    def _notify(self, *words: str) -> None:
        """Send assignments. If systemd cannot be reached, the watchdog will see to it."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with (
            suppress(OSError),
            closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)) as sender,
        ):
            sender.setblocking(False)
            sender.sendto("\n".join(words).encode(), address)


def _watchdog_seconds(environment: Mapping[str, str]) -> float:
    """Return the time within which systemd wants to hear of this process; infinity if it does not."""
    pid = environment.get("WATCHDOG_PID", str(os.getpid()))
    microseconds = environment.get("WATCHDOG_USEC", "")
    if pid != str(os.getpid()) or not (microseconds.isascii() and microseconds.isdigit() and len(microseconds) < 20):
        return float("inf")
    return max(1.0, int(microseconds) / 1e6)


KINDS = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM, "web": socket.SOCK_STREAM}
"""The names that sockets may have, and of which kind those are."""


def passed_to_this() -> tuple[list[int], list[str]]:
    """Return the descriptors that were passed to this process, and their names.

    Twisted takes LISTEN_PID and LISTEN_FDS out of the environment when its endpoints are imported, but not the names.
    """
    descriptors = systemdEndpointParser._sddaemon.inheritedDescriptors()
    return descriptors, os.environ["LISTEN_FDNAMES"].split(":") if descriptors else []


def passed_sockets(descriptors: Sequence[int], names: Sequence[str]) -> dict[str, list[socket.socket]]:
    """Return sockets that were passed, by name. Raise CannotStart if one cannot be used."""
    found: dict[str, list[socket.socket]] = {name: [] for name in KINDS}
    for descriptor, name in zip(descriptors, names, strict=True):
        try:
            os.set_inheritable(descriptor, False)
            passed = socket.socket(fileno=descriptor)
            why = _why_unusable(name, passed)
        except OSError as error:
            why = str(error.strerror)
        if why:
            raise CannotStart(f"The socket {name!r} that systemd passes cannot be used: {why}.")
        found[name].append(passed)
    return found


def _why_unusable(name: str, passed: socket.socket) -> str:
    """Return why a socket cannot be used under its name, or "" if it can."""
    if name not in KINDS:
        return f"FileDescriptorName is one of {', '.join(KINDS)}"
    if passed.family not in (socket.AF_INET, socket.AF_INET6) or passed.type != KINDS[name]:
        return f"it is not of {'UDP' if name == 'udp' else 'TCP'}"
    if name != "udp":
        listens = passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        return "" if listens else "it does not listen; is Accept=yes set?"
    if passed.family == socket.AF_INET6 and not passed.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
        return "it takes IPv4, too; set BindIPv6Only=ipv6-only, and let it listen on 0.0.0.0 as well"
    return ""
