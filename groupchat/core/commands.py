"""What a member, or somebody who wants to be one, can ask for. Every front end makes these out of what it reads.

`id` is the client's own number for what it asks, 0 if it has none. What changes the group takes effect once for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(slots=True)
class Join:
    """Become a member under this name, which is not checked yet. `secret` is the hash of a key to resume with."""

    name: str
    secret: str | None = None


@dataclass(slots=True)
class Say:
    """Say this text to all the others. It is not checked yet."""

    text: str
    id: int = 0


@dataclass(slots=True)
class Whisper:
    """Say something to one member: `Name: text`, or a text after the longest name that matches.

    Once that is known, `to` is the name of who it is for.
    """

    words: str
    id: int = 0
    to: str = ""


@dataclass(slots=True)
class Rename:
    """Be shown under this name from here on. It is not checked yet."""

    name: str
    id: int = 0


@dataclass(slots=True)
class Leave:
    """Be a member no longer."""

    id: int = 0


@dataclass(slots=True)
class Share:
    """Tell the others that a file is on the shelf: by the member of this id, or else by a guest of this name.

    It is the only command that is not by who sits where it comes from. `size` is in bytes.
    """

    file: str
    size: int
    member: int = 0
    guest: str = ""


@dataclass(slots=True)
class SayAsGuest:
    """Say one line to all as a guest of this name, without becoming a member. Neither is checked yet."""

    name: str
    text: str


@dataclass(slots=True)
class Poll:
    """Be given what waits."""


@dataclass(slots=True)
class Users:
    """Be told who is here."""

    id: int = 0


@dataclass(slots=True)
class Recall:
    """Be given the last lines again."""

    lines: int
    id: int = 0


@dataclass(slots=True)
class Files:
    """Be told what is on the shelf."""

    id: int = 0


Query = Poll | Users | Recall | Files
"""What changes nothing, and is answered once all that was asked before is done."""

Command = Join | Say | Whisper | Rename | Leave | Share | SayAsGuest | Query

LEAVE: Final = Leave()
POLL: Final = Poll()
