"""The answers to the lines of one connection: sentences for people, and for programs the id of what is answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from groupchat.core.errors import IllegalMessage, NotNow
from groupchat.wire.lines import notes


class Answers:
    """Writes answers with `give`. `numbered` is True for a program, in a numbered session."""

    def __init__(self, give: Callable[[bytes], None]) -> None:
        self.numbered = False
        self._give = give

    def note(self, *words: str | bytes | bytearray) -> None:
        self._give(notes(words))

    def reply(self, client_id: int, answer: Sequence[str | bytes | bytearray]) -> None:
        if self.numbered:
            self._give(notes(answer, b"= ") + b"ok %d\n" % client_id)
        elif answer:
            self.note(*answer)

    def confirm(self, client_id: int, *words: str) -> None:
        """Say that a command took effect: to a person in these words, to a program by its id."""
        self.reply(client_id, () if self.numbered else words)

    def refuse(self, client_id: int, why: IllegalMessage) -> None:
        if self.numbered:
            verb = "busy" if isinstance(why, NotNow) else "no"
            self._give(f"{verb} {client_id} {why}\n".encode())
        else:
            self.note(str(why))
