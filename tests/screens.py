"""What a person sees: a program on a pseudo-terminal of some size, and the screen that its output makes."""

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
"""What a terminal puts around what is pasted."""


class Paper(pyte.Screen):
    """A screen that keeps what has scrolled off it, in `above`. `answers` are what the terminal itself says."""

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

    def bell(self, *_: Any) -> None:
        self.bells += 1

    def set_title(self, param: str) -> None:
        self.titles.append(param)

    def write_process_input(self, data: str) -> None:
        self.answers.append(data)

    def row(self, number: int) -> str:
        """A wide character stands once."""
        return "".join(self.buffer[number][column].data for column in range(self.columns)).rstrip()

    def rows(self) -> list[str]:
        """All there is and was, without what is empty below."""
        found = [*self.above, *map(self.row, range(self.lines))]
        while found and not found[-1]:
            found.pop()
        return found


class ScreenTerminal(Terminal):
    """A program on a terminal whose `paper` is looked at instead of the bytes that made it."""

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
        """As when somebody pulls at a corner of the window."""
        self.paper.resize(rows, columns)
        self._set_size()
        os.kill(self.process.pid, signal.SIGWINCH)

    def _set_size(self) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", self.paper.lines, self.paper.columns, 0, 0))

    def modes(self) -> list[Any]:
        """How the terminal treats keys and lines: its termios attributes."""
        return termios.tcgetattr(self._ours)

    def rows(self) -> list[str]:
        return self.paper.rows()

    def text(self) -> str:
        """All rows, and nothing between them: what is longer than a row is found in it as it was written."""
        return "".join(self.rows())

    def shows(self, *rows: str) -> None:
        """Wait until these rows stand below each other somewhere."""
        whole = "\n".join(["", *rows, ""])
        self.wait(lambda: whole in "\n".join(["", *self.rows(), ""]), "\n".join(rows))

    def matches(self, pattern: str) -> None:
        """Wait until a row is like this as a whole."""
        like = re.compile(pattern)
        self.wait(lambda: any(map(like.fullmatch, self.rows())), pattern)

    def types(self, prompt: str) -> None:
        """Wait until this stands below the lines, wherever it is cut into rows: the prompt, and what is being typed.

        Spaces do not count: at the end of a row they cannot be told from nothing.
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
