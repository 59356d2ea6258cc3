"""`twistd groupchat`: how its parts are plugged together. Only this module names concrete front ends."""

from __future__ import annotations

import errno
import os
import pwd
import re
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from twisted.application import service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import ILogObserver, Logger
from twisted.python.failure import Failure

from groupchat import __version__
from groupchat.configuration import Configuration
from groupchat.control import ControlFactory, ControlService, check_usable
from groupchat.control.requests import Daemon, ask
from groupchat.core.errors import CannotListen, CannotOpen, CannotStart, GroupchatError
from groupchat.core.group import Group
from groupchat.core.limits import MAX_READINGS, MAX_UPLOADS, FileLimits, Limits, Settings
from groupchat.daemon import (
    Door,
    InOrder,
    LastProblem,
    allow_open_files,
    fail,
    limit_collections,
    limit_sockets,
    ways_in,
)
from groupchat.files import NoShelf
from groupchat.files.disk import Disk
from groupchat.files.shelf import Shelf
from groupchat.frontends.connections import ConnectionRegistry, PassedPort, PortEndpoint, StreamService, TLSEndpoint
from groupchat.frontends.lines import LinesProtocol
from groupchat.frontends.transfers.server import TransferServer
from groupchat.frontends.transfers.stream import TransferStream
from groupchat.frontends.udp import FiveMessages, UDPService, check_free, everywhere
from groupchat.log import ILog
from groupchat.log.database import Database
from groupchat.log.memory import MemoryLog
from groupchat.log.place import check_rescued
from groupchat.log.sqlite import SqliteLog
from groupchat.observers import observer_for
from groupchat.options import DEFAULT_PORT, MB, Options
from groupchat.service.audit import Audit, path_of
from groupchat.service.group_service import GroupService
from groupchat.signals import LogFile, Signals
from groupchat.startup import Ports, expiry, exposure, rehearse
from groupchat.systemd import Systemd, passed_sockets, passed_to_this

if TYPE_CHECKING:
    from groupchat.frontends.quic import QuicService
    from groupchat.frontends.web.guard import TrustedHosts
    from groupchat.frontends.web.serving import WebService
    from groupchat.quic.certificate import Certificate

OTHER_FILES = 64
"""How many files the daemon has open besides its connections and transfers."""

_logger = Logger()


def makeService(options: Options) -> service.IService:
    """Return the whole daemon. Exit with one line if it cannot start: errors after the fork reach only the log."""
    try:
        return _daemon(options)
    except GroupchatError as why:
        sys.exit(f"twistd groupchat: {why}")


