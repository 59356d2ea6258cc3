"""Records a real chat on a terminal as an SVG: python -m tests.record FILE"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from html import escape
from itertools import groupby
from pathlib import Path

import pyte

from tests.daemon import LineMember, UDPMember, running

COLUMNS, LINES = 78, 17
CELL_WIDTH, LINE_HEIGHT, MARGIN = 8.4, 19, 14
PALETTE = {
    "default": "#d8dee9",
    "red": "#e06c75",
    "green": "#98c379",
    "brown": "#e5c07b",
    "blue": "#61afef",
    "magenta": "#c678dd",
    "cyan": "#56b6c2",
    "brightblack": "#7f8796",
    "brightgreen": "#b5e08f",
    "brightbrown": "#f0d58c",
    "brightyellow": "#f0d58c",
    "brightblue": "#8cc8ff",
    "brightcyan": "#7fd6e0",
}
BACKGROUND = "#20242c"


class Screen(pyte.Screen):
    """One that knows faint text, and takes it for grey."""

    def select_graphic_rendition(self, *attrs: int) -> None:
        super().select_graphic_rendition(*[90 if attr == 2 else attr for attr in attrs])


class Terminal:
    """A client on a pseudo-terminal, and what is on its screen."""

    def __init__(self, *command: str) -> None:
        self.screen = Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self.screen)
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color"}
        self._process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
        os.close(theirs)

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def wait(self, words: str) -> None:
        """Until this is on the screen. Raises TimeoutError after a while."""
        deadline = time.monotonic() + 20
        while not any(words in line for line in self.screen.display):
            if time.monotonic() > deadline:
                raise TimeoutError("\n".join(self.screen.display))
            if select.select([self._ours], [], [], 0.1)[0]:
                self._stream.feed(os.read(self._ours, 65_536))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)


def record() -> pyte.Screen:
    with running("--tcp", "0", "--db", ":memory:", "--group", "workshop") as daemon:
        bob = LineMember(daemon.tcp[0])
        bob.join("Bob")
        alice = Terminal(sys.executable, "-m", "groupchat", f"tcp://localhost:{daemon.tcp[0]}", "--name", "Alice")
        carol = UDPMember(daemon.port)
        try:
            alice.wait("You are Alice")
            bob.send("hi Alice, the bus is late, we begin at ten")
            alice.wait("begin at ten")
            alice.type("no hurry, the projector is late as well\r")
            alice.wait("as well")
            carol.ask("1 Carol")
            carol.ask("2 hello from the sensor on the roof: 21.5 \N{DEGREE SIGN}C")
            alice.wait("21.5")
            bob.send("/msg Alice: bring the long cable, please")
            alice.wait("long cable")
            alice.type("/msg Bob: it is in the bag\r")
            alice.wait("in the bag")
            alice.type("/users\r")
            alice.wait("Carol  polling")
            alice.type("shall we begin without")
            alice.wait("begin without")
        finally:
            alice.close()
            bob.close()
            carol.close()
    return alice.screen


def draw(screen: pyte.Screen) -> str:
    width, height = round(2 * MARGIN + COLUMNS * CELL_WIDTH), 2 * MARGIN + LINES * LINE_HEIGHT
    rows = []
    for row in range(LINES):
        cells = [screen.buffer[row][column] for column in range(COLUMNS)]
        x = 0
        for (colour, bold), some in groupby(cells, key=lambda cell: (cell.fg, cell.bold)):
            text = "".join(cell.data for cell in some)
            shown = text.rstrip()
            if shown:
                weight = ' font-weight="bold"' if bold else ""
                at = f'x="{MARGIN + x * CELL_WIDTH:.1f}" y="{MARGIN + (row + 0.75) * LINE_HEIGHT:.1f}"'
                length = f'textLength="{len(shown) * CELL_WIDTH:.1f}"'
                fill = PALETTE.get(colour, PALETTE["default"])
                rows.append(f'<text {at} {length} fill="{fill}"{weight} xml:space="preserve">{escape(shown)}</text>')
            x += len(text)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
            ' font-family="ui-monospace, Menlo, Consolas, monospace" font-size="14">',
            f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>',
            *rows,
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(draw(record()))
