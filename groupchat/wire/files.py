"""The grammar of shared files: what the first line of a stream asks for, and how it is answered. Pure.

    -> LINES                         a live line from here on: see lines.py
    -> PASSWORD words                <- ok                           it counts for the whole connection
    -> FILES                         <- ok COUNT, and COUNT times: SIZE SHA256 TIME NAME
    -> GET OFFSET SHA256 NAME        <- ok SIZE SHA256 OFFSET, and the bytes from OFFSET to SIZE
    -> PUT SIZE SHA256 NAME
    -> BY KEY 32-hex-digits          the member of this numbered session, or
    -> BY ADDRESS                    the member whose five messages come from this very address and port, or
    -> BY GUEST Name                 a guest under a free name
                                     <- go OFFSET                    so much is there of an earlier try
    -> the bytes from OFFSET to SIZE, and the end
                                     <- ok NAME                      the name that it got
                                     <- no WHY                       refused for good, whatever it was; and the end
                                     <- busy WHY                     not now: to be tried again later; and the end

Lines end with LF, and are UTF-8. SIZE and OFFSET are bytes, TIME whole seconds since the epoch. SHA256 has 64 hex
digits; in the answer to FILES `-` while it is not known; in GET `-`, or 16 digits or more of the file of which
the asker has OFFSET bytes already: of another one all comes, and the answer says OFFSET 0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from groupchat.core.errors import IllegalMessage, NotNow
from groupchat.core.filenames import check_name, is_listed
from groupchat.core.limits import MAX_LINE, MAX_SIZE
from groupchat.wire.lines import hashed

_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BEGINNING = re.compile(r"-|[0-9a-f]{16,64}")
_UNKNOWN = "Say LINES, PASSWORD, FILES, GET or PUT."


@dataclass(frozen=True, slots=True)
class OpenLines:
    """A live line from here on."""


@dataclass(frozen=True, slots=True)
class Password:
    """The password, as it was given."""

    given: bytes


@dataclass(frozen=True, slots=True)
class ListFiles:
    """What is there?"""


@dataclass(frozen=True, slots=True)
class Get:
    """A file from `offset` on, if its hash begins so."""

    offset: int
    sha256: str
    name: str

    def begin(self, size: int, sha256: str) -> int:
        """From where on a file of this size and hash is to be sent."""
        is_same = self.sha256 != "-" and sha256.startswith(self.sha256)
        return self.offset if is_same and self.offset <= size else 0


@dataclass(frozen=True, slots=True)
class Put:
    """Here is a file. Its name may be one."""

    size: int
    sha256: str
    name: str


Request = OpenLines | Password | ListFiles | Get | Put

_PLAIN: dict[str, Request] = {"LINES": OpenLines(), "FILES": ListFiles()}


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends a file: the session of this secret, or a guest of this name; of neither, the member of the address."""

    secret: str = ""
    guest: str = ""


def parse(line: bytes) -> Request:
    """What the first line of a stream asks for. Raises IllegalMessage."""
    if line.startswith(b"PASSWORD "):
        return Password(line.removeprefix(b"PASSWORD "))
    words = _decode(line)
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
    """Who sends a file: the second line of PUT. Raises IllegalMessage."""
    words = _decode(line)
    if words == "BY ADDRESS":
        return Sender()
    if words.startswith("BY KEY "):
        return Sender(secret=hashed(words.removeprefix("BY KEY ")))
    if words.startswith("BY GUEST ") and words != "BY GUEST ":
        return Sender(guest=words.removeprefix("BY GUEST "))
    raise IllegalMessage("Write BY KEY and the key of a session, BY ADDRESS, or BY GUEST and a name.")


def _decode(line: bytes) -> str:
    if len(line) > MAX_LINE:
        raise IllegalMessage(f"That line is longer than {MAX_LINE} bytes.")
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise IllegalMessage("That is not UTF-8.") from None


def _number(digits: str) -> int:
    if not _NUMBER.fullmatch(digits) or int(digits) > MAX_SIZE:
        raise IllegalMessage(f"A number of bytes is a whole number from 0 to {MAX_SIZE}.")
    return int(digits)


# Answers


def accepted() -> bytes:
    return b"ok\n"


def count(files: int) -> bytes:
    return b"ok %d\n" % files


def entry(name: str, size: int, sha256: str | None, at: float) -> bytes:
    """One file of the answer to FILES."""
    return f"{size} {sha256 or '-'} {int(at)} {name}\n".encode()


def sending(size: int, sha256: str, offset: int) -> bytes:
    return f"ok {size} {sha256} {offset}\n".encode()


def go(offset: int) -> bytes:
    return b"go %d\n" % offset


def done(name: str) -> bytes:
    return f"ok {name}\n".encode()


def refusal(why: IllegalMessage) -> bytes:
    """`no` and why, or `busy`; in one line, whatever was asked."""
    verb = "busy" if isinstance(why, NotNow) else "no"
    return f"{verb} {' '.join(str(why).split())}\n".encode(errors="replace")