def _daemon(options: Options) -> service.IService:
    from twisted.internet import reactor

    twistd: Mapping[str, Any] | None = options.parent
    passed = _passed(options)
    interfaces = [options["interface"]] if options["interface"] else list(everywhere())
    for interface in () if passed["udp"] else interfaces:
        _check_udp_port(interface, options["port"])
    streams = {option: list(_streams(options[option], passed[option], reactor)) for option in ("tcp", "web")}
    held = {given.getsockname()[1] for option in streams for given in passed[option]}
    with Ports(None if twistd is None or twistd["chroot"] else twistd["rundir"], held) as ports:
        endpoints, web_endpoints = (
            [_endpoint(option, where, listener, options["interface"], ports) for where, listener in those]
            for option, those in streams.items()
        )
    tls = [
        (option, endpoint)
        for option, those in (("tcp", endpoints), ("web", web_endpoints))
        for endpoint in those
        if isinstance(endpoint, TLSEndpoint)
    ]
    certificate = _certificate(options) if options["quic"] else None
    warnings = [warning for until in ports.expiries for warning in expiry("A certificate for TLS", until)]
    warnings += _exposures(options, "." if twistd is None else twistd["rundir"])
    if certificate is not None and options["certificate"] is not None:
        warnings += expiry(f"The certificate {options['certificate']}", certificate().expires)
    log_file = None
    if twistd is not None:
        warnings += rehearse(twistd, partial(_check_files, options, _log_path(twistd)))
        log_file = _log_file(twistd)
        signals = Signals(reactor, log_file, twistd["pidfile"], in_foreground=bool(twistd["nodaemon"]))
        signals.install_first()
        reactor.callWhenRunning(signals.install)
    for warning in warnings:
        _logger.warn("{warning}", warning=warning)

    audit = Audit(None if options["db"] == ":memory:" else path_of(Path(options["db"])))
    group_service = GroupService(_settings(options), _log(options, reactor), reactor, fail, audit)
    shelf = _shelf(options, group_service, reactor)
    if shelf is not None:
        group_service.eraser.remove_file = shelf.remove
    registry = ConnectionRegistry(group_service, _limits(options), reactor, LinesProtocol, shelf)
    quic = None if certificate is None else _quic(certificate, registry)
    make_protocol = partial(
        FiveMessages, group_service, options["max-reply"], options["udp-networks"], None if quic is None else quic.take
    )
    udp = UDPService(reactor, group_service, options["port"], passed["udp"] or interfaces, make_protocol)
    lines = StreamService(registry, endpoints)
    web = _web(options, registry, web_endpoints) if web_endpoints else None

    shelf_service = None if shelf is None else ShelfService(shelf)
    connections = lines if endpoints or web is not None or quic is not None else None  # it runs the registry for all
    # They start in this order, and stop in reverse: what uses something stops before it.
    problem = LastProblem()
    live = Live(group_service, registry, shelf, udp, quic, web, tls)
    configuration = Configuration(options, group_service.group.moderation.facts, live.prepare)
    status = partial(_facts, options, registry, udp, problem)
    control = _control(options, group_service, configuration, status, reactor)
    systemd = Systemd(os.environ, reactor, group_service.ask_log, partial(_in_a_line, group_service))
    if twistd is not None:
        signals.reload = partial(systemd.reload, configuration.hang_up)
    parts = [problem, group_service, shelf_service, control, udp, quic, connections, web, systemd]

    def started() -> None:
        limit_collections()
        limit_sockets(reactor, udp.ports)
        _introduce(options, group_service.group, list(_doors(options["quic"], streams, udp, lines, web)))

    observer = None if twistd is None else _observer(options, twistd, log_file)
    return InOrder([part for part in parts if part is not None], fail, started, observer)


def _introduce(options: Options, group: Group, doors: list[Door]) -> None:
    """Log which group runs, and the ways to join it."""
    _logger.info(
        "groupchat {version} runs the group {name} of {file}: {members} members, {lines} lines",
        version=__version__,
        name=options["name"],
        file=options["db"] if options["db"] == ":memory:" else os.path.abspath(options["db"]),
        members=len(group.members),
        lines=group.history.head - group.history.first + 1,
    )
    _logger.info("{ways}", ways=ways_in(options["name"], doors), doors=list(map(asdict, doors)))


def _in_a_line(group_service: GroupService) -> str:
    members = group_service.group.members.values()
    live = sum(map(group_service.seats.is_connected, members))
    stored = "messages are stored" if group_service.is_well() else "MESSAGES CANNOT BE STORED"
    return f"{len(members)} members, {live} live, {group_service.group.history.head} lines; {stored}"


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
        operators=options["operators"],
    )


def _shelf(options: Options, group_service: GroupService, reactor: Any) -> Shelf | None:
    if options["files"] is None:
        return None
    members = group_service.group.members
    return Shelf(Path(options["files"]), _file_limits(options), reactor, members.__contains__)


def _file_limits(options: Options) -> FileLimits:
    return FileLimits(
        max_file=options["max-file-size"] * MB,
        max_total=options["files-quota"] * MB,
        max_member=options["member-quota"] * MB,
        keep_free=options["keep-free"] * MB,
    )


