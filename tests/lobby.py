"""Live lines in memory: connections without sockets, to a group with members over UDP as well."""

from __future__ import annotations

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from groupchat.core.limits import Limits
from groupchat.frontends.connections import ConnectionRegistry
from groupchat.frontends.lines import LinesProtocol
from groupchat.frontends.lines.protocol import QUIET_SECONDS
from groupchat.log import ILog
from groupchat.log.memory import Store
from groupchat.wire import lines as wire_lines
from tests.logs import LateLog
from tests.node import Node

KEY = "00112233445566778899aabbccddeeff"
OTHER_KEY = "ff" * 16
ASKED = "* What is your name?"
WELCOME = "* You are {}. What you type goes to all; /help tells more, and Ctrl-D leaves."
CANNOT = "The server cannot take that now: send it again."
STOPPING = "* The server is stopping. What was said is kept: come back in a while."


class Caller:
    """The other end of a connection. `step` is how many bytes the server receives at once; 0 is all."""

    def __init__(self, lobby: Lobby, host: str, step: int = 0) -> None:
        self._lobby = lobby
        self._step = step
        self.transport = StringTransport()
        protocol = lobby.registry.buildProtocol(IPv4Address("TCP", host, 40_000))
        assert isinstance(protocol, LinesProtocol), protocol
        self.lines = protocol
        self.lines.makeConnection(self.transport)

    def send(self, *lines: str) -> None:
        """Send these lines at once."""
        self.send_bytes("".join([f"{line}\r\n" for line in lines]).encode())

    def send_bytes(self, data: bytes) -> None:
        step = self._step or len(data) or 1
        for at in range(0, len(data), step):
            self.lines.dataReceived(data[at : at + step])

    def heard(self) -> list[str]:
        """Return the lines that came since the last call, once nothing more happens."""
        self.settle()
        data: bytes = self.transport.value()
        self.transport.clear()
        data = data.replace(wire_lines.NO_TIMING_MARK, b"")
        assert data.endswith(b"\n") or not data, data
        return data.decode().split("\n")[:-1]

    def ask(self, *lines: str) -> list[str]:
        self.heard()
        self.send(*lines)
        return self.heard()

    def settle(self) -> None:
        """Let everything happen that takes no time, or that waits for silence before a refusal."""
        self._lobby.settle()
        if self.lines.is_discarding or self.lines.waits_for_more:
            self._lobby.clock.advance(QUIET_SECONDS)
            self._lobby.settle()

    @property
    def is_closing(self) -> bool:
        self.settle()
        return self.transport.disconnecting

    def half_close(self) -> None:
        """End the sending."""
        self.lines.readConnectionLost()

    def lose(self, *, reset: bool = False) -> None:
        """Lose the connection."""
        self.lines.connectionLost(Failure(ConnectionLost() if reset else ConnectionDone()))


class Lobby(Node):
    """A node that has live lines as well. It is noon."""

    def __init__(
        self, log: ILog | None = None, clock: Clock | None = None, limits: Limits | None = None, **settings: int
    ) -> None:
        clock = clock or Clock()
        clock.rightNow = 12 * 3600.0
        super().__init__(log, clock, **settings)
        self.registry = ConnectionRegistry(self.service, limits or Limits(), clock, LinesProtocol)
        self.registry.start()

    def settle(self) -> None:
        """Let everything happen that takes no time."""
        while any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls()):
            self.clock.advance(0)

    def call(self, host: str = "10.0.0.9", step: int = 0) -> Caller:
        return Caller(self, host, step)

    def enter(self, name: str, *more: str, host: str = "10.0.0.9") -> Caller:
        """Return a member who has received all lines so far."""
        caller = self.call(host)
        assert WELCOME.format(name) in caller.ask(name, *more), name
        return caller

    def program(self, name: str, key: str = KEY) -> Caller:
        """Return a member with a numbered session."""
        caller = self.call()
        heard = caller.ask(f"/numbered {key} {name}")
        assert heard[-1].startswith("session "), heard
        return caller

    def watch(self) -> list[str]:
        """Return the lines since the last call that the member over UDP sees."""
        reply = self.ask(1, "5")
        assert reply is not None
        return reply.split("\n") if reply else []


def late_lobby(delay: float = 1.0) -> Lobby:
    """Return an empty lobby whose log gives back what is appended only `delay` seconds later."""
    clock = Clock()
    return Lobby(LateLog(Store(), clock, delay), clock)


class LobbyTestCase(SynchronousTestCase):
    """A test with a lobby and one member, Bob, who polls."""

    def setUp(self) -> None:
        self.open(Lobby())

    def open(self, lobby: Lobby) -> None:
        self.lobby = lobby
        self.assertEqual(lobby.ask(1, "1 Bob"), "")
        lobby.settle()
