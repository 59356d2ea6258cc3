"""`twistd groupchat`: its options, and how its parts are plugged together. Only here are concrete classes named."""

from __future__ import annotations

import atexit
import errno
import ipaddress
import os
import sys
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from twisted.application import service
from twisted.internet.defer import Deferred, inlineCallbacks, maybeDeferred
from twisted.logger import Logger
from twisted.python import usage

from groupchat import __version__
from groupchat.codec import MAX_REPLY
from groupchat.errors import CannotOpen, LogError
from groupchat.frontends.udp import UDPService, check_free, everywhere
from groupchat.log import ILog
from groupchat.log.database import Database
from groupchat.log.memory import MemoryLog
from groupchat.log.sqlite import SqliteLog
from groupchat.rules import Settings
from groupchat.service import GroupService

DEFAULTS = Settings()
MOST = 1_000_000_000

_NUMBERS = {
    "port": (0, 65_535),
    "max-reply": (1, MAX_REPLY),
    "max-members": (1, MOST),
    "max-per-host": (0, MOST),
    "release": (0, MOST),
    "idle": (0, MOST),
    "keep": (1, MOST),
    "keep-days": (0, MOST),
}
"""The options that are whole numbers, with the least and the most that each may be."""


class Options(usage.Options):
    """The options of `twistd groupchat`. Once parsed, numbers are int."""

    synopsis = "[options]"
    longdesc = "A group chat that anything can join: five messages over UDP. What you missed waits for you."
    optParameters = [
        ["port", "p", "12345", "UDP port to listen on; 0 is any that is free."],
        [
            "interface",
            "i",
            None,
            "IP address to listen on, of IPv4 or IPv6; without it, all of this machine.",
        ],
        ["group", "g", DEFAULTS.name, "The name of the group."],
        ["max-reply", None, str(MAX_REPLY), "The longest reply in bytes. What does not fit waits; nothing is cut."],
        ["max-members", None, str(DEFAULTS.max_members), "The most members."],
        ["max-per-host", None, str(DEFAULTS.max_per_host), "The most members of one IP address; 0 is no limit."],
        [
            "release",
            None,
            str(DEFAULTS.release),
            "Seconds of silence after which a name is given up to another port of the same host; 0 is never.",
        ],
        ["idle", None, str(DEFAULTS.idle), "Days of silence after which a member leaves; 0 is never."],
        ["keep", None, str(DEFAULTS.keep), "How many lines are kept."],
        ["keep-days", None, str(DEFAULTS.keep_days), "For how many days lines are kept; 0 is no limit."],
        ["db", "d", "groupchat.sqlite", "The file that the group is kept in; :memory: is none."],
        [
            "durability",
            None,
            "full",
            "full: what was answered survives a power cut; normal: faster, but one may take back the last answers.",
        ],
    ]

    def opt_version(self) -> None:
        """Show the version of groupchat, and exit."""
        print(f"groupchat {__version__}")
        sys.exit(0)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Exits with one line about the first thing that is wrong, instead of a page of help."""
        try:
            super().parseOptions(options)
        except usage.UsageError as wrong:
            sys.exit(f"twistd groupchat: {wrong} (twistd groupchat --help lists the options)")

    def parseArgs(self, *rest: str) -> None:
        if rest:
            raise usage.UsageError(f"There are options only, and {rest[0]!r} is none.")

    def postOptions(self) -> None:
        for name, (least, most) in _NUMBERS.items():
            self[name] = _number(name, self[name], least, most)
        if self["durability"] not in ("full", "normal"):
            raise usage.UsageError(f"--durability must be full or normal, not {self['durability']!r}.")
        if not self["db"]:
            raise usage.UsageError("--db must name a file, or be :memory:.")
        if not self["group"].strip() or not self["group"].isprintable() or len(self["group"]) > 64:
            raise usage.UsageError("--group must be 1 to 64 printable characters.")
        if self["interface"]:
            try:
                ipaddress.ip_address(self["interface"])
            except ValueError:
                raise usage.UsageError(f"--interface must be an IP address, not {self['interface']!r}.") from None
            if "%" in self["interface"]:
                raise usage.UsageError("--interface cannot be a link-local address: listen on :: instead.")


def _number(name: str, value: str, least: int, most: int) -> int:
    if not (value.isascii() and value.isdigit() and least <= int(value) <= most):
        raise usage.UsageError(f"--{name} must be a whole number from {least} to {most}, not {value!r}.")
    return int(value)


def makeService(options: Options) -> service.IService:
    """The whole daemon. Exits with one line if the port cannot be had: nobody would see an error after the fork."""
    from twisted.internet import reactor

    interfaces = [options["interface"]] if options["interface"] else list(everywhere())
    for interface in interfaces:
        _check_free(interface, options["port"])
    settings = Settings(
        name=options["group"],
        max_members=options["max-members"],
        max_per_host=options["max-per-host"],
        release=options["release"],
        idle=options["idle"],
        keep=options["keep"],
        keep_days=options["keep-days"],
    )
    group_service = GroupService(settings, _log(options, reactor), reactor, fail)
    udp_service = UDPService(reactor, group_service, options["port"], interfaces, options["max-reply"])
    return InOrder([group_service, udp_service], fail)


def _log(options: Options, reactor: Any) -> ILog:
    """The log that the options ask for. Exits with one line if it cannot be opened, though it is only opened later."""
    if options["db"] == ":memory:":
        return MemoryLog()
    path = Path(options["db"])
    twistd = options.parent
    in_sight = twistd is not None and twistd["chroot"] is None
    if twistd is not None and in_sight:
        _check_file(Path(twistd["rundir"]) / path)
    return SqliteLog(path, reactor, options["durability"].upper(), check=not in_sight)


def _check_file(path: Path) -> None:
    if path.exists():
        try:
            Database(path).close()
        except CannotOpen as why:
            sys.exit(f"twistd groupchat: {why}")
    elif not os.access(path.parent, os.W_OK | os.X_OK):
        sys.exit(f"twistd groupchat: {path} cannot be made: {path.parent} is no directory that may be written to.")


def _check_free(interface: str, port: int) -> None:
    try:
        check_free(interface, port)
    except OSError as error:
        where = f"[{interface}]:{port}" if ":" in interface else f"{interface}:{port}"
        hint = "Is it running already? Choose another with --port." if error.errno == errno.EADDRINUSE else ""
        sys.exit(
            f"twistd groupchat: cannot listen on UDP {where}: {error.strerror}. {hint or 'See --interface and --port.'}"
        )


class InOrder(service.MultiService):
    """Services that start one after another, each once the one before is ready, and stop in the opposite order.

    `failed` is called if one cannot start.
    """

    _logger = Logger()

    def __init__(self, services: Sequence[service.Service], failed: Callable[[], None]) -> None:
        super().__init__()
        self._failed = failed
        for child in services:
            child.setServiceParent(self)

    @inlineCallbacks
    def startService(self) -> Generator[Deferred[Any], Any, None]:
        service.Service.startService(self)
        for child in self:
            try:
                yield maybeDeferred(child.startService)
            except Exception as why:
                if self.running:
                    self._say_why(why)
                    self._failed()
                return
            if not self.running:
                return  # stopped meanwhile

    def _say_why(self, why: Exception) -> None:
        if isinstance(why, LogError):
            self._logger.critical("Cannot start: {why}", why=str(why))
        else:
            self._logger.failure("Cannot start")

    @inlineCallbacks
    def stopService(self) -> Generator[Deferred[Any], Any, None]:
        service.Service.stopService(self)
        for child in reversed(list(self)):
            try:
                yield maybeDeferred(child.stopService)
            except Exception:
                self._logger.failure("While stopping")


def fail() -> None:
    """End the daemon with status 1. Stopping the reactor alone would end it with 0, as if all were well."""
    from twisted.internet import reactor

    atexit.register(_exit_with_failure)
    reactor.callWhenRunning(reactor.stop)


def _exit_with_failure() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
