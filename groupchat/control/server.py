"""The control socket: a Unix socket that only its owner, or a group, can use, with a JSON object a line.

    -> {"version": 1, "do": "remove", "name": "Tina", "why": "spam"}
    <- {"item": {...}}          any number of them
    <- {"done": true}           or {"error": "why, in a sentence"}

A connection may ask for one thing after another. Who asks is known from the socket (SO_PEERCRED).
"""

from __future__ import annotations

import errno
import grp
import json
import os
import pwd
import select
import socket
import stat
import struct
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, cast

from twisted.application import service
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IListeningPort,
    IPushProducer,
    IReactorTime,
    IReactorUNIX,
)
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from groupchat.core.errors import CannotListen, IllegalMessage
from groupchat.core.limits import BACKLOG

VERSION = 1
MAX_REQUEST = 64 * 1024
"""The longest request, in bytes."""

MAX_CONNECTIONS = 32
"""Connections at the same time."""

SECONDS = 60.0
"""Seconds after which a connection is closed that asks for nothing, or does not read its answer."""

WATCH_SECONDS = 1.0
"""Seconds between two looks whether a peer is still there."""

Item = Mapping[str, Any]
Ask = Callable[[dict[str, Any], str], AsyncIterator[Item]]
"""A function that is given a request and who asks, and yields items: see requests.py."""