def _control_path(options: Options) -> Path | None:
    """Return the path of the control socket, or None if there is none."""
    if options["control"] is not None:
        return Path(options["control"])
    return None if options["db"] == ":memory:" else Path(f"{options['db']}.control")


def _control(
    options: Options,
    group_service: GroupService,
    configuration: Configuration,
    facts: Callable[[], Mapping[str, Any]],
    reactor: Any,
) -> ControlService | None:
    path = _control_path(options)
    if path is None:
        return None
    daemon = Daemon(group_service, group_service.audit, reactor, facts, reactor.stop, reactor.seconds(), configuration)
    factory = ControlFactory(partial(ask, daemon), reactor, group_service.survive)
    return ControlService(path, options["control-group"] or "", factory, reactor)


def _facts(options: Options, registry: ConnectionRegistry, udp: UDPService, problem: LastProblem) -> Mapping[str, Any]:
    """Return what the parts outside of the group have to say for the status."""
    facts: dict[str, Any] = {"connections": len(registry.connections), "connections_refused": registry.refused}
    facts["datagrams_refused"] = sum(port.protocol.refusals for port in udp.ports)
    if options["db"] != ":memory:":
        with suppress(OSError):
            room = os.statvfs(Path(options["db"]).parent)
            facts["disk_free"] = room.f_bavail * room.f_frsize
            facts["disk_used"] = sum(
                os.stat(path).st_size for path in (options["db"], f"{options['db']}-wal") if os.path.exists(path)
            )
    if problem.text:
        facts |= {"problem": problem.text, "problem_at": problem.at}
    return facts


def _quic(certificate: Callable[[], Certificate], registry: ConnectionRegistry) -> QuicService:
    from groupchat.frontends.quic import Quic, QuicService

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
    return QuicService(quic, certificate, transfer_server)


def _web(options: Options, registry: ConnectionRegistry, endpoints: Sequence[IStreamServerEndpoint]) -> WebService:
    from groupchat.frontends.web.serving import WebService, routes  # what it needs takes time to import
    from groupchat.frontends.web.site import Site

    return WebService(Site(registry, routes(), registry.shelf, _max_file(options), _hosts(options)), endpoints)


def _max_file(options: Options) -> int:
    most: int = min(options[name] for name in ("max-file-size", "files-quota", "member-quota"))
    return most * MB


def _hosts(options: Options) -> TrustedHosts:
    from groupchat.frontends.web.guard import TrustedHosts

    names = [*options["web-host"], socket.gethostname()]
    return TrustedHosts(frozenset(name.lower() for name in names), tuple(options["proxies"]))


@dataclass(frozen=True, slots=True)
class Live:
    """The parts of the daemon whose settings can change while it runs. `tls` has endpoints, each with its option."""

    group_service: GroupService
    registry: ConnectionRegistry
    shelf: Shelf | None
    udp: UDPService
    quic: QuicService | None
    web: WebService | None
    tls: Sequence[tuple[str, TLSEndpoint]]

    def prepare(self, options: Options) -> tuple[Callable[[], None], list[str]]:
        """Read the certificates: see configuration.Prepare. One that only root may read stays as it was."""
        certificate = self._certificate(options)
        contexts = dict(self._contexts(options))
        renewed = [option for option, endpoint in self.tls if endpoint in contexts]
        if certificate is not None:
            renewed.append("certificate")
        return partial(self._use, options, certificate, contexts), renewed

    def _certificate(self, options: Options) -> Certificate | None:
        """Return the certificate for QUIC if it is another one than now."""
        from groupchat.quic.certificate import load

        given = options["certificate"]
        path = _kept_certificate(options) if given is None else options.path(given)
        if self.quic is None or path is None or not (given or path.exists()):
            return None
        now = self.quic.certificate()
        try:
            found = load(path)
        except CannotListen as why:
            if isinstance(why.__cause__, PermissionError):
                options.unreadable.append("certificate")
                return None
            raise
        return None if found.certificate == now.certificate else found

    def _contexts(self, options: Options) -> Iterator[tuple[TLSEndpoint, Any]]:
        """Yield the endpoints for TLS whose certificates are other ones than now."""
        for option, endpoint in self.tls:
            try:
                context = endpoint.load(options.endpoint(endpoint.where))
            except PermissionError:
                options.unreadable.append(option)
                continue
            except Exception as error:  # OpenSSL raises whatever it likes
                raise CannotListen(f"--{option} {endpoint.where}: {_described(error)}") from error
            if endpoint.is_new(context):
                yield endpoint, context

    def _use(self, options: Options, certificate: Certificate | None, contexts: Mapping[TLSEndpoint, Any]) -> None:
        self.group_service.configure(_settings(options))
        limits = _limits(options)
        self.registry.configure(limits)
        if self.quic is not None:
            self.quic.quic.limits = limits
            if certificate is not None:
                self.quic.renew(certificate)
        for port in self.udp.ports:
            port.protocol.configure(options["max-reply"], options["udp-networks"])
        if self.shelf is not None:
            self.shelf.configure(_file_limits(options))
        if self.web is not None:
            self.web.site.configure(_hosts(options), _max_file(options))
        for endpoint, context in contexts.items():
            endpoint.use(context)


