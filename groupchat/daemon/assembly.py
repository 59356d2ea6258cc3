"""`twistd groupchat`: how its parts are plugged together. Only this module names concrete front ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.application import service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.logger import Logger

from groupchat import __version__
from groupchat.control import ControlFactory, ControlService
from groupchat.control.requests import Daemon, ask
from groupchat.core.errors import GroupchatError
from groupchat.core.group import Group
from groupchat.daemon.checks import check_files, exposures
from groupchat.daemon.configuration import Configuration
from groupchat.daemon.doors import Door, doors, ways_in
from groupchat.daemon.listening import Listening, certificate_for, listening
from groupchat.daemon.live import Live
from groupchat.daemon.log_file import log_path, observer_of, open_log_file
from groupchat.daemon.options import Options
from groupchat.daemon.process import InOrder, LastProblem, fail, limit_collections, limit_sockets
from groupchat.daemon.settings import (
    connection_limits,
    control_path,
    file_limits,
    group_settings,
    max_file,
    trusted_hosts,
)
from groupchat.daemon.signals import Signals
from groupchat.daemon.startup import expiry, rehearse
from groupchat.daemon.systemd import Systemd
from groupchat.files import NoShelf
from groupchat.files.shelf import Shelf
from groupchat.frontends.connections import ConnectionRegistry, StreamService
from groupchat.frontends.lines import LinesProtocol
from groupchat.frontends.transfers.server import TransferServer
from groupchat.frontends.transfers.stream import TransferStream
from groupchat.frontends.udp import FiveMessages, UDPService
from groupchat.log import ILog
from groupchat.log.memory import MemoryLog
from groupchat.log.sqlite import SqliteLog
from groupchat.service.audit import Audit, path_of
from groupchat.service.group_service import GroupService

if TYPE_CHECKING:
    from groupchat.frontends.quic import QuicService
    from groupchat.frontends.web.serving import WebService
    from groupchat.quic.certificate import Certificate


_logger = Logger()


def makeService(options: Options) -> service.IService:
    """Return the whole daemon. Exit with one line if it cannot start: errors after the fork reach only the log."""
    try:
        return _daemon(options)
    except GroupchatError as why:
        sys.exit(f"twistd groupchat: {why}")


def _daemon(options: Options) -> service.IService:
    from twisted.internet import reactor

    listens = listening(options, reactor)
    certificate = certificate_for(options) if options["quic"] else None
    signals = _before_the_fork(options, listens, certificate, reactor)

    audit = Audit(None if options["db"] == ":memory:" else path_of(Path(options["db"])))
    group_service = GroupService(group_settings(options), _log(options, reactor), reactor, fail, audit)
    shelf = _shelf(options, group_service, reactor)
    if shelf is not None:
        group_service.eraser.remove_file = shelf.remove
    registry = ConnectionRegistry(group_service, connection_limits(options), reactor, LinesProtocol, shelf)
    quic = None if certificate is None else _quic(certificate, registry)
    make_protocol = partial(
        FiveMessages, group_service, options["max-reply"], options["udp-networks"], None if quic is None else quic.take
    )
    udp = UDPService(reactor, group_service, options["port"], listens.udp, make_protocol)
    lines = StreamService(registry, listens.endpoints["tcp"])
    web = _web(options, registry, listens.endpoints["web"]) if listens.endpoints["web"] else None

    shelf_service = None if shelf is None else ShelfService(shelf)
    # It runs the registry for all.
    connections = lines if listens.endpoints["tcp"] or web is not None or quic is not None else None
    # They start in this order, and stop in reverse: what uses something stops before it.
    problem = LastProblem()
    live = Live(group_service, registry, shelf, udp, quic, web, listens.tls)
    configuration = Configuration(options, group_service.group.moderation.facts, live.prepare)
    status = partial(_facts, options, registry, udp, problem)
    control = _control(options, group_service, configuration, status, reactor)
    systemd = Systemd(os.environ, reactor, group_service.ask_log, partial(_in_a_line, group_service))
    if signals is not None:
        signals.reload = partial(systemd.reload, configuration.hang_up)
    parts = [problem, group_service, shelf_service, control, udp, quic, connections, web, systemd]

    def started() -> None:
        limit_collections()
        limit_sockets(reactor, udp.ports)
        _introduce(options, group_service.group, list(doors(options["quic"], listens.streams, udp, lines, web)))

    observer = None if signals is None else observer_of(options, signals.log_file)
    return InOrder([part for part in parts if part is not None], fail, started, observer)


def _before_the_fork(
    options: Options, listens: Listening, certificate: Callable[[], Certificate] | None, reactor: Any
) -> Signals | None:
    """Check what can be checked, log warnings, and install the handlers of signals: none if twistd is not there."""
    twistd: Mapping[str, Any] | None = options.parent
    warnings = [warning for until in listens.expiries for warning in expiry("A certificate for TLS", until)]
    warnings += exposures(options, "." if twistd is None else twistd["rundir"])
    if certificate is not None and options["certificate"] is not None:
        warnings += expiry(f"The certificate {options['certificate']}", certificate().expires)
    signals = None
    if twistd is not None:
        warnings += rehearse(twistd, partial(check_files, options, log_path(twistd)))
        signals = Signals(reactor, open_log_file(twistd), twistd["pidfile"], in_foreground=bool(twistd["nodaemon"]))
        signals.install_first()
        reactor.callWhenRunning(signals.install)
    for warning in warnings:
        _logger.warn("{warning}", warning=warning)
    return signals


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


def _shelf(options: Options, group_service: GroupService, reactor: Any) -> Shelf | None:
    if options["files"] is None:
        return None
    members = group_service.group.members
    return Shelf(Path(options["files"]), file_limits(options), reactor, members.__contains__)


def _control(
    options: Options,
    group_service: GroupService,
    configuration: Configuration,
    facts: Callable[[], Mapping[str, Any]],
    reactor: Any,
) -> ControlService | None:
    path = control_path(options)
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

    return WebService(Site(registry, routes(), registry.shelf, max_file(options), trusted_hosts(options)), endpoints)


def _log(options: Options, reactor: Any) -> ILog:
    if options["db"] == ":memory:":
        return MemoryLog()
    check = options.parent is None  # or else checks.py has checked it
    return SqliteLog(Path(options["db"]), reactor, options["durability"].upper(), check=check)


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
