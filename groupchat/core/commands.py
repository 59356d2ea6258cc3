"""Commands: what a member, or somebody who wants to be one, can ask for. The front ends make them from their input.

A command that changes the group has an `id`, the client's own number for it, or 0. It takes effect once for each id.
Nothing in a command is checked yet: see rules.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(slots=True)
class Join:
    """Become a member under this name. `secret` is the hash of the key with which the session can be resumed."""

    name: str
    secret: str | None = None


@dataclass(slots=True)
class Say:
    """Say a text to everybody."""

    text: str
    id: int = 0


@dataclass(slots=True)
class Whisper:
    """Say a text to one member. `words` is `Name: text`, or `Name text` with the longest name that matches.

    The service sets `to` to the name of that member.
    """

    words: str
    id: int = 0
    to: str = ""


@dataclass(slots=True)
class Rename:
    """Change one's name."""

    name: str
    id: int = 0


@dataclass(slots=True)
class Leave:
    """Leave the group."""

    id: int = 0


@dataclass(slots=True)
class Share:
    """Tell everybody that a file of `size` bytes was shared, by the member with this id, or else by this guest.

    It is the only command that names its author, because an upload may come over a connection that has no seat.
    """

    file: str
    size: int
    member: int = 0
    guest: str = ""


@dataclass(slots=True)
class SayAsGuest:
    """Say one text to everybody under this name, without becoming a member."""

    name: str
    text: str


@dataclass(slots=True)
class Poll:
    """Get the lines that wait."""


@dataclass(slots=True)
class Users:
    """Get the list of members."""

    id: int = 0


@dataclass(slots=True)
class Recall:
    """Get the last lines again."""

    lines: int
    id: int = 0


@dataclass(slots=True)
class Files:
    """Get the list of shared files."""

    id: int = 0


Query = Poll | Users | Recall | Files
"""A command that changes nothing. It is answered after the commands before it have taken effect."""

Command = Join | Say | Whisper | Rename | Leave | Share | SayAsGuest | Query

LEAVE: Final = Leave()
POLL: Final = Poll()