def _passed(options: Options) -> dict[str, list[socket.socket]]:
    """Return the sockets that systemd passed, unless Twisted's own endpoint `systemd:` is to take them."""
    if any(where.startswith("systemd:") for where in (*options["tcp"], *options["web"])):
        return passed_sockets([], [])
    passed = passed_sockets(*passed_to_this())
    numbers = {given.getsockname()[1] for given in passed["udp"]}
    if len(numbers) > 1 or (numbers and options["port"] not in (*numbers, 0, DEFAULT_PORT)):
        raise CannotStart(f"systemd passes UDP port {min(numbers)}: the sockets named udp and --port need the same.")
    return passed


def _streams(wheres: Sequence[str], passed: Sequence[socket.socket], reactor: Any) -> Iterator[tuple[str, Any]]:
    """Yield what an option listens on: the endpoint in words, and its reactor, or what stands in for that.

    A socket that was passed needs no option, unless it is for TLS.
    """
    by_number: dict[str, list[PassedPort]] = {}
    for given in passed:
        by_number.setdefault(str(given.getsockname()[1]), []).append(PassedPort(reactor, given))
    for where in wheres:
        found = re.fullmatch(r"(?:(?:tcp6?|ssl):)?(?:port=)?0*(\d+)(:.*)?", where)
        ports = by_number.pop(found[1], []) if found else []
        yield from ((where if ":" in where else f"tcp:{where}", port) for port in ports)
        if not ports:
            yield where, reactor
    yield from ((f"tcp:{number}", port) for number, ports in by_number.items() for port in ports)


def _doors(
    has_quic: bool,
    streams: Mapping[str, list[tuple[str, Any]]],
    udp: UDPService,
    lines: StreamService,
    web: WebService | None,
) -> Iterator[Door]:
    """Return the ports that are open, those that are easiest to use first."""
    if web is not None:
        for (where, _), port in zip(streams["web"], web.ports, strict=True):
            yield from _door("https" if where.startswith("ssl:") else "http", port)
    for (where, _), port in zip(streams["tcp"], lines.ports, strict=True):
        yield from _door("tls" if where.startswith("ssl:") else "tcp", port)
    for scheme in ("quic", "udp") if has_quic else ("udp",):
        yield from _door(scheme, udp.ports[0])


def _door(scheme: str, port: IListeningPort) -> Iterator[Door]:
    address: Any = port.getHost()
    if hasattr(address, "port"):  # a Unix socket has none
        yield Door(scheme, "" if address.host in ("", "::", "0.0.0.0") else address.host, address.port)