@implementer(IPushProducer, IHalfCloseableProtocol)
class Control(LineOnlyReceiver):
    """One connection."""

    delimiter = b"\n"
    MAX_LENGTH = MAX_REQUEST
    transport: Any  # an ITransport and IConsumer

    def __init__(self, factory: ControlFactory) -> None:
        self._owner = factory
        self._user = ""
        self._timer: IDelayedCall | None = None
        self._watcher: IDelayedCall | None = None
        self._answering: Deferred[None] | None = None
        self._waiting: deque[bytes] = deque()
        self._room: Deferred[None] | None = None  # while the peer does not read
        self._input_ended = False

    def connectionMade(self) -> None:
        self._owner.connections.add(self)
        self._user = _user(self.transport.getHandle())
        self.transport.registerProducer(self, True)
        self._wait()
        self._watch_later()
        if len(self._owner.connections) > MAX_CONNECTIONS:
            self._end("There are too many connections to the control socket.")

    def lineReceived(self, line: bytes) -> None:
        self._waiting.append(line)
        if self._answering is None:
            self._stop_waiting()
            self.transport.pauseProducing()  # what has come is answered first
            answering = ensureDeferred(self._answer_all())
            self._answering = answering  # before it fires, which may be now
            answering.addCallback(self._answered)

    def lineLengthExceeded(self, line: bytes) -> None:
        self._end(f"A request has at most {MAX_REQUEST} bytes.")

    def readConnectionLost(self) -> None:
        """Answer what was asked for before the peer ended its side, and close then."""
        self._input_ended = True
        if self._answering is None:
            self._close()

    def writeConnectionLost(self) -> None:
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.connected = 0  # Twisted leaves it as it was
        self._owner.connections.discard(self)
        for waiting in (self._answering, self._room):
            if waiting is not None:
                waiting.cancel()
        self._stop_waiting()
        if self._watcher is not None and self._watcher.active():
            self._watcher.cancel()

    def _watch_later(self) -> None:
        self._watcher = self._owner.clock.callLater(WATCH_SECONDS, self._watch)

    def _watch(self) -> None:
        """Notice that the peer has gone. While it is answered, nothing may be read or written that would tell."""
        hang_up = select.poll()
        hang_up.register(self.transport.getHandle(), 0)
        if hang_up.poll(0):
            self.transport.abortConnection()
        else:
            self._watch_later()

    def _stop_waiting(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _wait(self) -> None:
        """Close the connection if nothing happens for some time."""
        if self._timer is not None and self._timer.active():
            self._timer.reset(SECONDS)
        else:
            self._timer = self._owner.clock.callLater(SECONDS, self._too_late)

    def _too_late(self) -> None:
        self.transport.abortConnection()

    async def _answer_all(self) -> None:
        """Answer the requests that came, one after another, no faster than the peer reads."""
        with suppress(CancelledError):  # the peer has gone, and with it the questions
            while self._waiting:
                await self._answer(self._waiting.popleft())
                await self._have_room()

    async def _have_room(self) -> None:
        """Wait until the peer has read enough of what was written."""
        if self._room is not None:
            self._wait()
            await self._room
            self._stop_waiting()

    async def _answer(self, line: bytes) -> None:
        try:
            async for item in self._owner.ask(_request(line), self._user):
                self._send({"item": item})
                await self._have_room()
            self._send({"done": True})
        except IllegalMessage as why:
            self._send({"error": str(why)})
        except CancelledError:
            raise
        except Exception:
            self._owner.survive("answering on the control socket")
            self._send({"error": "The daemon failed to do that: its log says why."})

    def _answered(self, _: None) -> None:
        self._answering = None
        if not self.connected:
            return
        if self._input_ended:
            self._close()
        else:
            self.transport.resumeProducing()
            self._wait()

    def _send(self, answer: Item) -> None:
        if self.connected:
            self.transport.write(json.dumps(answer, ensure_ascii=False).encode() + b"\n")

    def _end(self, why: str) -> None:
        self._send({"error": why})
        self._close()

    def _close(self) -> None:
        """Close once the peer has read what was written to it, or has taken too long for that."""
        self._wait()
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    # IPushProducer

    def pauseProducing(self) -> None:
        if self._room is None:
            self._room = Deferred()

    def resumeProducing(self) -> None:
        room, self._room = self._room, None
        if room is not None:
            room.callback(None)

    def stopProducing(self) -> None:
        pass


class ControlFactory(Factory):
    """Makes the connections."""

    noisy = False

    def __init__(self, ask: Ask, clock: IReactorTime, survive: Callable[[str], None]) -> None:
        self.ask = ask
        self.clock = clock
        self.survive = survive
        self.connections: set[Control] = set()

    def logPrefix(self) -> str:
        """Return what Twisted calls this in the log."""
        return "The control socket"

    def buildProtocol(self, addr: object) -> Control:
        return Control(self)


class ControlService(service.Service):
    """The control socket, from the start of the daemon to its end.

    `group` is the name of a group of users that may use it, too; empty for the owner only.
    """

    _logger = Logger()

    def __init__(self, path: Path, group: str, factory: ControlFactory, reactor: IReactorUNIX) -> None:
        self._path = path
        self._group = group
        self._factory = factory
        self._reactor = reactor
        self._port: IListeningPort | None = None

    def startService(self) -> None:
        """Listen. The log is open, and locked: so a socket that is there was left behind by a daemon that is gone."""
        super().startService()
        try:
            self._port = self._listen()
        except (OSError, KeyError, CannotListenError) as error:
            why = error.socketError if isinstance(error, CannotListenError) else error
            raise CannotListen(f"the control socket {self._path} cannot be used: {_in_words(why)}.") from why

    def _listen(self) -> IListeningPort:
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(self._path.lstat().st_mode):
                raise OSError(0, "there is a file of that name that is no socket")
            with socket.socket(socket.AF_UNIX) as probe:
                probe.setblocking(False)
                if probe.connect_ex(str(self._path)) != errno.ECONNREFUSED:
                    raise OSError(0, "another daemon uses it")
            self._path.unlink()
        before = os.umask(0o177)
        try:
            factory: Any = self._factory
            port = self._reactor.listenUNIX(str(self._path), factory, BACKLOG, 0o600)
        finally:
            os.umask(before)
        if self._group:
            os.chown(self._path, -1, grp.getgrnam(self._group).gr_gid)
            self._path.chmod(0o660)
        return port

    async def _stop(self) -> None:
        if self._port is not None:
            await cast("Deferred[None]", self._port.stopListening())
            with suppress(FileNotFoundError):
                self._path.unlink()
        for connection in tuple(self._factory.connections):
            connection.transport.loseConnection()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return ensureDeferred(self._stop())


def check_usable(path: Path, group: str) -> None:
    """Check what the control socket will need. Raise CannotListen. Call it as the user of the daemon."""
    try:
        with closing(socket.socket(socket.AF_UNIX)) as probe:
            probe.setblocking(False)
            probe.connect_ex(str(path))  # raises OSError without a number if the path is too long
        if group:
            gid = grp.getgrnam(group).gr_gid
            if os.geteuid() and gid not in {os.getegid(), *os.getgroups()}:
                raise OSError(0, f"only a member of the group {group} can give it away")
        if not os.access(path.parent, os.W_OK | os.X_OK, effective_ids=True):
            raise OSError(0, f"{path.parent} is no directory that the daemon may write to")
    except (OSError, KeyError) as why:
        raise CannotListen(f"the control socket {path} cannot be used: {_in_words(why)}. See --control.") from None


def _request(line: bytes) -> dict[str, Any]:
    """Return a request. Raise IllegalMessage."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        raise IllegalMessage("That is no JSON.") from None
    if not isinstance(request, dict):
        raise IllegalMessage("A request is a JSON object.")
    if request.get("version") != VERSION:
        raise IllegalMessage(f"This daemon speaks version {VERSION} of the control protocol.")
    return request


def _user(connection: socket.socket) -> str:
    """Return the name of the user at the other end of a Unix socket."""
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _in_words(why: Exception) -> str:
    return why.strerror or str(why) if isinstance(why, OSError) else "there is no such group of users"
