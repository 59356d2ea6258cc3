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


@dataclass(slots=True, kw_only=True)
class OperatorCommand:
    """A command for operators. `by` is the user of the machine who gives it; empty for a member, who has to be one.

    `why` is what the operator says to that.
    """

    id: int = 0
    by: str = ""
    why: str = ""


@dataclass(slots=True)
class Remove(OperatorCommand):
    """Remove the member with this name."""

    name: str


@dataclass(slots=True)
class Mute(OperatorCommand):
    """Let the member with this name only read."""

    name: str


@dataclass(slots=True)
class Unmute(OperatorCommand):
    """End the mute of who has, or had, this name."""

    name: str


@dataclass(slots=True)
class Ban(OperatorCommand):
    """Ban an address, a network, or a name with the key of the member who has it; for good, or for some seconds.

    Everybody is banned only if the operator is `sure`.
    """

    whom: str
    seconds: float | None = None
    sure: bool = False


@dataclass(slots=True)
class Unban(OperatorCommand):
    """End the bans of an address, a network or a name."""

    whom: str


@dataclass(slots=True)
class Release(OperatorCommand):
    """Free a name that is reserved for somebody who left."""

    name: str


@dataclass(slots=True)
class Erase(OperatorCommand):
    """Erase the texts and the files in lines: of all, or of the `member` with this name; only so many lines at once.

    The service sets `upto` to the last line that it looked at, and `count` to how many are erased.
    """

    first: int
    last: int
    member: str = ""
    upto: int = 0
    count: int = 0


@dataclass(slots=True)
class SetTopic(OperatorCommand):
    """Give the group another topic, or none."""

    text: str


@dataclass(slots=True)
class Announce(OperatorCommand):
    """Tell everybody something in the name of the server."""

    text: str


@dataclass(slots=True)
class Change(OperatorCommand):
    """Give a fact of the group another value."""

    fact: str
    value: str


@dataclass(slots=True)
class Promote:
    """Become an operator: the front end has checked the password."""

    id: int = 0


@dataclass(slots=True)
class Demote:
    """Be an operator no longer."""

    id: int = 0


Query = Poll | Users | Recall | Files
"""A command that changes nothing. It is answered after the commands before it have taken effect."""

Command = Join | Say | Whisper | Rename | Leave | Share | SayAsGuest | OperatorCommand | Promote | Demote | Query

LEAVE: Final = Leave()
POLL: Final = Poll()
