"""Where a chat is seen, and typed, and the lines that it shows there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from groupchat.client.files.progress import Bar


@dataclass(frozen=True, slots=True)
class Shown:
    """One line to show. `kind` is that of a line of the group, or:

    `own` what was typed here; `answer` what was asked for; `state` how it stands with the connection; `problem` what
    did not work; `file` what becomes of a file that is fetched or sent. `name` is who a line is by; `text` is without
    that name, `line` with it.
    """

    kind: str
    text: str
    name: str = ""
    number: int = 0
    line: str = ""
    for_me: bool = False
    """Whether it is to this member, or names it: worth a bell."""
    waits: bool = False
    """Whether it is typed here, and there is no way to the server just now."""
    about: Mapping[str, object] = field(default_factory=dict)
    """More of it, for programs."""


class View(Protocol):
    """Where a chat is seen, and typed."""

    def show(self, lines: Sequence[Shown]) -> None: ...

    def ask(self, question: str, then: Callable[[str], None], *, secret: bool = False) -> None:
        """The next line that is typed is the answer to this. Where nobody can answer, `Chat.fail` is called."""

    def name_is(self, name: str) -> None:
        """The member's own name, from here on."""

    def under_way(self, bars: Sequence[Bar]) -> None:
        """How far that is which takes a while; nothing once there is none."""

    def close(self) -> None:
        """It is over: show what is still to be shown, and end."""