def _certificate(options: Options) -> Callable[[], Certificate]:
    """Return what loads the certificate for QUIC, or makes it. Raise CannotListen, or exit with one line."""
    try:
        import groupchat.frontends.quic  # noqa: F401 - needs more than what is imported next
        from groupchat.quic.certificate import load, load_or_make
    except ImportError as error:
        sys.exit(f"twistd groupchat: --quic: {error}. Install what it needs: pip install 'groupchat[quic]'")
    if options["certificate"] is None:
        return partial(load_or_make, _kept_certificate(options))
    loaded = load(Path(options["certificate"]))  # now, as perhaps only root may
    return lambda: loaded


def _kept_certificate(options: Options) -> Path | None:
    """Return where the certificate is kept that the daemon makes, or None if it is made for this run only."""
    return None if options["db"] == ":memory:" else Path(f"{options['db']}.pem")


def _endpoint(option: str, where: str, reactor: Any, interface: str | None, ports: Ports) -> IStreamServerEndpoint:
    """Return the endpoint that an option names. Exit with one line if it cannot be had."""
    if where.isascii() and where.isdigit():
        bare = PortEndpoint(reactor, int(where), interface)
        try:
            ports.hold(bare.bind())
        except OSError as error:
            sys.exit(f"twistd groupchat: cannot listen on TCP port {where}: {_why_not(error, option)}")
        return bare
    try:
        make = TLSEndpoint if where.startswith("ssl:") else serverFromString
        endpoint: IStreamServerEndpoint = make(reactor, where)
        problems: list[Failure] = []
        maybeDeferred(serverFromString(ports, where).listen, Factory()).addErrback(problems.append)
        for problem in problems:
            if not problem.check(AttributeError):  # it listens in a way of its own: it will be seen how
                problem.raiseException()
    except ImportError as error:
        sys.exit(f"twistd groupchat: --{option} {where}: {error}. For TLS: pip install 'groupchat[tls]'")
    except Exception as error:  # endpoint plugins and OpenSSL raise whatever they like
        if isinstance(error, OSError) and not error.filename:
            sys.exit(f"twistd groupchat: --{option} {where}: {_why_not(error, option)}")
        hint = "TLS is ssl:PORT:privateKey=FILE:certKey=FILE"
        sys.exit(f"twistd groupchat: --{option} {where}: {_described(error)}. {hint}")
    return endpoint


IN_MAKEFILE = {"port": "make run PORT=NUMBER", "tcp": "make run PORT=NUMBER", "web": "make run WEB=NUMBER"}
"""How the Makefile has an option chosen."""


def _why_not(error: OSError, option: str) -> str:
    """Return in words why a port is not available, and what to do about it."""
    reason = (error.strerror or str(error)).partition(" (while")[0]
    how = IN_MAKEFILE[option] if os.environ.get("GROUPCHAT_RUN") == "make" else f"--{option}"
    match error.errno:
        case errno.EADDRINUSE:
            return f"{reason}. Is it running already? Choose another with {how}."
        case errno.EACCES:
            return f"{reason}. Only root may use a port below 1024: choose another with {how}."
    return f"{reason}. See --interface and --{option}."


def _described(error: Exception) -> str:
    if error.args and isinstance(error.args[0], list):  # OpenSSL's errors
        reasons = "; ".join(str(part[-1]) for part in error.args[0] if isinstance(part, tuple) and part)
        return f"the key or the certificate cannot be used ({reasons or 'no reason given'})"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _log(options: Options, reactor: Any) -> ILog:
    if options["db"] == ":memory:":
        return MemoryLog()
    check = options.parent is None  # or else `_check_files` has checked it
    return SqliteLog(Path(options["db"]), reactor, options["durability"].upper(), check=check)


