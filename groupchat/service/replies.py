"""What clients are told. A bug in a client is logged and survived: it must not stop the group."""

from __future__ import annotations

from collections.abc import Callable

from groupchat.core.errors import IllegalMessage
from groupchat.service.seats import IClient, IConnection, InternalCommand, Seat, Task


class Replies:
    """Tells clients what became of their commands; internal commands have none.

    `survive` is called while handling an exception of a client.
    """

    def __init__(self, survive: Callable[[str], None]) -> None:
        self.refused = 0
        """The number of commands that were refused."""
        self.dropped = 0
        """The number of commands that got no answer."""
        self._survive = survive

    def answer(self, seat: Seat, task: Task) -> None:
        if seat.client is not None and not isinstance(task, InternalCommand):
            try:
                seat.client.answered(seat, task)
            except Exception:
                self._survive("answering")

    def refuse(self, seat: Seat, task: Task, why: IllegalMessage) -> None:
        self.refused += 1
        if seat.client is not None and not isinstance(task, InternalCommand):
            try:
                seat.client.refused(seat, task, why)
            except Exception:
                self._survive("refusing")

    def drop(self, seat: Seat, task: Task) -> None:
        self.dropped += 1
        if seat.client is not None and not isinstance(task, InternalCommand):
            try:
                seat.client.dropped(seat, task)
            except Exception:
                self._survive("dropping a command")

    def displace(self, client: IClient | None, why: str) -> None:
        """Tell a connection that it has lost its seat."""
        connection = IConnection(client, None)
        if connection is not None:
            try:
                connection.displaced(why)
            except Exception:
                self._survive("taking a seat away")
