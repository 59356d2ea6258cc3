"""Text from a server or a user, made safe to show on a terminal."""

from __future__ import annotations

import re

from groupchat.core.texts import FORBIDDEN

QUOTED_CHARACTERS = 60

_SURROGATES = re.compile("[\ud800-\udfff]")


def clean(data: bytes) -> str:
    """Return `data` as text that can neither drive a terminal nor reorder the text around it.

    Invalid UTF-8 becomes U+FFFD. TAB and LF stay; the other characters that no text may contain are removed.
    """
    text = data.decode("utf-8", "replace")
    return text if text.isprintable() else "\n".join([FORBIDDEN.sub("", row) for row in text.split("\n")])


def clean_line(text: str) -> str:
    """Return `text` cleaned and in one line. It may be an argument of the command line (see os.fsdecode)."""
    return clean(text.encode("utf-8", "surrogateescape")).replace("\n", " ")


def replace_surrogates(typed: str) -> str:
    """Return typed text fit to be sent: each byte that was not UTF-8 (see os.fsdecode) becomes U+FFFD."""
    return _SURROGATES.sub("\ufffd", typed)


def quote(text: bytes | str) -> str:
    """Return the beginning of a text, cleaned, in one line and in quotation marks."""
    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    line = clean(data[: 4 * QUOTED_CHARACTERS + 4]).replace("\n", " ")
    return f'"{line}"' if len(line) <= QUOTED_CHARACTERS else f'"{line[:QUOTED_CHARACTERS]}..."'
