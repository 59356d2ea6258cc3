"""The outgoing half of a numbered session: commands with ids, kept until they are answered. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from groupchat.client.commands import SessionCommand, as_typed

AT_ONCE = 32
"""The most commands that may be sent and unanswered. The server remembers the last 64 ids (see core/ids.py)."""


class Outbox:
    """Commands that wait to be sent, commands that wait for their answer, and at the end /quit.

    `new_id` returns ids that grow, none of them twice.
    """

    def __init__(self, new_id: Callable[[], int]) -> None:
        self.waiting: deque[SessionCommand] = deque()
        self.leaving = False
        self.quit_id = 0  # once /quit was sent
        self._sent: dict[int, SessionCommand] = {}  # in the order of their ids
        self._new_id = new_id

    @property
    def is_done(self) -> bool:
        """True if nothing is left to be sent or answered."""
        return not (self.waiting or self._sent or self.leaving)

    def unsent(self) -> list[str]:
        """Return the lines that may be sent now: as many commands as are allowed, or /quit after the last answer."""
        lines = []
        while self.waiting and len(self._sent) < AT_ONCE:
            number, command = self._new_id(), self.waiting.popleft()
            self._sent[number] = command
            lines.append(f"{number} {as_typed(command)}")
        if self.leaving and not self._sent and not self.quit_id:
            self.quit_id = self._new_id()
            lines.append(f"{self.quit_id} /quit")
        return lines

    def unanswered(self) -> list[str]:
        """Return the lines to send again, with the same ids, so that each takes effect once."""
        lines = [f"{number} {as_typed(command)}" for number, command in self._sent.items()]
        return [*lines, f"{self.quit_id} /quit"] if self.quit_id else lines

    def answered(self, number: int) -> SessionCommand | None:
        """Remove the command that was answered, and return it."""
        return self._sent.pop(number, None)

    def give_up(self) -> list[SessionCommand]:
        """Remove all commands that were sent, and return them."""
        commands = list(self._sent.values())
        self._sent.clear()
        return commands
