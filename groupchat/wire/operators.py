"""What operators type: lines to commands.

-> /operator PASSWORD       become an operator; `/operator off` ends that, and so does leaving
-> /remove NAME [why]       NAME is the longest that matches a member's, or all before a colon: `/remove NAME: why`
-> /mute NAME [why]         -> /unmute NAME
-> /ban WHOM [1d] [why]     -> /unban WHOM          WHOM: NAME, an address, or a network such as 192.0.2.0/24
-> /erase 307               -> /erase 307-310       the numbers of lines, as /history shows them
-> /topic TEXT              -> /topic off           `/topic` alone shows the topic, to everybody
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from groupchat.core.commands import (
    Ban,
    Demote,
    Erase,
    Mute,
    OperatorCommand,
    Promote,
    Remove,
    SetTopic,
    Unban,
    Unmute,
)
from groupchat.core.errors import IllegalMessage
from groupchat.core.limits import MAX_CHARACTERS
from groupchat.core.networks import parsed

HELP = """\
/remove Name why         end a member's seat, for 10 minutes at least
/mute Name why           let a member only read; /unmute Name
/ban Name 1d why         ban a name, an address or a network, for 30m, 12h, 1d, or for good; /unban Name
/erase 307-310           erase the texts in these lines; /history shows the numbers
/topic text              give the group a topic; /topic off
/operator off            be an operator no longer
""".splitlines()

VERBS = ("/operator", "/remove", "/mute", "/unmute", "/ban", "/unban", "/erase", "/topic")

LONGEST = 3650 * 86_400
"""The longest time of a ban that is not for good, in seconds."""

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400}
_TIME = re.compile(r"([0-9]{1,9})([smhdw])")
_BEFORE_TIME = re.compile(r"(?P<name>[^:]{1,64}?) +(?P<rest>[0-9]{1,9}[smhdw](?: .*)?)")
_RANGE = re.compile(r"([0-9]{1,16})(?:-([0-9]{1,16}))?")

IsMember = Callable[[str], bool]


@dataclass(slots=True)
class OperatorLine:
    """A command for operators as it was typed, split behind its verb. The words may be a password."""

    verb: str
    words: str = field(repr=False)
    id: int = 0


@dataclass(slots=True)
class ShowTopic:
    """Get the topic."""


@dataclass(slots=True)
class GivePassword:
    """Become an operator with this password."""

    password: bytes = field(repr=False)


def command(line: OperatorLine, is_member: IsMember) -> OperatorCommand | Promote | Demote | ShowTopic | GivePassword:
    """Return what a line asks for. `is_member` tells if somebody has this name. Raise IllegalMessage."""
    words = line.words.strip()
    match line.verb:
        case "/topic" if not words:
            return ShowTopic()
        case _ if not words:
            raise IllegalMessage(f"{_USAGE[line.verb]}")
        case "/operator":
            return Demote(line.id) if words.lower() == "off" else GivePassword(words.encode())
    found = _COMMANDS[line.verb](words, is_member)
    found.id = line.id
    return found


def _topic(words: str, _: IsMember) -> SetTopic:
    return SetTopic("" if words.lower() == "off" else words)


def _remove(words: str, is_member: IsMember) -> Remove:
    name, why = split(words, is_member)
    return Remove(name, why=why)


def _mute(words: str, is_member: IsMember) -> Mute:
    name, why = split(words, is_member)
    return Mute(name, why=why)


def _ban(words: str, is_member: IsMember) -> Ban:
    first, _, rest = words.partition(" ")
    address = next(filter(_is_address, (first, first.removesuffix(":"))), None)
    whom, why = (address, rest) if address else _split_before_time(words) or split(words, is_member)
    first, _, rest = why.strip().partition(" ")
    lasts = _TIME.fullmatch(first)
    if lasts is None:
        return Ban(whom, why=why.strip())
    seconds = int(lasts[1]) * _SECONDS[lasts[2]]
    if not 0 < seconds <= LONGEST:
        raise IllegalMessage("A ban is for good, or for at least 1s and at most 3650d.")
    return Ban(whom, seconds, why=rest.strip())


def _is_address(word: str) -> bool:
    """Return True for an address or a network."""
    try:
        parsed(word)
    except ValueError:
        return False
    return True


def _split_before_time(words: str) -> tuple[str, str] | None:
    """Return the name and the rest if a time tells where the name ends: she may have left."""
    ends = _BEFORE_TIME.fullmatch(words)
    return None if ends is None else (ends["name"], ends["rest"])


def _erase(words: str, _: IsMember) -> Erase:
    numbers = _RANGE.fullmatch(words.replace(" ", ""))
    if numbers is None:
        raise IllegalMessage(_USAGE["/erase"])
    first = int(numbers[1])
    last = int(numbers[2] or numbers[1])
    if not 0 < first <= last:
        raise IllegalMessage(_USAGE["/erase"])
    return Erase(first, last)


_COMMANDS: dict[str, Callable[[str, IsMember], OperatorCommand]] = {
    "/remove": _remove,
    "/mute": _mute,
    "/unmute": lambda words, _: Unmute(words),
    "/ban": _ban,
    "/unban": lambda words, _: Unban(words),
    "/erase": _erase,
    "/topic": _topic,
}

_USAGE = {
    "/operator": "Write /operator PASSWORD, or /operator off.",
    "/remove": "Write /remove Name, and why, if you like.",
    "/mute": "Write /mute Name, and why, if you like.",
    "/unmute": "Write /unmute Name.",
    "/ban": "Write /ban and a name, an address or a network; then for how long, such as 1d, and why, if you like.",
    "/unban": "Write /unban and a name, an address or a network.",
    "/erase": "Write /erase 307, or /erase 307-310: /history shows the numbers.",
}


def split(words: str, is_member: IsMember) -> tuple[str, str]:
    """Return the name that words begin with, and what follows. Raise IllegalMessage if that cannot be told.

    A name ends before a colon, or it is the longest that a member has, or all there is.
    """
    name, colon, rest = words.partition(":")
    if colon and len(name) <= MAX_CHARACTERS:
        return name.strip(), rest.strip()
    if is_member(words) or " " not in words:
        return words, ""
    spaces = [index for index, character in enumerate(words[: MAX_CHARACTERS + 1]) if character == " "]
    for end in reversed(spaces):
        if is_member(words[:end]):
            return words[:end], words[end + 1 :].strip()
    raise IllegalMessage("Nobody here has that name. Write a colon after the name of somebody who is not here.")
