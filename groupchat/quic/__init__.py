"""One QUIC connection as Twisted sees it: each of its streams is a transport. Server and client share this package.

aioquic does the protocol (RFC 9000, 9001 and 9002) and no I/O: it is given datagrams and the time. Two rules hold here.
A peer can never make this side hold more than it was allowed to send: see core.py. All work is done in short turns, so
that the reactor is never blocked for long: see scheduler.py.

Datagrams are never larger than 1,200 bytes, which every path carries (RFC 9000, section 14): no larger size is probed.
"""

from __future__ import annotations

import logging

ALPN = "groupchat"
"""The name of the application protocol: RFC 7301."""

ID_LENGTH = 8
"""The length of the connection ids that both sides issue, in bytes."""

MAX_STREAMS = 16
"""The number of streams that a client may have open at once."""

FIRST_WINDOW = 64 * 1024
"""The flow-control window of a new stream, in bytes."""

WINDOW = 1024 * 1024
"""The flow-control window of a connection, and of a stream whose data is consumed quickly, in bytes."""

MAX_GAPS = 1_000
"""The number of separate pieces of one stream that may wait for missing data: each costs about 100 bytes."""

MAX_HANDSHAKE = 256 * 1024
"""The longest message of a handshake, such as one with certificates, in bytes."""

MAX_HANDSHAKE_GAPS = 50
"""The same as MAX_GAPS, for a handshake, whose sender may not have proven its identity yet."""

MIN_SEND_BUFFER, MAX_SEND_BUFFER = 64 * 1024, 2 * 1024 * 1024
"""The bounds of what may be written to a connection and not yet be acknowledged, in bytes. A slow peer gets less."""

TURN_SECONDS = 0.003
"""The time for handling datagrams before the rest of the reactor has its turn."""

MAX_WAITING = 2_000
"""The number of datagrams that may wait for their turn. More are dropped, as a network would do."""

Address = tuple[str, int]

# aioquic logs every malformed packet of a peer; the reason for which a connection ends is reported without it.
logging.getLogger("quic").setLevel(logging.CRITICAL)


def destination_id(datagram: bytes) -> bytes | None:
    """Return the connection id to which a QUIC datagram is addressed, or None if the datagram is not QUIC.

    The id decides: only one that was issued makes the datagram QUIC. See RFC 9000, section 17.
    """
    form = datagram[0] & 0xC0 if datagram else 0
    if form == 0x40:  # short header
        return datagram[1 : 1 + ID_LENGTH]
    if form == 0xC0 and len(datagram) > 6:  # long header
        return datagram[6 : 6 + datagram[5]]
    return None
