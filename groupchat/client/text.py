"""What may be shown on a terminal, whoever the server is."""

from __future__ import annotations

from itertools import chain

QUOTED_CHARACTERS = 60

_REMOVED = dict.fromkeys(
    chain(
        (code for code in range(0x20) if chr(code) not in "\t\n"),  # C0
        range(0x7F, 0xA0),  # DEL and C1
        (0x2028, 0x2029),  # line and paragraph separators
        range(0x202A, 0x202F),  # bidirectional embeddings and overrides
        range(0x2066, 0x206A),  # and isolates
    )
)

_HALVES = dict.fromkeys(range(0xD800, 0xE000), "\ufffd")


def clean(reply: bytes) -> str:
    """The reply as text that can neither drive a terminal nor reorder what is around it.

    Invalid UTF-8 becomes U+FFFD. Of the control characters TAB and LF stay, the rest is removed.
    """
    return reply.decode("utf-8", "replace").translate(_REMOVED)


def whole(typed: str) -> str:
    """What was typed, fit to be sent: bytes in it that were no UTF-8 (os.fsdecode) become U+FFFD."""
    return typed.translate(_HALVES)


def quote(request: bytes) -> str:
    """A request in quotation marks, cleaned and shortened, for a message of one line."""
    return shorten(clean(request[: 4 * QUOTED_CHARACTERS + 4]).replace("\n", " "))


def shorten(text: str) -> str:
    """A text in quotation marks, of which the beginning will do."""
    return f'"{text}"' if len(text) <= QUOTED_CHARACTERS else f'"{text[:QUOTED_CHARACTERS]}..."'
