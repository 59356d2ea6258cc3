"""`twistd groupchat`: how its parts are plugged together. Only this module names concrete front ends."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.application import service
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.logger import Logger

from groupchat.core.errors import CannotListen, CannotOpen
from groupchat.core.limits import MAX_READINGS, MAX_UPLOADS, FileLimits, Limits, Settings
from groupchat.daemon import Door, InOrder, allow_open_files, fail, limit_collections, limit_sockets, ways_in
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

OTHER_FILES = 64
"""How many files the daemon has open besides its connections and transfers."""

_logger = Logger()


def makeService(options: Options) -> service.IService:
    """Return the whole daemon. Exit with one line if a port is taken: errors after the fork reach only the log."""
    from twisted.internet import reactor

    interfaces = [options["interface"]] if options["interface"] else list(everywhere())
    for interface in interfaces:
        _check_udp_port(interface, options["port"])
    endpoints = [_endpoint("tcp", where, reactor, options["interface"]) for where in options["tcp"]]
    web_endpoints = [_endpoint("web", where, reactor, options["interface"]) for where in options["web"]]

    group_service = GroupService(_settings(options), _log(options, reactor), reactor, fail)
    shelf = _shelf(options, group_service, reactor)
    registry = ConnectionRegistry(group_service, _limits(options), reactor, LinesProtocol, shelf)
    quic = _quic(options, registry) if options["quic"] else None
    make_protocol = partial(
        FiveMessages, group_service, options["max-reply"], options["udp-networks"], None if quic is None else quic.take
    )
    udp = UDPService(reactor, group_service, options["port"], interfaces, make_protocol)
    lines = StreamService(registry, endpoints)
    web = _web(options, registry, web_endpoints) if web_endpoints else None

    shelf_service = None if shelf is None else ShelfService(shelf)
    streams = lines if endpoints or web is not None or quic is not None else None  # it runs the registry for all
    # They start in this order, and stop in reverse: what uses something stops before it.
    parts = [group_service, shelf_service, udp, quic, streams, web]

    def started() -> None:
        limit_collections()
        limit_sockets(reactor, udp.ports)
        _logger.info("{ways}", ways=ways_in(options["name"], list(_doors(options, udp, lines, web))))

    return InOrder([part for part in parts if part is not None], fail, started)


def _settings(options: Options) -> Settings:
    return Settings(
        name=options["name"],
        max_members=options["max-members"],
        max_per_host=options["max-per-host"],
        rate=options["rate"],
        join_rate=options["join-rate"],
        release=options["release"],
        hold=options["hold"],
        stall=options["timeout"],
        idle=options["idle-days"],
        keep=options["keep-lines"],
        keep_days=options["keep-days"],
    )


def _limits(options: Options) -> Limits:
    wanted: int = options["max-connections"]
    other = OTHER_FILES + (MAX_READINGS + MAX_UPLOADS if options["files"] is not None else 0)
    files = allow_open_files(wanted + other)
    room = max(1, min(wanted, files - other))
    if room < wanted:
        _logger.warn("Room for {room} connections only: this process may open {files} files", room=room, files=files)
    return Limits(
        max_connections=room,
        max_quic=min(room, Limits().max_quic),
        max_per_host=options["max-per-host"],
        name_within=options["timeout"],
        password=options["password"],
    )


def _shelf(options: Options, group_service: GroupService, reactor: Any) -> Shelf | None:
    if options["files"] is None:
        return None
    limits = FileLimits(
        max_file=options["max-file-size"] * MB,
        max_total=options["files-quota"] * MB,
        max_member=options["member-quota"] * MB,
        keep_free=options["keep-free"] * MB,
    )
    members = group_service.group.members
    return Shelf(Path(options["files"]), limits, reactor, members.__contains__)


def _quic(options: Options, registry: ConnectionRegistry) -> QuicService:
    """Return the front end of QUIC. Exit with one line if it cannot be."""
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
    transfer_server = TransferServer(
        registry,
        registry.shelf or NoShelf(),
        lambda peer: registry.connect(peer.host),
    )
    quic = Quic(
        registry.limits,
        registry.clock,
        registry.group_service.survive,
        partial(TransferStream, transfer_server),
    )
    return QuicService(quic, _certificate(options), transfer_server)


def _web(options: Options, registry: ConnectionRegistry, endpoints: Sequence[IStreamServerEndpoint]) -> WebService:
    from groupchat.frontends.web.guard import TrustedHosts
    from groupchat.frontends.web.serving import WebService, routes  # what it needs takes time to import
    from groupchat.frontends.web.site import Site

    max_file = min(options[name] for name in ("max-file-size", "files-quota", "member-quota")) * MB
    names = [*options["web-host"], socket.gethostname()]
    hosts = TrustedHosts(frozenset(name.lower() for name in names), tuple(options["proxies"]))
    return WebService(Site(registry, routes(), registry.shelf, max_file, hosts), endpoints)


def _doors(options: Options, udp: UDPService, lines: StreamService, web: WebService | None) -> Iterator[Door]:
    """Return the ports that are open, those that are easiest to use first."""
    interface = options["interface"] or ""
    if web is not None:
        for where, port in zip(options["web"], web.ports, strict=True):
            yield from _door("https" if where.startswith("ssl:") else "http", port)
    for where, port in zip(options["tcp"], lines.ports, strict=True):
        yield from _door("tls" if where.startswith("ssl:") else "tcp", port)
    if options["quic"]:
        yield Door("quic", interface, udp.number)
    yield Door("udp", interface, udp.number)


def _door(scheme: str, port: IListeningPort) -> Iterator[Door]:
    address: Any = port.getHost()
    if hasattr(address, "port"):  # a Unix socket has none
        yield Door(scheme, "" if address.host in ("", "::", "0.0.0.0") else address.host, address.port)


def _certificate(options: Options) -> Path | None:
    """Return where the certificate is kept, or None if it is made for this run only."""
    if options["certificate"] is not None:
        return Path(options["certificate"])
    return None if options["db"] == ":memory:" else Path(f"{options['db']}.pem")


def _endpoint(option: str, where: str, reactor: Any, interface: str | None) -> IStreamServerEndpoint:
    """Return the endpoint that an option names. Exit with one line if it cannot be had."""
    if not (where.isascii() and where.isdigit()):
        try:
            endpoint: IStreamServerEndpoint = serverFromString(reactor, where)
        except ImportError as error:
            sys.exit(f"twistd groupchat: --{option} {where}: {error}. For TLS: pip install 'groupchat[tls]'")
        except Exception as error:  # endpoint plugins and OpenSSL raise whatever they like
            hint = "TLS is ssl:PORT:privateKey=FILE:certKey=FILE"
            sys.exit(f"twistd groupchat: --{option} {where}: {_described(error)}. {hint}")
        return endpoint
    number = int(where)
    bare = PortEndpoint(reactor, number, interface)
    try:
        bare.bind().close()
    except OSError as error:
        hint = " Is it running already?" if error.errno == errno.EADDRINUSE else ""
        sys.exit(f"twistd groupchat: cannot listen on TCP port {number}: {error.strerror}.{hint}")
    return bare


def _described(error: Exception) -> str:
    if error.args and isinstance(error.args[0], list):  # OpenSSL's errors
        reasons = "; ".join(str(part[-1]) for part in error.args[0] if isinstance(part, tuple) and part)
        return f"the key or the certificate cannot be used ({reasons or 'no reason given'})"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _log(options: Options, reactor: Any) -> ILog:
    """Return the log that the options name. Exit with one line if it could not be opened."""
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
        sys.exit(f"twistd groupchat: cannot make {path}: {path.parent} is not a directory that may be written to.")


def _check_udp_port(interface: str, port: int) -> None:
    try:
        check_free(interface, port)
    except OSError as error:
        where = f"[{interface}]:{port}" if ":" in interface else f"{interface}:{port}"
        hint = "Is it running already? Choose another with --port." if error.errno == errno.EADDRINUSE else ""
        sys.exit(
            f"twistd groupchat: cannot listen on UDP {where}: {error.strerror}. {hint or 'See --interface and --port.'}"
        )


class ShelfService(service.Service):
    """Keeps the shelf of files open while it runs."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def startService(self) -> Deferred[None]:
        super().startService()
        return self._shelf.start()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return self._shelf.stop()
