"""What a client must know of the five messages: which request is which, and the two replies that mean something."""

from __future__ import annotations

MAX_DATAGRAM = 65_507
"""Bytes: the most that an IPv4 datagram holds, and the longest reply and request there is."""

LEAVE = b"4"
POLL = b"5"
CLOSE = b"close"
ILLEGAL = b"Illegal message"


def is_join(request: bytes) -> bool:
    return request.startswith(b"1 ")


def is_repeatable(request: bytes) -> bool:
    """Whether a second copy does no harm if the first was heard: a join answers its own repeat, a poll only asks."""
    return request == POLL or is_join(request)
