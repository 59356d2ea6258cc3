"""One command from a seat of its own: by whoever sits nowhere, as a guest does."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from zope.interface import implementer

from groupchat.core.commands import Command
from groupchat.core.errors import IllegalMessage, NotNow
from groupchat.service.group_service import GroupService
from groupchat.service.seats import IClient, Seat

CANNOT = "The server cannot take that now: send it again."


def submit(service: GroupService, host: str, command: Command) -> Deferred[None]:
    """Fires once it has taken effect. Fails with IllegalMessage."""
    seat = Seat(host)
    client = _Once()
    seat.client = client
    service.submit(seat, command)
    return client.done


@implementer(IClient)
class _Once:
    def __init__(self) -> None:
        self.done: Deferred[None] = Deferred()

    def answered(self, seat: Seat, command: Command) -> None:
        self.done.callback(None)

    def refused(self, seat: Seat, command: Command, why: IllegalMessage) -> None:
        self.done.errback(why)

    def dropped(self, seat: Seat, command: Command) -> None:
        self.done.errback(NotNow(CANNOT))
