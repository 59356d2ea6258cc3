"""`twistd groupchat`: how its parts are plugged together. Only here are concrete classes named."""

from __future__ import annotations

import atexit
import errno
import os
import resource
import socket
import sys
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.application import service
from twisted.internet.defer import Deferred, inlineCallbacks, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.logger import Logger

from groupchat.core.errors import CannotListen, CannotOpen, LogError
from groupchat.core.limits import MAX_READINGS, MAX_UPLOADS, FileLimits, Limits, Settings
from groupchat.files import NoShelf
from groupchat.files.shelf import Shelf
from groupchat.frontends.connections import ConnectionRegistry, PortEndpoint, StreamService
from groupchat.frontends.lines import LinesProtocol
from groupchat.frontends.transfers.server import TransferServer
from groupchat.frontends.transfers.stream import TransferStream
from groupchat.frontends.udp import FiveMessages, UDPService, check_free, everywhere
from groupchat.log import ILog
from groupchat.log.database import Database
from groupchat.log.memory import MemoryLog
from groupchat.log.sqlite import SqliteLog
from groupchat.options import MB, Options
from groupchat.service.group_service import GroupService

if TYPE_CHECKING:
    from groupchat.frontends.quic import QuicService
    from groupchat.frontends.web.serving import WebService

OTHER_FILES = 64  # that the daemon has open beside its connections

_logger = Logger()


def makeService(options: Options) -> service.IService:
    """The whole daemon. Exits with one line if the port cannot be had: nobody would see an error after the fork."""
    from twisted.internet import reactor

    interfaces = [options["interface"]] if options["interface"] else list(everywhere())
    for interface in interfaces:
        _check_free(interface, options["port"])
    endpoints = [_endpoint("tcp", where, reactor, options["interface"]) for where in options["tcp"]]
    web_endpoints = [_endpoint("web", where, reactor, options["interface"]) for where in options["web"]]
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
    limits = Limits(
        max_connections=_room(options),
        max_quic=options["max-quic"],
        max_per_host=options["max-per-host"],
        name_within=options["name-within"],
        password=options["password"],
    )
    shelf = _shelf(options, group_service, reactor)
    registry = ConnectionRegistry(group_service, limits, reactor, LinesProtocol, shelf)
    quic = _quic(options, registry) if options["quic"] else None

    def five_messages() -> FiveMessages:
        other = quic.take if quic is not None else None
        return FiveMessages(group_service, options["max-reply"], options["networks"], other)

    parts: list[service.Service] = [group_service]
    parts += [ShelfService(shelf)] if shelf is not None else []
    parts.append(UDPService(reactor, group_service, options["port"], interfaces, five_messages))
    parts += [quic] if quic is not None else []
    parts += [StreamService(registry, endpoints)] if endpoints or web_endpoints or quic is not None else []
    parts += [_web(options, registry, web_endpoints)] if web_endpoints else []
    return InOrder(parts, fail)


def _shelf(options: Options, group_service: GroupService, reactor: Any) -> Shelf | None:
    if options["files"] is None:
        return None
    limits = FileLimits(
        max_file=options["max-file"] * MB,
        max_total=options["max-files"] * MB,
        max_member=options["max-share"] * MB,
        keep_free=options["keep-free"] * MB,
    )
    members = group_service.group.members
    return Shelf(Path(options["files"]), limits, reactor, members.__contains__)


def _quic(options: Options, registry: ConnectionRegistry) -> QuicService:
    """Exits with one line if it cannot be."""
    try:
        from groupchat.frontends.quic import Quic, QuicService
        from groupchat.quic.certificate import load
    except ImportError as error:
        sys.exit(f"twistd groupchat: --quic: {error}. Install what it needs: pip install 'groupchat[quic]'")
    if options["certificate"] is not None:
        try:
            load(Path(options["certificate"]))
        except CannotListen as why:
            sys.exit(f"twistd groupchat: {why}")
    transfer_server = TransferServer(registry, registry.shelf or NoShelf(), lambda peer: registry.connect(peer.host))
    quic = Quic(
        registry.limits,
        registry.clock,
        registry.group_service.survive,
        lambda peer: TransferStream(transfer_server, peer),
    )
    return QuicService(quic, _certificate(options), transfer_server)


def _web(options: Options, registry: ConnectionRegistry, endpoints: Sequence[IStreamServerEndpoint]) -> WebService:
    from groupchat.frontends.web.guard import Known
    from groupchat.frontends.web.serving import WebService, routes  # what it needs takes time to import
    from groupchat.frontends.web.site import Site

    max_file = min(options[name] for name in ("max-file", "max-files", "max-share")) * MB
    names = [*options["web-host"], socket.gethostname()]
    known = Known(frozenset(name.lower() for name in names), tuple(options["web-proxies"]))
    return WebService(Site(registry, routes(), registry.shelf, max_file, known), endpoints)


def _certificate(options: Options) -> Path | None:
    """Where the certificate is, or is to be kept."""
    if options["certificate"] is not None:
        return Path(options["certificate"])
    return None if options["db"] == ":memory:" else Path(f"{options['db']}.pem")


def _endpoint(option: str, where: str, reactor: Any, interface: str | None) -> IStreamServerEndpoint:
    """Where this option says. Exits with one line if that cannot be."""
    if not (where.isascii() and where.isdigit()):
        try:
            endpoint: IStreamServerEndpoint = serverFromString(reactor, where)
        except ImportError as error:
            sys.exit(f"twistd groupchat: --{option} {where}: {error}. For TLS: pip install 'groupchat[tls]'")
        except Exception as error:  # whatever the plugin of that endpoint, or OpenSSL, has to say
            hint = "TLS is ssl:PORT:privateKey=FILE:certKey=FILE"
            sys.exit(f"twistd groupchat: --{option} {where}: {_in_words(error)}. {hint}")
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


def _room(options: Options) -> int:
    """Let this process open as many files as it needs. Returns for how many connections there is room."""
    connections: int = options["max-connections"]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    other = OTHER_FILES + (MAX_READINGS + MAX_UPLOADS if options["files"] is not None else 0)
    wanted = connections + other
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
        if most < wanted:
            room = max(1, most - other)
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


class ShelfService(service.Service):
    """Has the shelf of files open as long as it runs."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def startService(self) -> Deferred[None]:
        super().startService()
        return self._shelf.start()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return self._shelf.stop()


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
