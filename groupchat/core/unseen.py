"""Characters that are not seen by themselves: which ones a name of a file may contain, and where.

Joiners belong into words of some scripts, by RFC 5892, appendix A, and into sequences of emoji, by UTS #51. Names of
members follow RFC 8264 instead: see names.py. What a later version of Unicode will show is taken as seen.
"""

from __future__ import annotations

import re
from unicodedata import category

from precis_i18n.context import context_rule_error
from precis_i18n.unicode import UnicodeData

from groupchat.core.skeletons import IGNORABLE

_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}  # control, format, surrogate, private; separators of lines
_SEEN_FORMATS = "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
_IGNORABLE = re.compile(f"[{IGNORABLE}]")
_UNICODE = UnicodeData()

# Every symbol of the blocks that have emoji, since those of later versions of Unicode will be there.
_EMOJI = (
    "[\xa9\xae\u203c\u2049\u2122\u2139\u2190-\u21ff\u2300-\u23ff\u24c2\u2580-\u27bf\u2900-\u297f\u2b00-\u2bff"
    "\u3030\u303d\u3297\u3299\U0001f000-\U0001faff\U0001fc00-\U0001fffd]"
)
_EMOJI_PARTS = re.compile(
    f"(?:(?<={_EMOJI})|(?<={_EMOJI}\ufe0f))\u200d(?={_EMOJI})"  # a sequence of emoji that is one
    "|(?<=\U0001f3f4)[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f"  # the flag of a region
)
"""What is not seen by itself in an emoji sequence: UTS #51, 1.4."""


def is_seen(text: str) -> bool:
    """Return True if each character is seen, or is a joiner, or a part of an emoji, where it belongs."""
    rest = _EMOJI_PARTS.sub("", text)
    return all(
        not context_rule_error(rest, at, _UNICODE) if character in "\u200c\u200d" else _is_seen(character)
        for at, character in enumerate(rest)
    )


def _is_seen(character: str) -> bool:
    """Return True if a character is seen by itself, or may be in a later version of Unicode."""
    kind = category(character)
    if kind == "Cn":
        return not _UNICODE.noncharacter(ord(character)) and not _IGNORABLE.match(character)
    return kind not in _INVISIBLE or character in _SEEN_FORMATS
