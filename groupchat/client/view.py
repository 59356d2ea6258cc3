"""The user interface of a chat, and the lines that it shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from groupchat.client.files.progress import Bar


@dataclass(frozen=True, slots=True)
class Shown:
    """One line to show. `kind` is that of a line of the group (see core/notices.py), or one of:

    `own`: said by this user; `answer`: the result of a command; `state`: a change of the connection; `problem`; `file`:
    what became of a transfer. `name` is the author of a line, `text` is the line without that name, `line` all of it.
    """

    kind: str
    text: str
    name: str = ""
    number: int = 0
    line: str = ""
    for_me: bool = False
    """True if the line is private, or contains this member's name: it rings the bell."""
    waits: bool = False
    """True if the line was typed while there is no connection to the server."""
    about: Mapping[str, object] = field(default_factory=dict)
    """More fields, for programs."""


class View(Protocol):
    """The user interface of a chat."""

    def show(self, lines: Sequence[Shown]) -> None: ...

    def ask(self, question: str, then: Callable[[str], None], *, secret: bool = False) -> None:
        """Ask the user. The next line typed is the answer."""

    def name_is(self, name: str) -> None:
        """Note the user's own name."""

    def show_progress(self, bars: Sequence[Bar]) -> None:
        """Show the progress of transfers; an empty list clears it."""

    def close(self) -> None:
        """Show what is still to be shown, and end."""
