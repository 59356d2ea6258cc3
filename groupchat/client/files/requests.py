"""The requests FILES, GET and PUT, and their answers. See wire/files.py for the grammar.

Each function sends one request and leaves the stream open; the caller closes it in any case. The functions raise what
`RequestStream` raises.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from groupchat.client.files.names import is_safe
from groupchat.client.files.stream import ProtocolError, RequestStream
from groupchat.client.text import clean_line
from groupchat.core.limits import MAX_SIZE
from groupchat.core.numbers import clamp_time

MAX_FILES = 100_000
"""The most files that are accepted in one answer."""

_NUMBER = re.compile("0|[1-9][0-9]{0,18}")
_SHA256 = re.compile("[0-9a-f]{64}")
_ENTRY = re.compile("(0|[1-9][0-9]{0,18}) (-|[0-9a-f]{64}) (-?[0-9]{1,19}) (.+)")


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file of the group. `sha256` is `-` while not known; `at` is when it came, in seconds since the epoch."""

    size: int
    sha256: str
    at: int
    name: str


async def give_password(stream: RequestStream, password: str) -> None:
    await stream.write(f"PASSWORD {password}\n".encode())
    await stream.line()


async def listing(stream: RequestStream) -> Sequence[ListedFile]:
    """Return the files of the group. Entries that make no sense, or whose names are not safe, are left out."""
    await stream.write(b"FILES\n")
    (count,) = _answer(await stream.line(), "ok", _NUMBER)
    if int(count) > MAX_FILES:
        raise ProtocolError("the server claims to have more files than possible")
    found = []
    for _ in range(int(count)):
        entry = _ENTRY.fullmatch((await stream.raw_line()).decode("utf-8", "surrogateescape"))
        if entry is not None and is_safe(entry[4]):
            found.append(ListedFile(int(entry[1]), entry[2], int(clamp_time(int(entry[3]))), entry[4]))
    return found


async def get(stream: RequestStream, name: str, offset: int, sha256: str) -> tuple[int, str, int]:
    """Ask for a file. Return its size, its hash, and the offset of the bytes that follow: `offset` or 0.

    `sha256` is the beginning of the hash of the file of which `offset` bytes are here, or `-`.
    """
    await stream.write(f"GET {offset} {sha256} {name}\n".encode())
    size, whole, begin = _answer(await stream.line(), "ok", _NUMBER, _SHA256, _NUMBER)
    fits = int(begin) in (0, offset) and int(begin) <= int(size) <= MAX_SIZE
    if not fits or (int(begin) and not whole.startswith(sha256)):
        raise ProtocolError("the server sends another part than the one it was asked for")
    return int(size), whole, int(begin)


async def put(stream: RequestStream, name: str, size: int, sha256: str, by: str) -> int:
    """Offer a file. `by` is the words after BY. Return the offset from which its bytes are to be written."""
    await stream.write(f"PUT {size} {sha256} {name}\nBY {by}\n".encode())
    (offset,) = _answer(await stream.line(), "go", _NUMBER)
    if int(offset) > size:
        raise ProtocolError("the server asks for more bytes than the file has")
    return int(offset)


async def accepted(stream: RequestStream) -> str:
    """Return the name that the server gave the file, after all bytes are written."""
    said = await stream.line()
    verb, _, name = said.partition(" ")
    if verb != "ok" or not name:
        raise ProtocolError("the server speaks another protocol")
    return clean_line(name)


def _answer(said: str, verb: str, *forms: re.Pattern[str]) -> Sequence[str]:
    found, *words = said.split(" ")
    is_so = found == verb and len(words) == len(forms)
    if not is_so or not all(form.fullmatch(word) for form, word in zip(forms, words, strict=True)):
        raise ProtocolError("the server speaks another protocol")
    return words
