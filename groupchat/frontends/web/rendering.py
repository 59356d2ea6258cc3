"""Lines of the group as JSON: see docs/protocol.md, "HTTP". A line is rendered once for all its readers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from groupchat.core import notices
from groupchat.core.group import Group
from groupchat.core.notices import Kind

REMEMBERED = 1024
"""The size of the cache of rendered lines: after a restart all clients ask for about the same ones."""


class LineRenderer:
    """The lines of one group as JSON, and as events of a stream."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._history = group.history
        self._number = group.numbering.of
        self.line = lru_cache(REMEMBERED)(self._line)

    def events(self, lost: range, runs: Sequence[range]) -> bytes:
        """Return lines as events of a stream. The id of an event is the number of its line."""
        gap = _event(self.gap(lost), self._number(lost[-1])) if lost else b""
        line, numbers = self.line, self._group.numbering.numbers
        return gap + b"".join([_event(*one) for run in runs for one in zip(map(line, run), numbers(run), strict=True)])

    def _line(self, line: int) -> bytes:
        """Return a line of the history as one line of JSON."""
        history = self._history
        text, _ = history.read(line - 1, line, 0)
        read = notices.read(bytes(text).decode())
        value = _value(self._number(line), history.at(line), history.author(line), read)
        reader = history.reader(line)
        if reader:
            member = self._group.members.get(reader)
            value |= {"to": str(reader), "to_name": None if member is None else member.name}
        return _json(value)

    def gap(self, lost: range) -> bytes:
        """Return a notice in place of lines that are no longer kept, under the number of the last of them."""
        text = "1 line is no longer kept" if len(lost) == 1 else f"{len(lost)} lines are no longer kept"
        history = self._history
        at = history.at(history.first) if history.first <= history.head else 0.0
        return _json(_value(self._number(lost[-1]), at, 0, notices.Line(Kind.SERVER, "", text, text)))


def _value(number: int, at: float, by: int, read: notices.Line) -> dict[str, Any]:
    value: dict[str, Any] = {
        "number": number,
        "at": round(at, 3),
        "by": str(by),
        "kind": read.kind.value,
        "name": read.name,
        "text": read.text,
    }
    return value | {"size": read.size} if read.size else value


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _event(line: bytes, number: int) -> bytes:
    return b"id: %d\ndata: %s\n\n" % (number, line)
