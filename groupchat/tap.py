"""`twistd groupchat`: its options, and how its parts are plugged together. Only here are concrete classes named."""

from __future__ import annotations

import atexit
import errno
import ipaddress
import os
import resource
import sys
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from twisted.application import service
from twisted.internet.defer import Deferred, inlineCallbacks, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python import usage

from groupchat import __version__
from groupchat.codec import MAX_REPLY
from groupchat.errors import CannotListen, CannotOpen, LogError
from groupchat.frontends.lines import Lines
from groupchat.frontends.streams import Hub, PortEndpoint, StreamService
from groupchat.frontends.udp import EVERYWHERE, FiveMessages, Network, UDPService, check_free, everywhere
from groupchat.limits import BURST, KEEPALIVE, MAX_LINE, MAX_UNENDED, Limits, Settings
from groupchat.log import ILog
from groupchat.log.database import Database
from groupchat.log.memory import MemoryLog
from groupchat.log.sqlite import SqliteLog
from groupchat.service import GroupService

DEFAULTS = Settings()
LIMITS = Limits()
OTHER_FILES = 64  # that the daemon has open beside its connections
MAX_PASSWORD = 256
MOST = 1_000_000_000

_logger = Logger()

_NUMBERS = {
    "port": (0, 65_535),
    "max-reply": (1, MAX_REPLY),
    "max-members": (1, MOST),
    "max-per-host": (0, MOST),
    "max-connections": (1, MOST),
    "rate": (0, MOST),
    "name-within": (1, MOST),
    "hold": (0, MOST),
    "stall": (1, MOST),
    "release": (0, MOST),
    "idle": (0, MOST),
    "keep": (1, MOST),
    "keep-days": (0, MOST),
}
"""The options that are whole numbers, with the least and the most that each may be."""


