"""The client's side of FILES, GET and PUT: what is asked over a stream, and how it is answered. See docs/protocol.md.

A `Stream` is any connection that is read and written at the pace of the slower side; QUIC's or another's. The
functions are one request each, and leave the stream open: whoever has opened it closes it, whatever comes of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionClosed, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from groupchat.client.files.names import is_fit
from groupchat.client.text import clean

MAX_LINE = 8 * 1024
"""The longest line in bytes that is taken from a server."""

MOST_READ = 256 * 1024
"""How many bytes are taken from a stream before somebody has read them."""

MOST_FILES = 100_000
"""How many files are taken from one answer."""

MOST_BYTES = 1 << 62
"""The size of the largest file there can be."""

_NUMBER = re.compile("0|[1-9][0-9]{0,18}")
_SHA256 = re.compile("[0-9a-f]{64}")
_LISTED_SHA256 = re.compile("-|[0-9a-f]{64}")


class RefusedError(Exception):
    """The server will not do it; `str()` of it says why, in its words."""


class BusyError(Exception):
    """The server cannot do it now: it may be asked again later."""


class StrangeError(Exception):
    """What the server says is not of this protocol."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A file of the group. `sha256` is `-` while it is not known; `at` is when it came, in seconds since the epoch."""

    size: int
    sha256: str
    at: int
    name: str


