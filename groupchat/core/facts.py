"""The facts of a group: settings that become events once an operator sets them, and so hold wherever its log is folded.

A fact wins over the option of the same name, which counts until the fact is set, and again once it was set to "".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from groupchat.core.errors import IllegalMessage
from groupchat.core.limits import MOST, Settings
from groupchat.core.numbers import whole

POST = ("everybody", "operators")
"""Who may say something to all: the values of the fact `post`."""

NUMBERS = {
    "keep-lines": ("keep", 1),
    "keep-days": ("keep_days", 0),
    "max-members": ("max_members", 1),
    "reserve": ("reserve", 0),
}
"""The facts that are options as well: the field of Settings, and the least value. The greatest is MOST."""

FACTS = ("post", *NUMBERS)


def check(fact: str, value: str) -> str:
    """Return a value as it is stored; "" ends the fact. Raise IllegalMessage if there is no such fact, or value."""
    if fact not in FACTS:
        raise IllegalMessage(f"There is no fact {fact}. The facts are: {', '.join(FACTS)}.")
    if not value:
        return ""
    if fact == "post":
        if value not in POST:
            raise IllegalMessage(f"post is one of: {', '.join(POST)}.")
        return value
    number = _number(fact, value)
    if number is None:
        raise IllegalMessage(f"{fact} must be a whole number from {NUMBERS[fact][1]} to {MOST}, not {value[:40]!r}.")
    return str(number)


def settings(options: Settings, facts: Mapping[str, str]) -> Settings:
    """Return the settings that are in force. What no version of this module could have stored is ignored."""
    found: dict[str, Any] = {field: _number(fact, facts.get(fact, "")) for fact, (field, _) in NUMBERS.items()}
    return replace(options, **{field: number for field, number in found.items() if number is not None})


def _number(fact: str, value: str) -> int | None:
    number = whole(value)
    return number if number is not None and NUMBERS[fact][1] <= number <= MOST else None
