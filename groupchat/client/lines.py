"""Splits input into lines. Memory is bounded by the longest line.

(The splitter of wire/lines.py is for network connections: it also handles telnet, and its limit is that of a text.)
"""

from __future__ import annotations

from dataclasses import dataclass

BYTE_ORDER_MARK = "\ufeff"
"""Stands at the beginning of what Windows programs write. It is no part of the text: RFC 3629, section 6."""


@dataclass(frozen=True, slots=True)
class TooLong:
    """Stands in place of a line over the limit. Its text is not kept; `length` is in bytes."""

    length: int


class LineSplitter:
    """Splits at LF or CRLF. It is fed in pieces of any size. A byte-order mark before the first line is dropped."""

    def __init__(self, limit: int) -> None:
        self._mark = BYTE_ORDER_MARK.encode()  # that may come now
        self._limit = limit
        self._rest = b""
        self._dropped = 0

    def feed(self, data: bytes) -> list[bytes | TooLong]:
        *whole, rest = (self._rest + data).split(b"\n")
        self._rest = b""
        lines = [self._line(part) for part in whole]
        self._keep(rest)
        return lines

    def finish(self) -> list[bytes | TooLong]:
        """Return the last line, if the input ended within one."""
        rest, self._rest = self._rest, b""
        return [self._line(rest)] if rest or self._dropped else []

    def _line(self, part: bytes) -> bytes | TooLong:
        line = part.removesuffix(b"\r").removeprefix(self._mark)
        self._mark = b""
        length, self._dropped = self._dropped + len(line), 0
        return line if length <= self._limit else TooLong(length)

    def _keep(self, rest: bytes) -> None:
        if self._dropped or len(rest) > self._limit + 1:  # the 1 is for a CR whose LF is still to come
            self._dropped += len(rest)
        else:
            self._rest = rest
