"""What a server says before it asks for a name: words to show, and questions for the password."""

from __future__ import annotations

from collections.abc import Callable

from groupchat.client.text import clean

NAME_QUESTION = b"* What is your name?"
PASSWORD_QUESTION = b"* What is the password?"
WRONG_PASSWORD = b"* That is not the password. What is it?"

SAID_LAST = "Said last:"
"""Stands before the last lines of the group, which are indented."""

MAX_PASSWORDS = 3
"""Wrong passwords in a row after which the session ends."""

MAX_WORDS = 10_000
"""The most lines that are kept of a greeting, or of one answer."""


class Greeting:
    """The greeting on each connection.

    `ask` is called with the function that takes the password, when the server wants it and if it was wrong. `give` is
    called with the password.
    """

    def __init__(self, ask: Callable[[Callable[[str], None]], None], give: Callable[[str], None]) -> None:
        self.words: list[str] = []
        self._ask = ask
        self._give = give
        self._password = ""
        self._wrong = 0  # passwords in a row

    def begin(self) -> None:
        """Note that there is a new connection."""
        self.words = []

    def read(self, line: bytes) -> bool:
        """Read a line. Return False if the password was wrong too often."""
        if line == PASSWORD_QUESTION and self._password:
            self._give(self._password)
        elif line == PASSWORD_QUESTION:
            self._ask(self._take)
        elif line == WRONG_PASSWORD:
            self._password = ""
            self._wrong += 1
            if self._wrong >= MAX_PASSWORDS:
                return False
            self._ask(self._take)
        elif line == NAME_QUESTION:
            self._wrong = 0
        else:
            keep(self.words, line.removeprefix(b"* "))
        return True

    def _take(self, password: str) -> None:
        self._password = password  # for the next connection, too: nobody may be there to type it then
        self._give(password)

    def without_lines(self) -> list[str]:
        """Return the words without the last lines of the group."""
        return [words for words in self.words if words != SAID_LAST and not words.startswith("  ")]


def keep(words: list[str], line: bytes) -> None:
    """Add a line to an answer, or to a greeting."""
    if len(words) < MAX_WORDS:
        words.append(clean(line))
