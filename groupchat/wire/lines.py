"""The lines of a live connection: bytes -> lines -> commands, and how answers read. Pure: no socket, no group.

    -> the password             if the group has one; nothing of the group is shown before
    -> Name                     join
    -> text                     say it to the others; `//text` says `/text`
    -> /msg Name: text          say it to one member only (or `/msg Name text`: the longest name that matches)
    -> /name New   /users   /files   /history 20   /help   /quit
    <- line                     what happened, in the words of the five messages; and `Name (private): text`
    <- * words                  what the server itself has to say: no name begins with `*`

A program asks for a numbered session instead of giving a name:

    -> /numbered KEY Name       <- session NUMBER COUNT Name    KEY: 32 hex digits, at random; to be kept secret
    -> /resume KEY NUMBER       <- session NUMBER COUNT Name    NUMBER: of the last line that was seen; COUNT wait
                                <- no 0 why
    -> ID line                  <- ok ID, or: no ID why         ID: 1 to 2**63 - 1, another for each line
                                <- busy ID why                  not done now: to be sent again a little later
                                <- = words                      before the ok: what was asked for
    <- NUMBER line              what happened; then `* words` as above

Lines end with LF or CRLF, and are UTF-8. What telnet puts between them for itself is taken out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256

from groupchat.core.commands import Command, Files, Join, Leave, Recall, Rename, Say, Users, Whisper
from groupchat.core.errors import IllegalMessage
from groupchat.core.ids import MAX_ID
from groupchat.core.limits import HISTORY, MAX_HISTORY, MAX_LINE

HELP = """\
What you type goes to all the others. A line that begins with / is a command:
/users             who is here
/files             the files that are shared here
/msg Name: text    say something to one member only
/name New          change your name
/history 20        the last lines again
/quit              leave (so does Ctrl-D)
A line that begins with // is said, with one of them.
""".splitlines()

_TIMING_MARK = b"\xff\xfd\x06"
NO_TIMING_MARK = b"\xff\xfc\x06"
"""What telnet asks for after Ctrl-C or Ctrl-Z, and shows nothing more until it is answered: RFC 860."""

_INTERRUPT = b"\xff\xf4"
_END = re.compile(rb"\xff[\xec\xf4]|\x04\Z")
_TELNET = re.compile(rb"\xff(?:[\xfb-\xfe].?|\xfa.*?(?:\xff\xf0|\Z)|[\xec-\xf9\xff])", re.DOTALL)
_KEY = re.compile(r"[0-9a-fA-F]{32}")
_NUMBER = re.compile(r"[0-9]{1,19}")


class Splitter:
    """Takes bytes as they come, and makes lines of them as they are asked for: it holds no more than came.

    `unterminated` is how many bytes are behind the last end of line. `ended` once somebody pressed Ctrl-C or Ctrl-D in
    telnet, which may send a sign of its own instead of closing: half a line before a Ctrl-D counts. `marked` if the
    last bytes asked for a timing mark. All this is of what was made lines of.
    """

    __slots__ = ("_at", "_raw", "_rest", "_sign", "ended", "marked", "unterminated")

    def __init__(self) -> None:
        self.unterminated = 0
        self.ended = False
        self.marked = False
        self._raw = b""  # of which nothing was made yet, from `_at` on
        self._at = 0
        self._rest = b""  # the beginning of a line, no more of it than can be legal
        self._sign = b""  # what may be the beginning of a timing mark

    def __bool__(self) -> bool:
        """Whether there is anything to make lines of."""
        return bool(self._raw)

    def feed(self, data: bytes) -> None:
        self._raw = self._raw[self._at :] + data
        self._at = 0

    def clear(self) -> None:
        """Forget all that has come."""
        self._raw = self._rest = b""
        self._at = 0

    def lines(self, most: int) -> list[bytes]:
        """At most so many of the lines that have come, without their ends.

        One that is too long is cut, but remains too long.
        """
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
        if self._sign or b"\xff" in data or self.marked:
            self._look_for_mark(data)
        lines = data.split(b"\n")
        self.unterminated = len(lines[-1]) + (self.unterminated if len(lines) == 1 else 0)
        lines[0] = self._rest + lines[0]
        rest = lines.pop()[: MAX_LINE + 2]
        if (b"\xff" in rest or b"\x04" in rest) and (sign := _END.search(rest)):
            self.ended = True
            rest = b"" if sign[0] == _INTERRUPT else rest[: sign.start()]
        self._rest = rest
        return [_cleaned(line) for line in lines]

    def _look_for_mark(self, data: bytes) -> None:
        data = self._sign + data
        self.marked = _TIMING_MARK in data
        self._sign = data[-2:] if b"\xff" in data[-2:] else b""

    def finish(self) -> list[bytes]:
        """There is no more: what has no end of line is one."""
        rest, self._rest = _cleaned(self._rest), b""
        return [rest] if rest else []


def _cleaned(line: bytes) -> bytes:
    if len(line) > MAX_LINE + 1:
        return line[: MAX_LINE + 1]  # it may be cut: with telnet's own taken out, it would seem whole
    line = line.removesuffix(b"\r")
    return _TELNET.sub(b"", line) if b"\xff" in line else line


@dataclass(slots=True)
class Help:
    """Be told what can be asked for."""

    id: int = 0


@dataclass(slots=True)
class Resume:
    """Go on with the session of this key, of which this line was the last that was seen."""

    secret: str
    number: int


def decode(line: bytes) -> str:
    """Raises IllegalMessage."""
    if len(line) > MAX_LINE:
        raise IllegalMessage(f"That line is longer than {MAX_LINE} bytes.")
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise IllegalMessage("That is not UTF-8.") from None


def parse_first(line: str) -> Join | Resume | Help | Leave:
    """What somebody who is no member asks for. Raises IllegalMessage."""
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


def is_http(line: bytes) -> bool:
    """Whether this is what a browser sends first: any page can make it speak to any host and port."""
    return b" HTTP/1." in line


def asks_for_numbers(line: bytes) -> bool:
    """Whether this asks for a numbered session, or is the beginning of what does."""
    return line.lower().startswith((b"/numbered ", b"/resume "))


def hashed(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise IllegalMessage("A key is 32 hex digits, and made at random.")
    return sha256(bytes.fromhex(key)).hexdigest()


def numbered(line: str) -> tuple[int, str]:
    """The id of a line in a numbered session, and the rest. Raises IllegalMessage."""
    number, _, rest = line.partition(" ")
    if not _NUMBER.fullmatch(number) or not 0 < int(number) <= MAX_ID:
        raise IllegalMessage(f"In a numbered session each line begins with a number of its own, 1 to {MAX_ID}.")
    return int(number), rest


def parse(line: str, client_id: int = 0) -> Command | Help:
    """What a member asks for. Raises IllegalMessage."""
    if not line.startswith("/"):
        return Say(line, client_id)
    if line.startswith("//"):
        return Say(line[1:], client_id)
    verb, _, rest = line.partition(" ")
    asked = _COMMANDS.get(verb.lower())
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
    """What happened, for a numbered session: runs of lines, each line with its number (but see group.py: Run)."""
    return b"".join([_with_numbers(*run) for run in runs])


def _with_numbers(first: int, lines: bytes | bytearray) -> bytes:
    if not first:
        return bytes(lines) + b"\n"
    return b"".join([b"%d %s\n" % numbered for numbered in enumerate(lines.split(b"\n"), first)])


def notes(lines: Iterable[str | bytes | bytearray], mark: bytes = b"* ") -> bytes:
    """Lines that the server itself has to say."""
    return b"".join([mark + (line.encode() if isinstance(line, str) else line) + b"\n" for line in lines])
