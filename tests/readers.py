"""Live readers without a transport."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from groupchat.core.commands import Say
from groupchat.core.history import History
from groupchat.service.subscriptions import IReader, Subscription
from groupchat.wire.lines import with_numbers
from tests.connections import Connection
from tests.node import Node


@implementer(IReader)
class Reader:
    """A reader. `pieces` has everything that it was given, piece by piece. `then` is called each time."""

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        self.pieces: list[bytes] = []
        self.drops = 0
        self.then = then

    def give(self, lines: bytes) -> None:
        self.pieces.append(lines)
        self.then()

    def drop(self) -> None:
        self.drops += 1

    def lines(self) -> list[str]:
        return b"".join(self.pieces).decode().splitlines()


def may_read(history: History, member: int, number: int) -> bool:
    """Return True if a line is not a whisper among others."""
    return history.reader(number) in (0, member) or history.is_by(member, number)


class SubscriptionTestCase(SynchronousTestCase):
    """A group of Alice, Bob and Carol, without readers and with nothing waiting."""

    def setUp(self) -> None:
        self.start()

    def start(self, **settings: Any) -> None:
        self.node = Node(**settings)
        self.clock, self.group = self.node.clock, self.node.service.group
        self.alice, self.bob, self.carol = (self.joined(name) for name in ("Alice", "Bob", "Carol"))
        for member in self.group.members.values():
            self.group.advance(member, *self.group.place(member, 3))

    def joined(self, name: str) -> Connection:
        connection = Connection(self.node.service)
        connection.join(name)
        self.clock.advance(0)
        self.assertEqual(connection.words(), ["answered"])
        return connection

    def say(self, connection: Connection, *texts: str) -> None:
        """Say these texts in one turn."""
        connection.ask(*(Say(text) for text in texts))
        self.clock.advance(0)

    def open(self, connection: Connection, reader: Reader, after: int = 3, numbered: bool = False) -> Subscription:
        place = self.group.place(connection.member, after)
        render = with_numbers if numbered else None
        return self.node.service.subscriptions.open(connection.member, place, reader, render)