class Options(usage.Options):
    """The options of `twistd groupchat`. Once parsed, numbers are int."""

    synopsis = "[options]"
    longdesc = (
        "A group chat that anything can join: five messages over UDP, live lines over TCP. Nothing is missed. "
        f"A line is {MAX_LINE:,} bytes at most; {MAX_UNENDED:,} without an end of line close a connection, and so does "
        f"silence of {KEEPALIVE[0]} seconds if nothing answers then. See docs/operations.md for all limits."
    )
    optParameters = [
        ["port", "p", "12345", "UDP port to listen on; 0 is any that is free."],
        [
            "interface",
            "i",
            None,
            "IP address to listen on, of IPv4 or IPv6; without it, all of this machine.",
        ],
        ["password-file", None, None, "A file with the password of the group: asked of live lines; see --allow."],
        [
            "allow",
            None,
            None,
            "Networks, like 10.0.0.0/8,::1/128, whose datagrams are taken; all, or with a password none, without it.",
        ],
        ["group", "g", DEFAULTS.name, "The name of the group."],
        ["max-reply", None, str(MAX_REPLY), "The longest reply in bytes. What does not fit waits; nothing is cut."],
        ["max-members", None, str(DEFAULTS.max_members), "The most members."],
        [
            "max-per-host",
            None,
            str(DEFAULTS.max_per_host),
            "The most members, and the most connections, of one IP address; 0 is no limit.",
        ],
        ["max-connections", None, str(LIMITS.max_connections), "The most live connections."],
        [
            "rate",
            None,
            str(DEFAULTS.rate),
            f"Texts a second that one member may say in the long run, {BURST} at once; 0 is no limit.",
        ],
        ["name-within", None, str(LIMITS.name_within), "Seconds in which a connection must give a name."],
        [
            "hold",
            None,
            str(DEFAULTS.hold),
            "Seconds for which a numbered session waits to be resumed when its connection ended.",
        ],
        [
            "stall",
            None,
            str(DEFAULTS.stall),
            "Seconds after which a connection that takes nothing of what it is given is closed.",
        ],
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

    def __init__(self) -> None:
        super().__init__()
        self["tcp"] = []

    def opt_tcp(self, where: str) -> None:
        """Where to listen for live lines: a TCP port, or a Twisted endpoint such as
        ssl:12346:privateKey=key.pem:certKey=cert.pem; may be given several times."""
        if where.isascii() and where.isdigit():
            _number("tcp", where, 0, 65_535)
        self["tcp"].append(where)

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
        if self["password-file"] and not self["tcp"]:
            raise usage.UsageError("--password-file is asked of live lines: it needs --tcp.")
        self["networks"] = _networks(self["allow"], otherwise=() if self["password-file"] else EVERYWHERE)
        self["password"] = _password(Path(self["password-file"])) if self["password-file"] else None
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


def _networks(allow: str | None, otherwise: Sequence[Network]) -> Sequence[Network]:
    if allow is None:
        return otherwise
    try:
        return [ipaddress.ip_network(network.strip()) for network in allow.split(",")]
    except ValueError as why:
        raise usage.UsageError(f"--allow must be networks like 10.0.0.0/8,::1/128: {why}.") from None


def _password(path: Path) -> bytes:
    try:
        password = path.read_bytes().removesuffix(b"\n").removesuffix(b"\r")
    except OSError as error:
        raise usage.UsageError(f"--password-file {path} cannot be read: {error.strerror}.") from None
    if not 0 < len(password) <= MAX_PASSWORD or b"\n" in password:
        raise usage.UsageError(f"--password-file {path} must have one line in it, of 1 to {MAX_PASSWORD} bytes.")
    return password


def makeService(options: Options) -> service.IService:
    """The whole daemon. Exits with one line if the port cannot be had: nobody would see an error after the fork."""
    from twisted.internet import reactor

    interfaces = [options["interface"]] if options["interface"] else list(everywhere())
    for interface in interfaces:
        _check_free(interface, options["port"])
    endpoints = [_endpoint(where, reactor, options["interface"]) for where in options["tcp"]]
    settings = Settings(
        name=options["group"],
        max_members=options["max-members"],
        max_per_host=options["max-per-host"],
        rate=options["rate"],
        release=options["release"],
        hold=options["hold"],
        stall=options["stall"],
        idle=options["idle"],
        keep=options["keep"],
        keep_days=options["keep-days"],
    )
    group_service = GroupService(settings, _log(options, reactor), reactor, fail)

    def five_messages() -> FiveMessages:
        return FiveMessages(group_service, options["max-reply"], options["networks"])

    udp = UDPService(reactor, group_service, options["port"], interfaces, five_messages)
    if not endpoints:
        return InOrder([group_service, udp], fail)
    limits = Limits(
        max_connections=_room_for_files(options["max-connections"]),
        max_per_host=options["max-per-host"],
        name_within=options["name-within"],
        password=options["password"],
    )
    return InOrder([group_service, udp, StreamService(Hub(group_service, limits, reactor, Lines), endpoints)], fail)


def _endpoint(where: str, reactor: Any, interface: str | None) -> IStreamServerEndpoint:
    """Where --tcp says. Exits with one line if that cannot be."""
    if not (where.isascii() and where.isdigit()):
        try:
            endpoint: IStreamServerEndpoint = serverFromString(reactor, where)
        except ImportError as error:
            sys.exit(f"twistd groupchat: --tcp {where}: {error}. For TLS: pip install 'groupchat[tls]'")
        except Exception as error:  # whatever the plugin of that endpoint, or OpenSSL, has to say
            sys.exit(
                f"twistd groupchat: --tcp {where}: {_in_words(error)}. TLS is ssl:PORT:privateKey=FILE:certKey=FILE"
            )
        return endpoint
    number = int(where)
    bare = PortEndpoint(reactor, number, interface)
    try:
        bare.bind().close()
    except OSError as error:
        hint = " Is it running already?" if error.errno == errno.EADDRINUSE else ""
        sys.exit(f"twistd groupchat: cannot listen on TCP port {number}: {error.strerror}.{hint}")
    return bare


def _in_words(error: Exception) -> str:
    if error.args and isinstance(error.args[0], list):  # OpenSSL's way to say what is wrong
        reasons = "; ".join(str(part[-1]) for part in error.args[0] if isinstance(part, tuple) and part)
        return f"the key or the certificate cannot be used ({reasons or 'no reason given'})"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _room_for_files(connections: int) -> int:
    """Let this process open as many files as it needs. Returns for how many connections there is room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
        if most < wanted:
            room = max(1, most - OTHER_FILES)
            _logger.warn("Room for {room} connections only: this process may open {most} files", room=room, most=most)
            return room
    return connections


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
        if isinstance(why, LogError | CannotListen):
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
