"""The lines of a live connection: bytes to lines, lines to commands, and answers to bytes.

    -> the password             if the group has one; nothing of the group is shown before
    -> Name                     join
    -> text                     say it to the others; `//text` says `/text`
    -> /msg Name: text          say it to one member only (or `/msg Name text`: the longest name that matches)
    -> /name New   /users   /files   /history 20   /topic   /help   /quit
    -> /operator PASSWORD       and what operators may do: see operators.py
    <- line                     an event, in the words of the five messages; and `Name (private): text`
    <- * words                  a notice of the server: no name begins with `*`

A program asks for a numbered session instead of giving a name:

    -> /numbered KEY Name       <- session NUMBER COUNT Name    KEY: 32 random hex digits, a secret
    -> /resume KEY NUMBER       <- session NUMBER COUNT Name    NUMBER: of the last line that was seen; COUNT wait
                                <- no 0 why                 `no 0 removed`: it may not come back, and why follows
    -> ID line                  <- ok ID, or: no ID why         ID: 1 to 2**63 - 1, another for each line
                                <- busy ID why                  not done now: send it again a little later
                                <- = words                      the answer to a question, before the ok
    <- NUMBER line              an event; and `* words` as above

Lines are UTF-8, and end with LF, CRLF, or CR NUL as telnet has it (RFC 854), whose commands in them are removed. One
byte-order mark before the first line is removed as well.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256

from groupchat.core.commands import Command, Files, Join, Leave, Recall, Rename, Say, Users, Whisper
from groupchat.core.errors import IllegalMessage
from groupchat.core.ids import MAX_ID
from groupchat.core.limits import HISTORY, MAX_HISTORY, MAX_LINE
from groupchat.core.numbers import MAX_DIGITS, whole
from groupchat.wire import operators
from groupchat.wire.operators import OperatorLine

REMOVED = b"no 0 removed\n"
"""What a program is told before its connection is closed for good."""

HELP = """\
What you type goes to all the others. A line that begins with / is a command:
/users             who is here
/files             the files that are shared here
/msg Name: text    say something to one member only
/name New          change your name
/history 20        the last lines again
/topic             what the group is about
/quit              leave (so does Ctrl-D)
A line that begins with // is said with one /.
""".splitlines()


def help_for(*, operator: bool) -> list[str]:
    """Return the list of commands, with those for operators before the last line."""
    return [*HELP[:-1], *operators.HELP, HELP[-1]] if operator else HELP


_TIMING_MARK = b"\xff\xfd\x06"
NO_TIMING_MARK = b"\xff\xfc\x06"
"""The answer to telnet, which asks for a timing mark after Ctrl-C or Ctrl-Z and shows nothing until then: RFC 860."""

_INTERRUPT = b"\xff\xf4"
_END = re.compile(rb"\xff[\xec\xf4]|\x04\Z")
_TELNET = re.compile(rb"\xff(?:[\xfb-\xfe].?|\xfa.*?(?:\xff\xf0|\Z)|[\xec-\xf9\xff])", re.DOTALL)
_BLANK = re.compile(rb"\A(?:\xef\xbb\xbf)?(?:\n|\r(?!\Z)\0?)*")  # before a first line; a NUL may follow a last CR
_LINE_END = re.compile(rb"\n|\r\0")
_WEB = re.compile(rb".* (?:HTTP/|[A-Z]{2,8}/[0-9]\.)[0-9]|[A-Z]{3,20} /", re.DOTALL)  # also RTSP, SIP and their like
_OTHER = re.compile(
    rb"\x16\x03|"  # TLS
    rb"[\x00-\x02\x05-\x07\x0b\x0c\x0e-\x1a\x1c-\x1f]|[\x03\x04][\x00-\x02]|"  # what no terminal sends
    rb"SSH-[0-9]|(?:EHLO|HELO) |CAP (?:LS|REQ|END)|PROXY (?:TCP|UNKNOWN)"
)
_KEY = re.compile(r"[0-9a-fA-F]{32}")
_NUMBER = re.compile(r"[0-9]{1,19}")


class Splitter:
    """Bytes that are split into lines when lines are asked for.

    `unterminated` is the number of bytes after the last end of line. `ended` is True once somebody pressed Ctrl-C or
    Ctrl-D in telnet, which sends a command instead of closing; what was typed before a Ctrl-D is a line. `marked` is
    True if the bytes that were split last ask for a timing mark. All three tell only of bytes that were split.
    """

    __slots__ = ("_at", "_cr", "_first", "_mark", "_raw", "_rest", "_skip", "ended", "marked", "unterminated")

    def __init__(self) -> None:
        self.unterminated = 0
        self.ended = False
        self.marked = False
        self._raw = b""  # not split yet from `_at` on
        self._at = 0
        self._rest = b""  # the beginning of a line, cut a little beyond the longest legal one
        self._mark = b""  # what may be the beginning of a timing mark
        self._skip = False  # the line that has begun is discarded
        self._cr = False  # the last byte was a CR
        self._first = True  # no line has ended yet

    def __bool__(self) -> bool:
        """Return True if there are bytes to split."""
        return bool(self._raw)

    @property
    def size(self) -> int:
        """The number of bytes to split."""
        return len(self._raw) - self._at

    def feed(self, data: bytes) -> None:
        if b"\0" in data:
            data = _end_lines(data, after_cr=self._cr)
        self._cr = data.endswith(b"\r")
        self._raw = self._raw[self._at :] + data
        self._at = 0

    def clear(self) -> None:
        """Discard all input."""
        self._raw = self._rest = b""
        self._at = 0

    def discard(self) -> None:
        """Discard all input so far, and the rest of an unfinished line."""
        self.lines(len(self._raw) + 1)
        if _cleaned(self._rest.rstrip(b"\xff")):  # not only the beginning of a telnet command
            self._rest, self._skip = b"", True

    def lines(self, most: int) -> list[bytes]:
        """Return at most so many lines, without their ends. A line that is too long is cut, but remains too long."""
        end = self._at
        for _ in range(most):
            end = self._raw.find(b"\n", end) + 1
            if not end:
                end = len(self._raw)
                break
        data = self._raw[self._at : end]
        self._at = end
        if end == len(self._raw):
            self._raw, self._at = b"", 0
        return self._split(data)

    def _split(self, data: bytes) -> list[bytes]:
        if self._mark or b"\xff" in data or self.marked:
            self._look_for_mark(data)
        lines = data.split(b"\n")
        self.unterminated = len(lines[-1]) + (self.unterminated if len(lines) == 1 else 0)
        lines[0] = self._rest + lines[0]
        rest = lines.pop()[: MAX_LINE + 2]
        if (b"\xff" in rest or b"\x04" in rest) and (sign := _END.search(rest)):
            self.ended = True
            rest = b"" if sign[0] == _INTERRUPT else rest[: sign.start()]
        self._rest = rest
        if self._first and lines:
            self._first = False
            lines[0] = lines[0].removeprefix(BOM_UTF8)
        if self._skip and lines:
            self._skip = False
            del lines[0]
        return [_cleaned(line) for line in lines]

    def _look_for_mark(self, data: bytes) -> None:
        data = self._mark + data
        self.marked = _TIMING_MARK in data
        self._mark = data[-2:] if b"\xff" in data[-2:] else b""

    def finish(self) -> list[bytes]:
        """Return the rest, which has no end of line, as a line at the end of input."""
        rest, self._rest = _cleaned(self._rest), b""
        if self._first:
            rest = rest.removeprefix(BOM_UTF8)
        return [rest] if rest and not self._skip else []


class Opening:
    """The first line of a connection as it came, until it is known that the peer speaks this protocol.

    Any web page can make a browser connect to any host and port, and send lines that the page chose behind the head of
    an HTTP request. So what is said to the group is not judged, but what the connection began with.
    """

    __slots__ = ("_raw",)

    def __init__(self) -> None:
        self._raw: bytes | None = b""  # None once it is known

    def feed(self, data: bytes) -> str:
        """Take what came next. Return why the connection must be closed, or an empty string."""
        if self._raw is None:
            return ""
        raw = _BLANK.sub(b"", self._raw + data, count=1)[: MAX_LINE + 3]
        line, *ended = _LINE_END.split(raw, maxsplit=1)
        self._raw = None if ended else raw
        if _WEB.match(line):
            return "This is no web server."
        if _OTHER.match(line):
            return "This server speaks another protocol: lines of UTF-8, of which the first is a name."
        return too_long() if len(line.removesuffix(b"\r")) > MAX_LINE else ""


def _end_lines(data: bytes, *, after_cr: bool) -> bytes:
    """Return data in which CR NUL is an end of line."""
    if after_cr and data.startswith(b"\0"):
        data = b"\n" + data[1:]
    return data.replace(b"\r\0", b"\r\n")


def _cleaned(line: bytes) -> bytes:
    if len(line) > MAX_LINE + 1:
        return line[: MAX_LINE + 1]  # it may be cut, and without telnet's commands it could seem whole
    line = line.removesuffix(b"\r")
    return _TELNET.sub(b"", line) if b"\xff" in line else line


@dataclass(slots=True)
class Help:
    """Get the list of commands."""

    id: int = 0


@dataclass(slots=True)
class Resume:
    """Resume the session whose key has this hash, after the line of this number."""

    secret: str
    number: int


def too_long() -> str:
    return f"That line is longer than {MAX_LINE} bytes."


def decode(line: bytes) -> str:
    """Return a line as text. Raises IllegalMessage if it is too long, or not UTF-8."""
    if len(line) > MAX_LINE:
        raise IllegalMessage(too_long())
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise IllegalMessage("That is not UTF-8.") from None


def parse_first(line: str) -> Join | Resume | Help | Leave:
    """Parse a line of somebody who is not a member. Raises IllegalMessage."""
    if not line.startswith("/"):
        return Join(line)
    verb, _, rest = line.partition(" ")
    match verb.lower():
        case "/numbered":
            key, _, name = rest.partition(" ")
            return Join(name, hashed(key))
        case "/resume":
            key, _, number = rest.partition(" ")
            if not _NUMBER.fullmatch(number):
                raise IllegalMessage("Write /resume KEY NUMBER, with the number of the last line that you have seen.")
            return Resume(hashed(key), int(number))
        case "/help":
            return Help()
        case "/quit":
            return Leave()
    raise IllegalMessage("You are not in the group yet: write your name. No name begins with /.")


def asks_for_numbers(line: bytes) -> bool:
    """Return True if a line asks for a numbered session, even if the line is incomplete or malformed."""
    return line.lower().startswith((b"/numbered ", b"/resume "))


def hashed(key: str) -> str:
    """Return the SHA-256 of a session's key, in hex. Raises IllegalMessage."""
    if not _KEY.fullmatch(key):
        raise IllegalMessage("A key is 32 hex digits, made at random.")
    return sha256(bytes.fromhex(key)).hexdigest()


