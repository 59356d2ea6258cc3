"""Connections to a service without a transport, and the base class of tests with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from groupchat.core.commands import Command, Join
from groupchat.core.errors import IllegalMessage
from groupchat.core.group import Member
from groupchat.log.memory import Store
from groupchat.service.group_service import GroupService
from groupchat.service.seats import IConnection, Seat
from groupchat.service.subscriptions import IReader, Subscription
from groupchat.wire.lines import with_numbers
from tests.logs import LateLog
from tests.node import Node

KEY = "0f" * 32


@implementer(IConnection, IReader)
class Connection:
    """A connection. `told` returns its answers since the last call; `why` has the reasons of all refusals.

    `lines` has what its subscription gave it: see `listen`.
    """

    def __init__(self, service: GroupService, host: str = "10.0.0.9") -> None:
        self.way = "tcp"
        self._service = service
        self._told: list[tuple[str, Command | None]] = []
        self.why: list[str] = []
        self.lines: list[str] = []
        self.end: IllegalMessage | None = None
        self.drops = 0
        self.seat = Seat(host)
        self.seat.client = self

    def answered(self, seat: Seat, command: Command) -> None:
        self._told.append(("answered", command))

    def refused(self, seat: Seat, command: Command, why: IllegalMessage) -> None:
        self._told.append(("refused", command))
        self.why.append(str(why))

    def dropped(self, seat: Seat, command: Command) -> None:
        self._told.append(("dropped", command))

    def displaced(self, why: IllegalMessage) -> None:
        self.end = why
        self._told.append(("displaced", None))

    def told(self) -> list[tuple[str, Command | None]]:
        told, self._told = self._told, []
        return told

    def words(self) -> list[str]:
        """Return the kinds of the answers since the last call, without the commands."""
        return [word for word, _ in self.told()]

    @property
    def member(self) -> Member:
        assert self.seat.member is not None
        return self.seat.member

    def ask(self, *commands: Command) -> None:
        """Submit these commands without waiting."""
        for command in commands:
            self._service.submit(self.seat, command)

    def join(self, name: str, secret: str | None = None) -> None:
        self.ask(Join(name, secret))

    def resume(self, secret: str) -> None:
        """Resume a session. Raises IllegalMessage."""
        self.seat = self._service.resume(secret, self.seat.host, self)

    def hang_up(self, *, hold: bool) -> None:
        self._service.hang_up(self.seat, hold=hold)

    def listen(self, after: int | None = None, numbered: bool = False) -> Subscription:
        """Subscribe to what comes after a number; without one, to what the member has not been given."""
        member, group = self.member, self._service.group
        place = (member.cursor, member.skipped) if after is None else group.place(member, after)
        return self._service.subscriptions.open(member, place, self, with_numbers if numbered else None)

    def give(self, lines: bytes) -> None:
        assert lines.endswith(b"\n"), lines
        self.lines.append(lines.decode())

    def drop(self) -> None:
        self.drops += 1

    def given(self) -> Sequence[str]:
        """Return what it was given since the last call, one piece for each turn."""
        lines, self.lines = self.lines, []
        return lines


class SessionTestCase(SynchronousTestCase):
    """A test with a node whose log gives back what is appended `delay` seconds later; with 0, in the next turn."""

    delay = 0.0

    def setUp(self) -> None:
        self.start()

    def start(self, **settings: Any) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.store = Store(retain=10_000)
        self.use(Node(LateLog(self.store, self.clock, self.delay), self.clock, **settings))

    def use(self, node: Node) -> None:
        self.node, self.group, self.seats = node, node.service.group, node.service.seats

    def settle(self) -> None:
        """Let all commands so far be answered."""
        for _ in range(5):
            self.clock.pump([0, self.delay])

    def connection(self, name: str = "", secret: str | None = None, host: str = "10.0.0.9") -> Connection:
        """Return a connection; with a name, one that has joined."""
        connection = Connection(self.node.service, host)
        if name:
            connection.join(name, secret)
            self.settle()
            self.assertEqual(connection.words(), ["answered"])
        return connection

    def hold_alice(self, hold: int) -> None:
        """Start a node that holds sessions for `hold` seconds, and hold Alice's from now on."""
        self.start(hold=hold)
        self.connection("Alice", KEY).hang_up(hold=True)

    def names(self) -> list[str]:
        return [member.name for member in self.group.members.values()]

    def lines(self) -> list[str]:
        """Return all lines of the group."""
        return bytes(self.group.history.read(0, self.group.history.head, 1 << 30)[0]).decode().split("\n")

    def entries(self, after: int) -> list[list[str]]:
        """Return the types of the events of each entry, without records of cursors."""
        found = [[type(event).__name__ for event in entry.events] for entry in self.store.read(after, 1000)]
        return [kinds for kinds in found if kinds != ["Seen"]]

    def assertNoTrace(self) -> None:
        self.assertEqual((self.seats.live, self.seats.held), ({}, {}))
