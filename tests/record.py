"""Records a real chat on a terminal as an SVG: python -m tests.record FILE"""

from __future__ import annotations

import os
import sys
from html import escape
from itertools import groupby
from pathlib import Path

from tests.daemon import LineMember, UDPMember, running
from tests.screens import ENTER, Paper, ScreenTerminal

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


def record() -> Paper:
    with running("--tcp", "0", "--db", ":memory:", "--group", "workshop") as daemon:
        bob = LineMember(daemon.tcp[0])
        bob.join("Bob")
        command = [sys.executable, "-m", "groupchat", f"tcp://localhost:{daemon.tcp[0]}", "--name", "Alice"]
        environment = {**os.environ, "TERM": "xterm-256color", "XDG_STATE_HOME": daemon.directory.name}
        alice = ScreenTerminal(command, environment, COLUMNS, LINES)

        def wait_for(words: str) -> None:
            alice.wait(lambda: words in alice.text(), words)

        carol = UDPMember(daemon.port)
        try:
            wait_for("You are Alice")
            bob.send("hi Alice, the bus is late, we begin at ten")
            wait_for("begin at ten")
            alice.type("no hurry, the projector is late as well" + ENTER)
            wait_for("as well")
            carol.ask("1 Carol")
            carol.ask("2 hello from the sensor on the roof: 21.5 \N{DEGREE SIGN}C")
            wait_for("21.5")
            bob.send("/msg Alice: bring the long cable, please")
            wait_for("long cable")
            alice.type("/msg Bob: it is in the bag" + ENTER)
            wait_for("in the bag")
            alice.type("/users" + ENTER)
            wait_for("Carol  polling")
            alice.type("shall we begin without")
            wait_for("begin without")
        finally:
            alice.close()
            bob.close()
            carol.close()
    return alice.paper


def draw(screen: Paper) -> str:
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
