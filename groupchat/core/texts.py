"""The rules of a text: one line, which cannot look like another member's line, nor control a terminal."""

from __future__ import annotations

import re
from codecs import BOM_UTF8

from groupchat.core.errors import BadText

MAX_BYTES = 4096
"""The longest text, in bytes of UTF-8."""

# C0 but TAB, DEL and C1; line and paragraph separators; bidirectional embeddings, overrides and isolates.
FORBIDDEN = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")

_OPERATOR = re.compile(r"/operator(?!\w)", re.IGNORECASE)


def one_line(data: bytes) -> bytes:
    """Return what a file or a body with one line says: without a byte-order mark, and without the end of the line."""
    return data.removeprefix(BOM_UTF8).removesuffix(b"\n").removesuffix(b"\r")


def check_text(text: str) -> str:
    """Return `text` unchanged. Raises IllegalMessage if it is not allowed."""
    if not text or text.isspace():
        raise BadText("There is nothing in that text.")
    # A character takes at most four bytes, so most texts need not be encoded to be measured.
    if len(text) > MAX_BYTES // 4 and len(text.encode()) > MAX_BYTES:
        raise BadText(f"That text is longer than {MAX_BYTES} bytes.")
    # isprintable() is much faster than the search, and is false for every forbidden character.
    if not text.isprintable() and FORBIDDEN.search(text):
        raise BadText("That text has control characters in it.")
    # Nearly every text begins with a letter or a digit, and then nothing more is looked at.
    if not text[0].isalnum() and names_operator(text):
        raise BadText("That text begins with /operator: it would tell everybody a password.")
    return text


def names_operator(text: str) -> bool:
    """Return True if a text begins with /operator, perhaps behind blanks, slashes or characters that do not show."""
    found = _OPERATOR.search(text)
    return found is not None and not any(
        one.isprintable() and not one.isspace() and one != "/" for one in text[: found.start()]
    )
