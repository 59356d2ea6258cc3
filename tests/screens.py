"""A program on a pseudo-terminal of a given size, and the screen that its output makes."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import struct
import termios
from collections.abc import Mapping, Sequence
from typing import Any

import pyte

from tests.terminals import Terminal

ENTER = "\r"
TAB = "\t"
UP = "\x1b[A"
LEFT = "\x1b[D"
CTRL_C = "\x03"
CTRL_D = "\x04"
PASTE = ("\x1b[200~", "\x1b[201~")
"""The sequences that a terminal puts around pasted text."""


class Paper(pyte.Screen):
    """A screen that keeps the rows that scrolled off it, in `above`. `answers` are what the terminal itself sends.

    Faint text, which pyte does not know, is grey.
    """

    def __init__(self, columns: int, rows: int) -> None:
        self.above: list[str] = []
        self.bells = 0
        self.titles: list[str] = []
        self.answers: list[str] = []
        super().__init__(columns, rows)

    def index(self) -> None:
        _, bottom = self.margins or (0, self.lines - 1)
        if self.cursor.y == bottom:
            self.above.append(self.row(0))
        super().index()

    def select_graphic_rendition(self, *attrs: int, **options: Any) -> None:
        super().select_graphic_rendition(*[90 if attr == 2 else attr for attr in attrs], **options)

    def bell(self, *_: Any) -> None:
        self.bells += 1

    def set_title(self, param: str) -> None:
        self.titles.append(param)

    def write_process_input(self, data: str) -> None:
        self.answers.append(data)

    def row(self, number: int) -> str:
        """Return the text of a row. A wide character stands once."""
        return "".join(self.buffer[number][column].data for column in range(self.columns)).rstrip()

    def rows(self) -> list[str]:
        """Return all rows, those that scrolled off included, without empty ones at the end."""
        found = [*self.above, *map(self.row, range(self.lines))]
        while found and not found[-1]:
            found.pop()
        return found


class ScreenTerminal(Terminal):
    """A program on a terminal. Tests look at its `paper` instead of the bytes that made it."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None, columns: int = 80, rows: int = 24
    ) -> None:
        self.paper = Paper(columns, rows)
        self._stream = pyte.ByteStream(self.paper)
        self._fed = 0
        super().__init__(command, environment)
        self._set_size()
        self.modes_before = self.modes()

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the window."""
        self.paper.resize(rows, columns)
        self._set_size()
        os.kill(self.process.pid, signal.SIGWINCH)

    def _set_size(self) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", self.paper.lines, self.paper.columns, 0, 0))

    def modes(self) -> list[Any]:
        """Return the termios attributes, which say how the terminal treats keys and lines."""
        return termios.tcgetattr(self._ours)

    def rows(self) -> list[str]:
        return self.paper.rows()

    def text(self) -> str:
        """Return all rows joined, so that text longer than a row is found as it was written."""
        return "".join(self.rows())

    def shows(self, *rows: str) -> None:
        """Wait until these rows stand below each other somewhere."""
        whole = "\n".join(["", *rows, ""])
        self.wait(lambda: whole in "\n".join(["", *self.rows(), ""]), "\n".join(rows))

    def matches(self, pattern: str) -> None:
        """Wait until a whole row matches this pattern."""
        like = re.compile(pattern)
        self.wait(lambda: any(map(like.fullmatch, self.rows())), pattern)

    def types(self, prompt: str) -> None:
        """Wait until this, the prompt and what is typed after it, stands below the lines, however it is cut into rows.

        Spaces do not count: at the end of a row they cannot be seen.
        """
        whole = prompt.replace(" ", "")

        def stands() -> bool:
            rows = [row.replace(" ", "") for row in self.rows()]
            return any("".join(rows[-many:]) == whole for many in range(1, len(prompt)))

        self.wait(stands, prompt)

    def wait(self, done: Any, what: str) -> None:
        try:
            super().wait(done, what)
        except AssertionError:
            raise AssertionError(f"there is no {what!r} on this screen:\n" + "\n".join(self.rows()[-60:])) from None

    def _read(self) -> None:
        super()._read()
        self._stream.feed(self.screen[self._fed :])
        self._fed = len(self.screen)
        while self.paper.answers:
            self.type(self.paper.answers.pop(0))
