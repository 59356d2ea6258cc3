"""The phrases of the lines of a group, and how to read them: see docs/protocol.md, "Telling lines apart"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

PRIVATE = " (private)"
SERVER = "* "
JOINED = " has joined"
LEFT = " has left the group"
RENAMED = " changed his name to "
SHARED = " shared "
REMOVED = " was removed"
TOPIC = "The topic is: "
NO_TOPIC = "There is no topic any more"
ERASED = SERVER + "a line was removed"

PHRASES = (JOINED.strip(), LEFT.strip(), RENAMED.strip(), SHARED.rstrip())
"""The phrases that tell a notice from a text. No name may contain one.

A name may begin with `shared`, but not contain ` shared`. So the name in a line ends before the first ` shared `,
whatever the file is called.
"""

_SHARED = re.compile(rf"(?P<name>.+?){SHARED}(?P<file>.+) \((?P<size>\d+ B|\d+\.\d [kMGTPE]B)\)")


class Kind(Enum):
    """The kinds of lines of a group."""

    SAID = "said"
    PRIVATE = "private"
    JOINED = "joined"
    LEFT = "left"
    RENAMED = "renamed"
    SHARED = "shared"
    SERVER = "server"
    """A notice of the server itself."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a group. `name` is its author's, empty for the server.

    `text` is the text that was said, the new name, or the name of the shared file, whose size, in words, is `size`.
    """

    kind: Kind
    name: str
    text: str
    line: str
    size: str = ""


def read(line: str) -> Line:
    """Read a line. One of no known kind counts as the server's."""
    if line.startswith(SERVER):
        return Line(Kind.SERVER, "", line.removeprefix(SERVER), line)
    name, colon, text = line.partition(": ")
    if colon:
        private = name.endswith(PRIVATE)
        return Line(Kind.PRIVATE if private else Kind.SAID, name.removesuffix(PRIVATE), text, line)
    if shared := _SHARED.fullmatch(line):
        return Line(Kind.SHARED, shared["name"], shared["file"], line, shared["size"])
    name, changed, new = line.partition(RENAMED)
    if changed:
        return Line(Kind.RENAMED, name, new, line)
    for kind, words in ((Kind.JOINED, JOINED), (Kind.LEFT, LEFT)):
        if line.endswith(words):
            return Line(kind, line.removesuffix(words), "", line)
    return Line(Kind.SERVER, "", line, line)


def is_line(line: str) -> bool:
    """Return True if this is a line of a group, and not a list of names or a refusal."""
    found = read(line)
    return found.kind is not Kind.SERVER or line.startswith(SERVER)


def size_in_words(size: float) -> str:
    """Return a number of bytes for people: 999 B, 1.0 kB, 2.1 MB. Units are powers of 1000."""
    if size < 1000:
        return f"{int(size)} B"
    units = iter("kMGTPE")
    unit, shown = next(units), size / 1000
    while round(shown, 1) >= 1000:
        unit, shown = next(units), shown / 1000
    return f"{shown:.1f} {unit}B"
