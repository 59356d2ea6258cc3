"""The rules of nicknames, and the key under which two names are the same.

Names follow RFC 8266 (the Nickname profile of PRECIS). In addition, a client must not be able to take a name for
something else: a list of names, another member's line, a notice, a command, or a reply. Nor must a person, so what is
reserved is compared by its looks: see skeletons.py.

Which characters are allowed depends on the Unicode version of this Python, so a stored name is never checked again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, pairwise
from unicodedata import category, name, normalize

from precis_i18n import get_profile
from precis_i18n.profile import Profile

from groupchat.core.confusables import TABLE
from groupchat.core.errors import BadName, IllegalMessage
from groupchat.core.limits import MAX_CHARACTERS
from groupchat.core.notices import PHRASES
from groupchat.core.skeletons import IGNORABLE, skeleton

MAX_RAW_CHARACTERS = 4 * MAX_CHARACTERS
"""The longest name that is normalised to see if that makes it short enough."""

_SHOWN = get_profile("NicknameCasePreserved")
_KEY = get_profile("NicknameCaseMapped")

# Also what fonts leave blank, or join to its neighbours: fillers, blanks, joiners of numbers and consonants.
_INVISIBLE = re.compile(f"[{IGNORABLE}\u2800\u2d7f\ufffc\U0001107f\U00013441\U00013442\U00016fe4\U0001d159]")

_ANYWHERE = ":,()"
_FIRST = "/#@*"

_MORE_MARKS = {
    ":": "\u0706\u0707\u1361\u1365\u1366\u1804\u205d\u205e\u2237\u2254\u2255\u22ee\u2982\u2af6\ua6f4\ufbbd\ufbbe"
    "\u2803\u2805\u2806\u2818\u2828\u2830\u2841\u2842\u2844\u2888\u2890\u28a0\U00012471\U0001da8a",
    ",": "\u060c\u07f8\u1363\u1802\u1808\u275f\u2e32\u2e34\u2e41\u2e4c\u3001\ua4fe"
    "\ua60d\ua6f5\U0001144d\U00016e97\U0001da87",
    "(": "\u239b\u239d\u276a\u27ee\u2985",
    ")": "\u239e\u23a0\u276b\u27ef\u2986",
    "/": "\u2e4a\U0001f67c",
    "#": "\u22d5\u2317\u266f",
    "*": "\u2051\u2722\u2723\u2724\u2725\u2731\u2732\u2733\u273a\u273b\u273c\u273d\ua673",
}
"""What looks like a reserved mark, and has no prototype in the table of Unicode."""


def _marks() -> Iterator[tuple[int, str]]:
    """Return the characters that stand for a reserved mark, with it.

    Letters of Chinese and Japanese names and combining marks stand for none, whatever they look like. A combining mark
    is always seen with a letter or a number: see `_read_marks`.
    """
    for code, prototype in TABLE.items():
        if not set(prototype).isdisjoint(_ANYWHERE + _FIRST):
            kind, called = category(chr(code))[0], name(chr(code), "")
            if kind != "M" and not (kind == "L" and re.search("CJK|KANA|HIRAGANA", called)):
                yield code, prototype
    yield from ((ord(alike), mark) for mark, others in _MORE_MARKS.items() for alike in others)


_MARKS = dict(_marks())


@dataclass(frozen=True, slots=True)
class Nickname:
    """A name as it is shown, and its key, which no two members share."""

    shown: str
    key: str


def nickname(raw: str) -> Nickname:
    """Return the nickname for `raw`. Raises IllegalMessage, saying why, if it is not allowed."""
    found = normalised(raw)
    _check(found)
    return found


def looks_like(wanted: Nickname, words: tuple[str, ...]) -> bool:
    """Return True if a name looks like one of these words, in whatever case."""
    return not _looks(wanted).isdisjoint(_looks_of(*words))


def normalised(raw: str) -> Nickname:
    """Return the nickname for `raw` by RFC 8266 alone, to look for members whose names are older than other rules."""
    # The length is checked first, because the time that PRECIS takes grows with its square.
    if len(raw) > MAX_RAW_CHARACTERS or len(" ".join(normalize("NFKC", raw).split())) > MAX_CHARACTERS:
        raise BadName(f"A name has at most {MAX_CHARACTERS} characters.")
    shown = _enforce(_SHOWN, raw)
    key = _enforce(_KEY, shown)  # of `shown`, so that two names which look the same have the same key
    if len(shown) > MAX_CHARACTERS:
        raise BadName(f"A name has at most {MAX_CHARACTERS} characters.")
    return Nickname(shown, key)


def _check(wanted: Nickname) -> None:
    shown = wanted.shown
    marks = shown if shown.isascii() else _read_marks(shown)
    if any(mark in marks for mark in _ANYWHERE) or marks[0] in _FIRST:
        why = "A name has no : , ( or ) in it, and does not begin with / # @ or *."
        raise BadName(why if marks == shown else f"{why} What looks like one of these counts, too.")
    looks = _looks(wanted)
    if shown.isnumeric() or not looks.isdisjoint(_RESERVED) or any(p in look for look in looks for p in _PHRASES):
        raise BadName("That name could be taken for something else.")


def _read_marks(shown: str) -> str:
    """Return a name with the marks that it seems to have. Raises IllegalMessage for what nobody can see in it."""
    if _INVISIBLE.search(shown):
        raise BadName("A name has no invisible or blank characters in it.")
    kinds = [category(character)[0] for character in shown]
    if any(kind == "M" and before not in "LMN" for before, kind in pairwise(chain("Z", kinds))):
        raise BadName("A combining mark in a name follows a letter or a number.")
    return shown.translate(_MARKS)


def _looks(wanted: Nickname) -> set[str]:
    """Return what a name looks like to somebody who does not care for case."""
    return {skeleton(wanted.key), skeleton(skeleton(wanted.shown).lower())}


@lru_cache
def _looks_of(*words: str) -> set[str]:
    """Return what reserved words look like, in small letters and in capitals."""
    return {look for word in words for look in _looks(Nickname(word.upper(), word.lower()))}


_RESERVED = _looks_of("close", IllegalMessage.reply)
_PHRASES = _looks_of(*PHRASES)


def _enforce(profile: Profile, raw: str) -> str:
    try:
        return profile.enforce(raw)
    except UnicodeEncodeError:
        raise BadName("That name is empty, or has characters that are not allowed in a name.") from None
