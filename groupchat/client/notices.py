"""What a line is: who said it, or what happened. See docs/protocol.md, "Telling lines apart". Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

PRIVATE = " (private)"
SERVER = "* "


class Kind(Enum):
    """What a line of the group is."""

    SAID = "said"
    PRIVATE = "private"
    JOINED = "joined"
    LEFT = "left"
    RENAMED = "renamed"
    SERVER = "server"
    """What the server itself has to say."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the group. `name` is who it is by, empty for the server; `text` what it said, or its new name."""

    kind: Kind
    name: str
    text: str
    line: str


def read(line: str) -> Line:
    """What a line is; one that is none of the known ones counts as the server's."""
    if line.startswith(SERVER):
        return Line(Kind.SERVER, "", line.removeprefix(SERVER), line)
    name, colon, text = line.partition(": ")
    if colon:
        private = name.endswith(PRIVATE)
        return Line(Kind.PRIVATE if private else Kind.SAID, name.removesuffix(PRIVATE), text, line)
    name, changed, new = line.partition(" changed his name to ")
    if changed:
        return Line(Kind.RENAMED, name, new, line)
    for kind, words in ((Kind.JOINED, " has joined"), (Kind.LEFT, " has left the group")):
        if line.endswith(words):
            return Line(kind, line.removesuffix(words), "", line)
    return Line(Kind.SERVER, "", line, line)


def is_line(line: str) -> bool:
    """Whether this is a line of the group at all: no list of names, and no refusal, looks like one."""
    found = read(line)
    return found.kind is not Kind.SERVER or line.startswith(SERVER)
