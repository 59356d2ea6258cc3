"""The first lines of a QUIC stream, which ask for a live connection or for shared files, and the answers.

    -> LINES                         a live connection from here on: see lines.py
    -> PASSWORD words                <- ok                           for all streams of the connection
    -> FILES                         <- ok COUNT, and COUNT times: SIZE SHA256 TIME NAME
    -> GET OFFSET SHA256 NAME        <- ok SIZE SHA256 OFFSET, and the bytes from OFFSET to SIZE
    -> PUT SIZE SHA256 NAME
    -> BY KEY 32-hex-digits          the member of this numbered session, or
    -> BY ADDRESS                    the member that sends datagrams from the same address and port, or
    -> BY GUEST Name                 a guest under a free name
                                     <- go OFFSET                    so many bytes are there from an earlier try
    -> the bytes from OFFSET to SIZE, and the end
                                     <- ok NAME                      the name that the file got
                                     <- no WHY                       to any request: refused; and the end
                                     <- busy WHY                     to any request: try again later; and the end

Lines are UTF-8, and end with LF. SIZE and OFFSET are in bytes, TIME in whole seconds since the epoch. SHA256 has 64 hex
digits. In the answer to FILES it is `-` while it is not known. In GET it is `-`, or 16 digits or more of the file of
which the client has OFFSET bytes already: if the file is another one now, all of it comes, and the answer has OFFSET 0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from groupchat.core.errors import IllegalMessage, NotNow
from groupchat.core.filenames import check_name, is_listed
from groupchat.core.limits import MAX_SIZE
from groupchat.wire.lines import decode, hashed

_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BEGINNING = re.compile(r"-|[0-9a-f]{16,64}")
_UNKNOWN = "Say LINES, PASSWORD, FILES, GET or PUT."


@dataclass(frozen=True, slots=True)
class OpenLines:
    """Begin a live connection: see lines.py."""


@dataclass(frozen=True, slots=True)
class Password:
    """Give the password."""

    given: bytes


@dataclass(frozen=True, slots=True)
class ListFiles:
    """Get the list of shared files."""


@dataclass(frozen=True, slots=True)
class Get:
    """Download a file: from `offset` on if its hash begins with `sha256`, else all of it."""

    offset: int
    sha256: str
    name: str

    def begin(self, size: int, sha256: str) -> int:
        """Return the offset from which a file of this size and hash is to be sent."""
        is_same = self.sha256 != "-" and sha256.startswith(self.sha256)
        return self.offset if is_same and self.offset <= size else 0


@dataclass(frozen=True, slots=True)
class Put:
    """Upload a file. Its name was checked."""

    size: int
    sha256: str
    name: str


Request = OpenLines | Password | ListFiles | Get | Put

_PLAIN: dict[str, Request] = {"LINES": OpenLines(), "FILES": ListFiles()}


@dataclass(frozen=True, slots=True)
class Sender:
    """The author of an upload: a numbered session, or a guest, or else the member that has the address."""

    secret: str = ""
    guest: str = ""


def parse(line: bytes) -> Request:
    """Parse the first line of a stream. Raises IllegalMessage."""
    if line.startswith(b"PASSWORD "):
        return Password(line.removeprefix(b"PASSWORD "))
    words = decode(line)
    if words in _PLAIN:
        return _PLAIN[words]
    verb, _, rest = words.partition(" ")
    match verb:
        case "GET":
            return _get(rest)
        case "PUT":
            return _put(rest)
    raise IllegalMessage(_UNKNOWN)


def _get(rest: str) -> Get:
    words = rest.split(" ", 2)
    if len(words) != 3 or not _BEGINNING.fullmatch(words[1]) or not is_listed(words[2]):
        raise IllegalMessage("Write GET OFFSET SHA256 NAME.")
    return Get(_number(words[0]), words[1], words[2])


def _put(rest: str) -> Put:
    words = rest.split(" ", 2)
    if len(words) != 3 or not _SHA256.fullmatch(words[1]):
        raise IllegalMessage("Write PUT SIZE SHA256 NAME.")
    return Put(_number(words[0]), words[1], check_name(words[2]))


def parse_sender(line: bytes) -> Sender:
    """Parse the second line of PUT. Raises IllegalMessage."""
    words = decode(line)
    if words == "BY ADDRESS":
        return Sender()
    if words.startswith("BY KEY "):
        return Sender(secret=hashed(words.removeprefix("BY KEY ")))
    if words.startswith("BY GUEST ") and words != "BY GUEST ":
        return Sender(guest=words.removeprefix("BY GUEST "))
    raise IllegalMessage("Write BY KEY and the key of a session, BY ADDRESS, or BY GUEST and a name.")


def _number(digits: str) -> int:
    if not _NUMBER.fullmatch(digits) or int(digits) > MAX_SIZE:
        raise IllegalMessage(f"A number of bytes is a whole number from 0 to {MAX_SIZE}.")
    return int(digits)


# Answers


def accepted() -> bytes:
    """Answer a PASSWORD that is right."""
    return b"ok\n"


def count(files: int) -> bytes:
    """Answer FILES: that many entries follow."""
    return b"ok %d\n" % files


def entry(name: str, size: int, sha256: str | None, at: float) -> bytes:
    """Return the entry of one file in the answer to FILES."""
    return f"{size} {sha256 or '-'} {int(at)} {name}\n".encode()


def sending(size: int, sha256: str, offset: int) -> bytes:
    """Answer GET: the bytes from `offset` follow."""
    return f"ok {size} {sha256} {offset}\n".encode()


def go(offset: int) -> bytes:
    """Answer PUT: ask for the bytes from `offset` on."""
    return b"go %d\n" % offset


def done(name: str) -> bytes:
    """Answer an upload that is complete: the file has this name."""
    return f"ok {name}\n".encode()


def refusal(why: IllegalMessage) -> bytes:
    """Refuse a request with `no WHY` or `busy WHY`, always in one line."""
    verb = "busy" if isinstance(why, NotNow) else "no"
    return f"{verb} {' '.join(str(why).split())}\n".encode(errors="replace")
