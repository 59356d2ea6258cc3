"""The five messages of UDP: datagrams to commands, and a list of names to bytes.

    -> 1 Name       join              <- the names of the members before, newest first
    -> 2 Text       say               <- the lines that wait
    -> 3 Name       rename            <- the lines that wait
    -> 4            leave             <- close
    -> 5            poll              <- the lines that wait
    -> all else                       <- Illegal message

A request is one datagram, in UTF-8; one trailing LF or CRLF is removed. A reply is one datagram without an end of line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from groupchat.core.commands import LEAVE, POLL, Command, Join, Rename, Say
from groupchat.core.errors import IllegalMessage
from groupchat.core.texts import MAX_BYTES

MAX_REQUEST = len("2 ") + MAX_BYTES
"""The longest legal request, in bytes, without its end of line."""

MAX_REPLY = 65_507
"""The largest UDP datagram over IPv4, in bytes."""

MAX_LIST = 1_024
"""The longest list of names in a reply, in bytes: a join may come from a forged address, and be repeated."""

CLOSE = b"close"
REFUSAL = IllegalMessage.reply.encode()

_NAMES_AT_ONCE = 128


def parse(datagram: bytes) -> Command:
    """Parse a datagram. Raises IllegalMessage if it is none of the five messages."""
    if datagram[-1:] == b"\n":
        datagram = datagram[: -2 if datagram[-2:-1] == b"\r" else -1]
    if len(datagram) > MAX_REQUEST:
        raise IllegalMessage("That is too long.")
    verb = datagram[:2]
    try:
        if verb == b"2 ":
            return Say(datagram[2:].decode())
        if datagram == b"5":
            return POLL
        if verb == b"1 ":
            return Join(_name(datagram[2:]))
        if verb == b"3 ":
            return Rename(_name(datagram[2:]))
    except UnicodeDecodeError:
        raise IllegalMessage("That is not UTF-8.") from None
    if datagram == b"4":
        return LEAVE
    raise IllegalMessage("That is none of the five messages.")


def _name(argument: bytes) -> str:
    # RFC 8266 would remove a space before the name, but there is exactly one between the digit and the name.
    if argument[:1] == b" ":
        raise IllegalMessage("There is exactly one space before a name.")
    return argument.decode()


def list_of_names(names: Iterable[str], total: int, limit: int) -> bytes:
    """Return names joined with `, ` in at most `limit` bytes. `total` is how many names there are.

    A list that does not fit ends after a whole name with `, (120 more)`; the first name is always there. Hardly more
    names are read than fit, so the cost does not grow with the group.
    """
    fitting = _joined(iter(names), limit)
    if len(fitting) <= limit:
        return fitting
    return _shortened(fitting, total, limit)


def _joined(names: Iterator[str], limit: int) -> bytes:
    """Join all names, or as many as take more than `limit` bytes."""
    joined = b""
    while len(joined) <= limit and (some := list(islice(names, _NAMES_AT_ONCE))):
        joined += (b", " if joined else b"") + ", ".join(some).encode()
    return joined


def _shortened(joined: bytes, total: int, limit: int) -> bytes:
    """Cut `joined` after a whole name, so that the number of the other names fits after it. No name has a comma."""
    room = limit - len(f", ({total} more)")
    end = joined.rfind(b", ", 0, max(room, 0) + 2)
    if end < 0:
        end = joined.find(b", ")
    if end < 0:
        return joined
    shown = joined[:end]
    return shown + f", ({total - shown.count(b', ') - 1} more)".encode()