def numbered(line: str) -> tuple[int, str]:
    """Split a line of a numbered session into its id and the rest. Raises IllegalMessage."""
    number, _, rest = line.partition(" ")
    if not _NUMBER.fullmatch(number) or not 0 < int(number) <= MAX_ID:
        raise IllegalMessage(f"In a numbered session each line begins with a number of its own, 1 to {MAX_ID}.")
    return int(number), rest


def id_of(line: bytes) -> int:
    """Return the id of a line that is too long, or not UTF-8, so that its refusal can name it; 0 if it has none."""
    number, space, _ = line[: MAX_DIGITS + 1].partition(b" ")
    return (whole(number.decode("ascii", "replace")) or 0) if space else 0


def parse(line: str, client_id: int = 0) -> Command | Help | OperatorLine:
    """Parse a line of a member. Raises IllegalMessage."""
    if not line.startswith("/"):
        return Say(line, client_id)
    if line.startswith("//"):
        return Say(line[1:], client_id)
    verb, _, rest = line.partition(" ")
    verb = verb.lower()
    if verb in operators.VERBS:
        return OperatorLine(verb, rest, client_id)
    asked = _COMMANDS.get(verb)
    if asked is None:
        raise IllegalMessage("There is no such command: see /help. To say a line that begins with /, write two.")
    return asked(rest, client_id)


