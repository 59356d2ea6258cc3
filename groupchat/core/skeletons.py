"""Names that look alike have the same skeleton: UTS #39, Unicode Security Mechanisms.

A skeleton is for comparing only, and depends on the Unicode version of this Python: it is never stored, and the fold
decides nothing by it. The order in which letters of two directions are displayed is left out.
"""

from __future__ import annotations

import re
from functools import lru_cache
from unicodedata import normalize

from groupchat.core.confusables import TABLE

IGNORABLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""The characters that Unicode calls Default_Ignorable, for a class in a regular expression: nothing is displayed."""

_IGNORED = re.compile(f"[{IGNORABLE}]+")


@lru_cache(1024)
def skeleton(text: str) -> str:
    """Return the skeleton of a text."""
    return normalize("NFD", _IGNORED.sub("", normalize("NFD", text)).translate(TABLE))


def skeletons(shown: str, key: str) -> tuple[str, str]:
    """Return the skeletons of a name as it is shown, and of its key. Names that look alike have one of them in common.

    A line feed, which no name contains, tells the second from the first: `lan` is a name of its own beside `Ian`.
    """
    return skeleton(shown), "\n" + skeleton(key)


class Skeletons(dict[str, int]):
    """The number of names that have each skeleton: above 1 only if they are older than the rule."""

    def add(self, shown: str, key: str) -> None:
        for one in skeletons(shown, key):
            self[one] = self.get(one, 0) + 1

    def remove(self, shown: str, key: str) -> None:
        for one in skeletons(shown, key):
            count = self.pop(one)
            if count > 1:
                self[one] = count - 1
