"""One QUIC connection as Twisted sees it: its streams are transports. Both sides use it; nothing here knows of groups.

aioquic's core does the protocol (RFC 9000, 9001, 9002), and no I/O: here it gets datagrams, the time, and its bounds.
Two rules. What the peer can make this side hold is what it was allowed, whatever it sends: see core.py. And whatever
there is to do is done in turns, so that the rest of the reactor is never kept waiting for long: see turns.py.
"""

from __future__ import annotations

import logging

ALPN = "groupchat"
"""What both sides say that they speak: RFC 7301."""

STREAMS = 16
"""How many streams a client may have open at once."""

FIRST_WINDOW = 64 * 1024
"""How much of a stream may come before anybody has taken any of it, in bytes."""

WINDOW = 1024 * 1024
"""How much of all streams of a connection may have come that nobody has taken yet, in bytes."""

MOST_SILENCES = 3
"""After how many attempts in vain to hear of the peer datagrams are small again."""

MAX_GAPS = 1_000
"""How many pieces of one stream may be there behind a gap: each costs a hundred bytes, however short it is."""

MAX_HANDSHAKE = 256 * 1024
"""The longest message of a handshake, such as one with certificates, in bytes."""

MAX_HANDSHAKE_GAPS = 50
"""How many pieces of a handshake may be there behind a gap: whoever sends them need not have proven who it is."""

FIRST_SIZE = 1_200
LARGER_SIZES = (1_452,)
LARGER_SIZES_HERE = (1_452, 16_000)
"""How large datagrams are at first, in bytes, and which are tried then: RFC 8899. On one machine they may be larger."""

LEAST_AHEAD, MOST_AHEAD = 64 * 1024, 2 * 1024 * 1024
"""How much may be written to a connection that the peer has not acknowledged, in bytes: less, the slower it is."""

TURN = 0.003
"""For how many seconds datagrams are dealt with before the rest of the reactor has its turn."""

MAX_WAITING = 2_000
"""How many datagrams may wait for their turn. What is beyond that is lost, as it may be on the way."""

Address = tuple[str, int]

# What a peer does wrong is told in the words of this program, and not on standard error for each of its packets.
logging.getLogger("quic").setLevel(logging.CRITICAL)