def _whisper(words: str, client_id: int) -> Whisper:
    if not words.strip():
        raise IllegalMessage("Write /msg Name: text.")
    return Whisper(words, client_id)


def _rename(name: str, client_id: int) -> Rename:
    if not name.strip():
        raise IllegalMessage("Write /name and your new name.")
    return Rename(name, client_id)


def _recall(count: str, client_id: int) -> Recall:
    count = count.strip()
    if not count:
        return Recall(HISTORY, client_id)
    if not _NUMBER.fullmatch(count) or not 0 < int(count) <= MAX_HISTORY:
        raise IllegalMessage(f"Write /history and a number from 1 to {MAX_HISTORY}.")
    return Recall(int(count), client_id)


_COMMANDS: dict[str, Callable[[str, int], Command | Help]] = {
    "/msg": _whisper,
    "/name": _rename,
    "/history": _recall,
    "/users": lambda _, client_id: Users(client_id),
    "/files": lambda _, client_id: Files(client_id),
    "/help": lambda _, client_id: Help(client_id),
    "/quit": lambda _, client_id: Leave(client_id),
}


def with_numbers(runs: Iterable[tuple[int, bytes | bytearray]]) -> bytes:
    """Return runs of lines (see group.py) for a numbered session: each line after its number, notices without one."""
    return b"".join([_with_numbers(*run) for run in runs])


def _with_numbers(first: int, lines: bytes | bytearray) -> bytes:
    if not first:
        return bytes(lines) + b"\n"
    return b"".join([b"%d %s\n" % numbered for numbered in enumerate(lines.split(b"\n"), first)])


def notes(lines: Iterable[str | bytes | bytearray], mark: bytes = b"* ") -> bytes:
    """Return lines of the server itself, each after a mark."""
    return b"".join([mark + (line.encode() if isinstance(line, str) else line) + b"\n" for line in lines])
