"""What a member, or somebody who wants to be one, can ask for. Every front end makes these out of what it reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(slots=True)
class Join:
    """Become a member under this name, which is not checked yet."""

    name: str


@dataclass(slots=True)
class Say:
    """Say this text to all the others. It is not checked yet."""

    text: str


@dataclass(slots=True)
class Rename:
    """Be shown under this name from here on. It is not checked yet."""

    name: str


@dataclass(slots=True)
class Leave:
    """Be a member no longer."""


@dataclass(slots=True)
class Poll:
    """Be given what waits."""


Command = Join | Say | Rename | Leave | Poll

LEAVE: Final = Leave()
POLL: Final = Poll()
