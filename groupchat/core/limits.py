"""The limits of the daemon: those that an operator can choose, then the fixed ones.

Elsewhere are the limits of texts and datagrams, which are part of their grammar (texts.py, filenames.py,
wire/datagrams.py), the windows of a QUIC connection (quic/), and how much a module does at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from groupchat.core.texts import MAX_BYTES


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a group."""

    name: str = "lobby"
    max_members: int = 10_000
    max_per_host: int = 1_000  # members of one host, see core/networks; 0 is no limit
    rate: int = 5  # commands of one member per second, in the long run: see BURST; 0 is no limit
    join_rate: int = 1  # joins over UDP per second, of all hosts, in the long run: see JOIN_BURST; 0 is no limit
    release: int = 60  # seconds of silence after which a restarted client may have its name back; 0 is never
    hold: int = 300  # seconds for which a session without a connection is held
    stall: int = 60  # seconds after which a live reader that takes nothing is disconnected
    idle: int = 30  # days of silence after which a member leaves; 0 is never
    reserve: int = 30  # days for which the name and the place of a member are kept for its key; 0 is never
    reserved_names: tuple[str, ...] = ("admin", "server", "operator", "all", "everyone")  # that nobody may take
    keep: int = 100_000  # lines
    keep_days: int = 30  # 0 is no limit


@dataclass(frozen=True, slots=True)
class Limits:
    """The settings of connections."""

    max_connections: int = 10_000
    max_quic: int = 1_000  # QUIC connections, each of which may have several streams
    max_per_host: int = 1_000  # connections of one host; 0 is no limit
    name_within: int = 60  # seconds in which a connection has to give the password and a name
    password: bytes | None = None
    operators: tuple[bytes, ...] = ()  # the passwords of operators, each after the key of a name and a colon


@dataclass(frozen=True, slots=True)
class FileLimits:
    """The settings of shared files, in bytes."""

    max_file: int = 1_000_000_000
    max_total: int = 10_000_000_000  # of all files and unfinished uploads, also those that the operator put there
    max_member: int = 2_000_000_000  # of one member's uploads, or those of all guests of one host
    keep_free: int = 500_000_000  # on the disk


MOST = 1_000_000_000
"""The greatest value of a setting that is a number."""

Network = IPv4Network | IPv6Network

EVERYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))
"""The networks from which datagrams are accepted by default."""

# Names

MAX_CHARACTERS = 32
"""The longest name, in characters."""

# Datagrams

JOIN_BURST = 1_000
"""Joins over UDP that are accepted at once after a pause, of all hosts together."""

BUDGET = 64 * 1024
BUDGET_RATE = 4 * 1024
BUDGET_FACTOR = 16
"""Bytes of plain datagrams that one host is sent: at once, per second, and for each byte received from it."""

# Saying

BURST = 100
"""Commands that a member may send at once after a silence: more than anybody pastes by mistake."""

QUEUE = 16
"""Commands of one source that may wait for the one that is under way."""

QUEUED = 10_000
"""Commands that may wait in all."""

# Operators

MAX_BANS = 10_000
"""Bans in force, and mutes."""

MAX_ERASED = 1_000
"""Lines that are looked at to be erased in one turn."""

MAX_TOPIC = 400
"""The longest topic, in characters."""

# Reservations

MAX_RESERVED = 10_000
MAX_RESERVED_HOST = 100
"""Names that are kept for members who left: in all, and for those of one host, about. For more, none are kept."""

# Lines

MAX_LINE = MAX_BYTES + 256
"""The longest legal line, in bytes: a text, and what may stand before it."""

MAX_UNTERMINATED = 64 * 1024
"""Bytes without an end of line after which a connection is closed."""

HISTORY = 20
MAX_HISTORY = 200
"""Lines that /history shows: by default, and at most."""

MAX_ANSWER = 64 * 1024
"""The most bytes of lines in the answer to /history, and in a greeting."""

MAX_USERS = 200
"""Members that /users shows."""

GREETING_LINES = 10
"""Lines that a greeting shows."""

MAX_NAMES = 1_000
"""The most bytes of names in a greeting."""

# Connections

PASSWORD_ATTEMPTS = 3
"""Wrong passwords after which a connection is closed."""

PASSWORD_CHECKS = (40, 1)
"""Wrong passwords from one address, over all its connections: at once, and each second over time."""