@implementer(IHalfCloseableProtocol, IPushProducer)
class Stream(Protocol):
    """One connection. At most one of `line` and `read` may be waited for at a time, and one `write`."""

    def __init__(self) -> None:
        self._came = bytearray()
        self._reading: Deferred[None] | None = None
        self._writing: Deferred[None] | None = None
        self._held = False  # the other side takes no more for now
        self._paused = False
        self._ended = False
        self._lost: Failure | None = None

    @property
    def _transport(self) -> Any:
        return self.transport

    # What the transport tells

    def connectionMade(self) -> None:
        self._transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        self._came += data
        if len(self._came) > MOST_READ and not self._paused:
            self._paused = True
            self._transport.pauseProducing()
        self._wake()

    def readConnectionLost(self) -> None:
        self._ended = True
        self._wake()

    def writeConnectionLost(self) -> None:
        """Nothing more can be written: what there is to read says why."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost = reason
        self._wake()

    def pauseProducing(self) -> None:
        self._held = True

    def resumeProducing(self) -> None:
        self._held = False
        self._wake_writer()

    def stopProducing(self) -> None:
        """`connectionLost` says the same."""

    def _wake(self) -> None:
        waiting, self._reading = self._reading, None
        if waiting is not None:
            waiting.callback(None)
        self._wake_writer()

    def _wake_writer(self) -> None:
        waiting, self._writing = self._writing, None
        if waiting is not None:
            waiting.callback(None)

    # What its owner does

    @property
    def is_answered(self) -> bool:
        """Whether there is something to read, or nothing will ever be."""
        return bool(self._came) or self._ended or self._lost is not None

    async def line(self) -> str:
        """The next line. Raises RefusedError, BusyError, StrangeError, or what the connection was lost by."""
        while (end := self._came.find(b"\n")) < 0:
            if len(self._came) > MAX_LINE:
                raise StrangeError("the server speaks another protocol")
            if self._ended or self._lost is not None:
                raise self._why_lost()
            await self._more()
        line = bytes(self._came[:end])
        self._took(end + 1)
        try:
            said = line.decode()
        except UnicodeDecodeError as error:
            raise StrangeError("the server speaks another protocol") from error
        verb, _, why = said.partition(" ")
        if verb == "no":
            raise RefusedError(clean(why.encode()))
        if verb == "busy":
            raise BusyError(clean(why.encode()))
        return said

    async def read(self) -> bytes:
        """What has come, at least a byte; nothing at the end. Raises what the connection was lost by."""
        while not self._came:
            if self._ended:
                return b""
            if self._lost is not None:
                raise self._why_lost()
            await self._more()
        data = bytes(self._came)
        self._took(len(data))
        return data

    async def write(self, data: bytes) -> None:
        """Returns once the other side takes more, or has answered, or is gone."""
        if self._lost is None:
            self._transport.write(data)
            if self._held and not self.is_answered:
                self._writing = Deferred()
                await self._writing

    def finish(self) -> None:
        """Nothing more is written."""
        if self._lost is None:
            self._transport.unregisterProducer()
            self._transport.loseWriteConnection()

    def close(self) -> None:
        """It has done what it was for."""
        if self._lost is None:
            self._transport.loseConnection()

    def abort(self) -> None:
        if self._lost is None:
            self._transport.abortConnection()

    def _took(self, count: int) -> None:
        del self._came[:count]
        if self._paused and len(self._came) <= MOST_READ // 2:
            self._paused = False
            if not self._ended and self._lost is None:
                self._transport.resumeProducing()

    def _more(self) -> Deferred[None]:
        self._reading = Deferred()
        return self._reading

    def _why_lost(self) -> Exception:
        value = self._lost.value if self._lost is not None else None
        return value if isinstance(value, ConnectionClosed) else ConnectionLost("the connection ended")


async def give_password(stream: Stream, password: str) -> None:
    await stream.write(f"PASSWORD {password}\n".encode())
    await stream.line()


async def listing(stream: Stream) -> Sequence[Listed]:
    """What files the group has. Those whose names no server of this kind has are left out."""
    await stream.write(b"FILES\n")
    (count,) = _answer(await stream.line(), "ok", _NUMBER)
    if int(count) > MOST_FILES:
        raise StrangeError("the server says to have more files than can be")
    found = []
    for _ in range(int(count)):
        file = _listed(await stream.line())
        if is_fit(file.name):
            found.append(file)
    return found


def _listed(line: str) -> Listed:
    words = line.split(" ", 3)
    forms = (_NUMBER, _LISTED_SHA256, _NUMBER)
    if len(words) != 4 or not all(form.fullmatch(word) for form, word in zip(forms, words[:3], strict=True)):
        raise StrangeError("the server speaks another protocol")
    return Listed(int(words[0]), words[1], int(words[2]), words[3])


async def get(stream: Stream, name: str, offset: int, sha256: str) -> tuple[int, str, int]:
    """Ask for a file; its bytes are read from the stream afterwards, from the offset in the answer on.

    `sha256` is how that of which there are `offset` bytes begins, or `-`. Returns its size, its hash, and an offset,
    which is the one that was given, or 0.
    """
    await stream.write(f"GET {offset} {sha256} {name}\n".encode())
    size, whole, begin = _answer(await stream.line(), "ok", _NUMBER, _SHA256, _NUMBER)
    fits = int(begin) in (0, offset) and int(begin) <= int(size) <= MOST_BYTES
    if not fits or (int(begin) and not whole.startswith(sha256)):
        raise StrangeError("the server sends another part than what it was asked for")
    return int(size), whole, int(begin)


async def put(stream: Stream, name: str, size: int, sha256: str, by: str) -> int:
    """Offer a file, sent `by` whom: the words after BY. Returns from where on its bytes are to be written."""
    await stream.write(f"PUT {size} {sha256} {name}\nBY {by}\n".encode())
    (offset,) = _answer(await stream.line(), "go", _NUMBER)
    if int(offset) > size:
        raise StrangeError("the server asks for more than there is")
    return int(offset)


async def accepted(stream: Stream) -> str:
    """The name that a file got, once its bytes are written and the stream finished."""
    said = await stream.line()
    verb, _, name = said.partition(" ")
    if verb != "ok" or not name:
        raise StrangeError("the server speaks another protocol")
    return clean(name.encode()).replace("\n", " ")


def _answer(said: str, verb: str, *forms: re.Pattern[str]) -> Sequence[str]:
    found, *words = said.split(" ")
    is_so = found == verb and len(words) == len(forms)
    if not is_so or not all(form.fullmatch(word) for form, word in zip(forms, words, strict=True)):
        raise StrangeError("the server speaks another protocol")
    return words
