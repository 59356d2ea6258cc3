"""Single commands of those who have no seat, such as guests: each command gets a seat of its own."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from zope.interface import implementer

from groupchat.core.commands import Command
from groupchat.core.errors import IllegalMessage, NotNow
from groupchat.service.group_service import GroupService
from groupchat.service.seats import IClient, Seat

CANNOT = "The server cannot take that now: send it again."


def submit(service: GroupService, host: str, command: Command) -> Deferred[None]:
    """Submit one command from a host. The Deferred fires once it has taken effect, or fails with IllegalMessage."""
    seat = Seat(host)
    seat.client = client = _Client()
    service.submit(seat, command)
    return client.done


@implementer(IClient)
class _Client:
    def __init__(self) -> None:
        self.done: Deferred[None] = Deferred()

    def answered(self, seat: Seat, command: Command) -> None:
        self.done.callback(None)

    def refused(self, seat: Seat, command: Command, why: IllegalMessage) -> None:
        self.done.errback(why)

    def dropped(self, seat: Seat, command: Command) -> None:
        self.done.errback(NotNow(CANNOT))