ALL_PASSWORD_CHECKS = 100
"""Wrong passwords from all addresses together, at once and each second."""

NAME_ATTEMPTS = 3
"""Refused names after which a connection is closed: whoever chooses names looks at the first refusal."""

KEEPALIVE = (60, 20, 3)
"""TCP keep-alive: seconds of silence before the first probe, seconds between probes, and their number."""

BACKLOG = 1024
"""Connections that may wait in the kernel to be accepted."""

SEND_BUFFER = 256 * 1024
"""The size of a connection's send buffer in the kernel, in bytes."""

STOP_SECONDS = 3.0
"""Seconds that stopping waits for connections to take their data, and then again for them to close."""

STOP_STALL = 0.5
"""Seconds after which stopping waits no longer, if none of them takes anything: a restart must not wait for a reader
that is stalled.
"""

# QUIC

HANDSHAKE_SECONDS = 10.0
"""The longest time that a handshake may take."""

QUIC_IDLE = 30.0
"""Seconds of silence after which a QUIC connection ends: RFC 9000, section 10.1."""

# Files

MAX_SIZE = 2**63 - 1
"""The largest size of a file that the log can store, in bytes."""

MAX_FILES = 10_000
MAX_FILES_EACH = 1_000
"""Files with unfinished uploads: in all, and of one member or of the guests of one host.

If the directory has more, only the newest are listed. One host with all its members may have half of them.
"""

MIN_FILE_SPACE = 4096
"""The space that each file counts at least, in bytes: about what its name and its block take on a disk."""

MAX_PARTS = 1_000
MAX_PARTS_EACH = 20
"""Unfinished uploads that are kept: in all, and of one member or one host."""

PART_SECONDS = 24 * 3600
"""How long an unfinished upload is kept."""

MAX_METADATA = 4096
"""The longest description of an upload that is announced, in bytes as it is sent."""

MAX_READINGS = 500
"""Files that are read at the same time."""

MAX_UPLOADS = 100
MAX_UPLOADS_EACH = 4
"""Uploads at the same time: in all, of which one host may have half, and over one connection."""

MIN_UPLOAD_RATE = 32 * 1024
"""The rate below which an upload holds no room, in bytes per second: so many bytes hold it for one second."""

MAX_HOLD_SECONDS = 60.0
"""The longest time for which an upload holds room while nothing comes, however fast it was before."""

MAX_DOWNLOADS_EACH = 8
MAX_DOWNLOADS_HOST = MAX_READINGS // 4
"""Downloads at the same time: over one QUIC connection, and to one host, over QUIC and HTTP."""

MAX_LISTED = 64 * 1024 * 1024
MAX_LISTED_HOST = MAX_LISTED // 4
MAX_LISTED_EACH = 4 * 1024 * 1024
"""Bytes of file lists that wait to be sent over QUIC: in all, to one host, and over one connection."""

FILE_CHUNK = 256 * 1024
"""Bytes of one file that are held between the disk and a connection, about."""

FILE_THREADS = 6
"""Threads that read and write files."""

MAX_FILES_SHOWN = 200
"""Files that /files shows."""

LISTING_SECONDS = 20.0
"""The longest time that /files waits for the disk."""

# The page

MAX_WEB_STREAMS = 16
"""Event streams that one member may have open, usually one for each tab."""

MAX_WEB_HEAD = 16 * 1024
MAX_WEB_HEADERS = 64
MAX_WEB_TARGET = 4 * 1024
"""The longest head of a request, in bytes and in fields, and its longest target, in bytes."""

MAX_WEB_BODY = 32 * 1024
"""The longest body that is not a file, in bytes: a text as JSON, however it is escaped."""

MAX_WEB_UNSENT = 64 * 1024 * 1024
MAX_WEB_UNSENT_EACH = 8 * 1024 * 1024
"""Bytes of long answers that wait to be sent, about, before others are refused: in all, and to one host."""

WEB_HEAD_SECONDS = 20.0
"""The longest time for the head of a request, and then for its body unless that is a file."""

WEB_IDLE_SECONDS = 60.0
"""How long a connection is kept for the next request."""

WEB_LINGER_SECONDS = 2.0
"""How long input is discarded after a refusal: a client that is still sending would not read the refusal otherwise."""

WEB_BEAT_SECONDS = 15.0
"""The interval of heartbeats on an event stream: proxies close connections that are silent."""