def _check_files(options: Options, log_path: Path | None) -> Iterator[str]:
    """Check what the daemon will open: in its directory, and as its user. Yield warnings; raise GroupchatError."""
    shared = None if options["files"] is None else Path(options["files"])
    if options["db"] != ":memory:":
        path = Path(options["db"])
        _check_database(path, options["durability"].upper())
        yield from exposure("the group", path, shared)
    control = _control_path(options)
    if control is not None:
        check_usable(control, options["control-group"] or "")
    kept = _kept_certificate(options)
    if options["quic"] and options["certificate"] is None and kept is not None and os.path.exists(kept):
        from groupchat.quic.certificate import load

        yield from expiry(f"The certificate {kept}", load(kept).expires)
        yield from exposure("the key for QUIC", kept, shared)
    if shared is not None:
        Disk(shared).close()
    if log_path is not None and os.path.exists(log_path):
        yield from exposure("the log", log_path, shared)
        if not os.access(log_path, os.W_OK, effective_ids=True):
            yield f"The user of the daemon may not write to {log_path}: it cannot be reopened after a rotation"


def _check_database(path: Path, synchronous: str) -> None:
    """Open the file of the group; if there is none, make one of that name in a directory that is removed again."""
    check_rescued(path)
    if os.path.exists(path):
        Database(path, synchronous).close()
        return
    if not os.path.isdir(path.parent):
        raise CannotOpen(f"cannot make {path}: {path.parent} is not a directory.")
    try:
        with TemporaryDirectory(prefix=".", dir=path.parent) as directory:
            Database(Path(directory, path.name)).close()
    except OSError as error:
        raise CannotOpen(f"cannot make {path}: {error.strerror}.") from error
    except CannotOpen as error:  # which names the file in that directory
        why = error.__cause__
        raise CannotOpen(f"cannot make {path}: {getattr(why, 'strerror', None) or why}.") from error


def _exposures(options: Options, rundir: str) -> Iterator[str]:
    """Yield a warning for each secret file that is read before the fork and that others can read."""
    secrets = [
        ("the password", options["password-file"]),
        ("the passwords of operators", options["operator-file"]),
        ("the key for QUIC", options["certificate"]),
    ]
    for where in (*options["tcp"], *options["web"]):
        secrets += [("the key for TLS", key) for key in re.findall(r":privateKey=((?:[^:\\]|\\.)*)", where)]
    shared = None if options["files"] is None else Path(rundir, options["files"])
    for what, path in secrets:
        if path is not None:
            yield from exposure(what, Path(path), shared)


def _log_path(twistd: Mapping[str, Any]) -> Path | None:
    """Return the file to log to, as twistd has it; None if it logs otherwise."""
    name = twistd["logfile"] or ("" if twistd["nodaemon"] else "twistd.log")
    return Path(name).absolute() if name not in ("", "-") and not twistd["syslog"] and not twistd["logger"] else None


def _log_file(twistd: Mapping[str, Any]) -> LogFile | None:
    path, uid, gid = _log_path(twistd), twistd["uid"], twistd["gid"]
    if path is None:
        return None
    owner = -1 if uid is None else uid, pwd.getpwuid(uid).pw_gid if gid is None and uid is not None else gid or -1
    try:
        return LogFile(path, owner)
    except OSError as error:
        raise CannotStart(f"--logfile {path}: {error.strerror or error}.") from error


def _observer(options: Options, twistd: Mapping[str, Any], log_file: LogFile | None) -> ILogObserver | None:
    """Return what writes the log; None if twistd was told to log elsewhere. Raise CannotStart."""
    if twistd["syslog"] or twistd["logger"]:
        if options["log-json"]:
            raise CannotStart("--log-json is for a log file, or standard output: not with --syslog or --logger.")
        return None
    return observer_for(sys.stdout if log_file is None else log_file.file, as_json=bool(options["log-json"]))


def _check_udp_port(interface: str, port: int) -> None:
    try:
        check_free(interface, port)
    except OSError as error:
        where = f"[{interface}]:{port}" if ":" in interface else f"{interface}:{port}"
        sys.exit(f"twistd groupchat: cannot listen on UDP {where}: {_why_not(error, 'port')}")


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
