"""Every limit on who may connect, and on how much, in one place: first what an operator can choose, then the rest.

What a text, a name and a datagram may be is part of their grammar: see texts.py, names.py and wire/datagrams.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from groupchat.core.texts import MAX_BYTES


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator can choose for a group."""

    name: str = "lobby"
    max_members: int = 10_000
    max_per_host: int = 1_000  # members of one host; 0 is no limit
    rate: int = 5  # how much one member may say a second, in the long run: see BURST; 0 is no limit
    release: int = 60  # seconds of silence after which a restarted client may have its name back; 0 is never
    hold: int = 300  # seconds that a session without a connection is held
    stall: int = 60  # seconds after which a live reader that takes nothing is disconnected
    idle: int = 30  # days of silence after which a member leaves; 0 is never
    keep: int = 100_000  # lines
    keep_days: int = 30  # 0 is no limit


@dataclass(frozen=True, slots=True)
class Limits:
    """What an operator can choose for connections."""

    max_connections: int = 10_000
    max_quic: int = 1_000  # connections over QUIC, each of which may have several streams
    max_per_host: int = 1_000  # connections of one address; 0 is no limit
    name_within: int = 60  # seconds in which a connection has to give a name, and the password before it
    password: bytes | None = None


Network = IPv4Network | IPv6Network

EVERYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))
"""The networks that datagrams are taken from, unless an operator says otherwise."""

# Saying

BURST = 100
"""How much one member may say at once, if it said nothing before: more than anybody pastes by mistake."""

QUEUE = 16
"""How many commands of one source may wait for the one that is under way."""

QUEUED = 10_000
"""How many commands may wait in all."""

# Lines

MAX_LINE = MAX_BYTES + 256
"""The longest line that can be legal, in bytes: a text, and what may stand before it."""

MAX_UNTERMINATED = 64 * 1024
"""How much may come without an end of line, in bytes, before the connection is closed."""

HISTORY = 20
MAX_HISTORY = 200
"""How many of the last lines /history shows: unless told otherwise, and at most."""

MAX_ANSWER = 64 * 1024
"""How many bytes of lines /history shows, and a greeting."""

MAX_SEARCHED = 10_000
"""Of how many of the last lines these are: those that are private to others are passed over."""

MAX_USERS = 200
"""How many members /users shows."""

GREETING_LINES = 10
"""How many of the last lines a greeting shows."""

MAX_NAMES = 1_000
"""How many bytes of names a greeting shows."""

# Connections

PASSWORD_ATTEMPTS = 3
"""How many wrong passwords a connection may give."""

PASSWORD_PAUSE = 2.0
"""How many seconds there are between two wrong passwords from one address, over however many connections."""

KEEPALIVE = (60, 20, 3)
"""TCP: after so many seconds of silence the other side is probed; how often, in seconds; and how many times."""

BACKLOG = 1024
"""How many connections wait in the kernel to be taken."""

SEND_BUFFER = 256 * 1024
"""What the kernel is asked to hold of what a connection has not taken yet, in bytes."""

STOP_SECONDS = 3.0
"""How long stopping waits for connections to take what is there for them; and then for them to end."""

# QUIC

HANDSHAKE_SECONDS = 10.0
"""How long a handshake may take."""

QUIC_IDLE = 30.0
"""After how many seconds of silence a connection over QUIC is gone: RFC 9000, section 10.1."""

# Files


@dataclass(frozen=True, slots=True)
class FileLimits:
    """What an operator can choose for shared files, all of it in bytes."""

    max_file: int = 1_000_000_000
    max_total: int = 10_000_000_000  # of all there are, whatever put them there, and of uploads under way
    max_member: int = 2_000_000_000  # of what one member uploaded; or all the guests of one host
    keep_free: int = 500_000_000  # on the disk


MAX_SIZE = 2**63 - 1
"""The largest size of a file that the log can store, in bytes."""

MAX_FILES = 10_000
"""How many files there may be, with those under way; of more that are there, only the newest are listed."""

MAX_PARTS = 1_000
MAX_PARTS_EACH = 20
"""How many files may have come in part: in all, and of one member, or one host."""

PART_SECONDS = 24 * 3600
"""For how long what came of a file is kept for a later try."""

MAX_READINGS = 500
"""How many files are read at the same time."""

MAX_UPLOADS = 100
MAX_UPLOADS_EACH = 4
"""How many files are received at the same time: in all, and over one connection."""

MAX_DOWNLOADS_EACH = 8
"""How many files are sent at the same time over one connection."""

MAX_LISTED = 64 * 1024 * 1024
MAX_LISTED_EACH = 4 * 1024 * 1024
"""How many bytes of lists of files wait to be taken: in all, and over one connection."""

FILE_CHUNK = 256 * 1024
"""How many bytes of a file are held between the disk and a connection, about."""

FILE_THREADS = 6
"""How many threads wait for the disk."""

# Showing files

MAX_FILES_SHOWN = 200
"""How many files /files shows."""

LISTING_SECONDS = 20.0
"""How long /files waits for the disk."""

# The page

MAX_WEB_STREAMS = 16
"""How many streams of events one member may have open: tabs, as a rule."""

MAX_WEB_HEAD = 16 * 1024
MAX_WEB_HEADERS = 64
MAX_WEB_TARGET = 4 * 1024
"""The head of a request: how many bytes, how many fields, and how many bytes of what is asked for."""

MAX_WEB_BODY = 32 * 1024
"""The longest body, in bytes, that is no file: a text as JSON, however it is escaped."""

MAX_WEB_DOWNLOADS_EACH = 64
"""How many files are sent at the same time over HTTP to one host: a page may show many images."""

MAX_WEB_AHEAD = 4 * 1024
"""How much may come, in bytes, while a request is under way, about."""

MAX_WEB_UNSENT = 64 * 1024 * 1024
MAX_WEB_UNSENT_EACH = 8 * 1024 * 1024
"""How many bytes of long answers wait to be taken before no more are given: in all, and to one host, about."""

WEB_HEAD_SECONDS = 20.0
"""How long the head of a request may take; and then its body, if that is no file."""

WEB_IDLE_SECONDS = 60.0
"""How long a connection is kept for the next request."""

WEB_LINGER_SECONDS = 2.0
"""How long what still comes is thrown away after a refusal: who is still sending would not hear of it otherwise."""

WEB_BEAT_SECONDS = 15.0
"""How often something is sent to whoever is waiting for events: proxies part from what is silent."""
