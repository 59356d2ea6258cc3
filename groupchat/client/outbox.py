"""The outgoing half of a numbered session: commands with ids, kept until they are answered. Pure."""

from __future__ import annotations

from collections import deque

from groupchat.client.commands import SessionCommand, as_typed

AT_ONCE = 32
"""The most commands that may be sent and unanswered. The server remembers the last 64 ids (see core/ids.py)."""


class Outbox:
    """Commands that wait to be sent, commands that wait for their answer, and at the end /quit."""

    def __init__(self) -> None:
        self.waiting: deque[SessionCommand] = deque()
        self.leaving = False
        self.quit_id = 0  # once /quit was sent
        self._sent: dict[int, SessionCommand] = {}  # in the order of their ids
        self._last_id = 0

    def unsent(self) -> list[str]:
        """Return the lines that may be sent now: as many commands as are allowed, or /quit after the last answer."""
        first = self._last_id + 1
        while self.waiting and len(self._sent) < AT_ONCE:
            self._last_id += 1
            self._sent[self._last_id] = self.waiting.popleft()
        lines = [f"{number} {as_typed(command)}" for number, command in self._sent.items() if number >= first]
        if self.leaving and not self._sent and not self.quit_id:
            self._last_id = self.quit_id = self._last_id + 1
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
