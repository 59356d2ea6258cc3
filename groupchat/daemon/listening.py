"""The sockets and endpoints of the doors: as the options name them, and as systemd passes them.

A door that cannot be opened is found before the fork, and is one line which says what to do.
"""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from groupchat.core.errors import CannotStart
from groupchat.daemon.options import DEFAULT_PORT, Options
from groupchat.daemon.settings import certificate_path
from groupchat.daemon.startup import Ports
from groupchat.daemon.systemd import passed_sockets, passed_to_this
from groupchat.frontends.connections import PassedPort, PortEndpoint, TLSEndpoint
from groupchat.frontends.udp import check_free, everywhere

if TYPE_CHECKING:
    from groupchat.quic.certificate import Certificate


@dataclass(frozen=True, slots=True)
class Listening:
    """What the daemon listens on. `udp` has interfaces, or sockets that were passed.

    `streams` and `endpoints` are those of the options `tcp` and `web`, in the same order: the endpoint in words with
    its reactor, and the endpoint. `expiries` says when their certificates expire.
    """

    udp: Sequence[str | socket.socket]
    streams: Mapping[str, Sequence[tuple[str, Any]]]
    endpoints: Mapping[str, Sequence[IStreamServerEndpoint]]
    expiries: Sequence[datetime]

    @property
    def tls(self) -> list[tuple[str, TLSEndpoint]]:
        """The endpoints for TLS, each with its option."""
        every = ((option, endpoint) for option, those in self.endpoints.items() for endpoint in those)
        return [(option, endpoint) for option, endpoint in every if isinstance(endpoint, TLSEndpoint)]


def listening(options: Options, reactor: Any) -> Listening:
    """Return what the daemon is to listen on. Raise CannotStart if something of that cannot be had."""
    passed = _passed(options)
    udp: Sequence[str | socket.socket] = passed["udp"]
    if not udp:
        interfaces = [options["interface"]] if options["interface"] else list(everywhere())
        for interface in interfaces:
            _check_udp_port(interface, options["port"])
        udp = interfaces
    streams = {option: list(_streams(options[option], passed[option], reactor)) for option in ("tcp", "web")}
    held = {given.getsockname()[1] for option in streams for given in passed[option]}
    twistd = options.parent
    with Ports(None if twistd is None or twistd["chroot"] else twistd["rundir"], held) as ports:
        endpoints = {
            option: [_endpoint(option, where, listener, options["interface"], ports) for where, listener in those]
            for option, those in streams.items()
        }
    return Listening(udp, streams, endpoints, ports.expiries)


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


def _endpoint(option: str, where: str, reactor: Any, interface: str | None, ports: Ports) -> IStreamServerEndpoint:
    """Return the endpoint that an option names. Raise CannotStart if it cannot be had."""
    if where.isascii() and where.isdigit():
        bare = PortEndpoint(reactor, int(where), interface)
        try:
            ports.hold(bare.bind())
        except OSError as error:
            raise CannotStart(f"cannot listen on TCP port {where}: {_why_not(error, option)}") from error
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
        raise CannotStart(f"--{option} {where}: {error}. For TLS: pip install 'groupchat[tls]'") from error
    except Exception as error:  # endpoint plugins and OpenSSL raise whatever they like
        if isinstance(error, OSError) and not error.filename:
            raise CannotStart(f"--{option} {where}: {_why_not(error, option)}") from error
        hint = "TLS is ssl:PORT:privateKey=FILE:certKey=FILE"
        raise CannotStart(f"--{option} {where}: {described(error)}. {hint}") from error
    return endpoint


def _check_udp_port(interface: str, port: int) -> None:
    try:
        check_free(interface, port)
    except OSError as error:
        where = f"[{interface}]:{port}" if ":" in interface else f"{interface}:{port}"
        raise CannotStart(f"cannot listen on UDP {where}: {_why_not(error, 'port')}") from error


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


def described(error: Exception) -> str:
    if error.args and isinstance(error.args[0], list):  # OpenSSL's errors
        reasons = "; ".join(str(part[-1]) for part in error.args[0] if isinstance(part, tuple) and part)
        return f"the key or the certificate cannot be used ({reasons or 'no reason given'})"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def certificate_for(options: Options) -> Callable[[], Certificate]:
    """Return what loads the certificate for QUIC, or makes it. Raise CannotListen or CannotStart."""
    try:
        import groupchat.frontends.quic  # noqa: F401 - needs more than what is imported next
        from groupchat.quic.certificate import load, load_or_make
    except ImportError as error:
        raise CannotStart(f"--quic: {error}. Install what it needs: pip install 'groupchat[quic]'") from error
    if options["certificate"] is None:
        return partial(load_or_make, certificate_path(options))
    loaded = load(Path(options["certificate"]))  # now, as perhaps only root may
    return lambda: loaded
