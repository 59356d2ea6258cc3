"""The body of a request in the chunked transfer coding: RFC 9112, section 7.1. Pure.

It is read piece by piece, so that the caller decides how much is done at once. Extensions and trailers are ignored.
"""

from __future__ import annotations

import re

from groupchat.core.limits import MAX_WEB_HEAD

_SIZE = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?(?=\r\n)")
_SIZE_LINE = 1024
"""The longest line with the size of a chunk, in bytes."""

_END = b"\r\n"


class Malformed(Exception):
    """A body that is not in the chunked transfer coding."""


class ChunkedBody:
    """One body. Once `is_over`, `rest()` is what came behind it."""

    def __init__(self) -> None:
        self.is_over = False
        self._buffer = bytearray()
        self._at = 0  # in the buffer: what is before it was read
        self._left = 0  # bytes of the chunk that were not read
        self._in_chunk = False

    def feed(self, data: bytes) -> None:
        del self._buffer[: self._at]
        self._at = 0
        self._buffer += data

    def read(self) -> bytes:
        """Return some content; empty if more data has to come first, or if it is over. Raise Malformed."""
        while not self.is_over:
            if self._left:
                return self._content()
            if not (self._end_chunk() and self._begin_chunk()):
                break
        return b""

    def rest(self) -> bytes:
        return bytes(self._buffer[self._at :])

    def _content(self) -> bytes:
        found = bytes(self._buffer[self._at : self._at + self._left])
        self._at += len(found)
        self._left -= len(found)
        return found

    def _end_chunk(self) -> bool:
        """Read the end of line behind the content of a chunk. Return False if it has not come."""
        if self._in_chunk:
            end = self._buffer[self._at : self._at + 2]
            if not _END.startswith(end):
                raise Malformed
            if len(end) < 2:
                return False
            self._at += 2
            self._in_chunk = False
        return True

    def _begin_chunk(self) -> bool:
        """Read the size of the next chunk, or the end of the body. Return False if it has not come."""
        size = _SIZE.match(self._buffer, self._at, self._at + _SIZE_LINE)
        if size is None:
            if _END in self._buffer[self._at :] or len(self._buffer) - self._at >= _SIZE_LINE:
                raise Malformed
            return False
        self._left = int(size[1], 16)
        if self._left:
            self._at = size.end() + 2
            self._in_chunk = True
            return True
        end = self._buffer.find(_END + _END, size.end(), size.end() + MAX_WEB_HEAD)  # behind the trailers
        if end >= 0:
            self._at = end + 4
            self.is_over = True
        elif len(self._buffer) - size.end() >= MAX_WEB_HEAD:
            raise Malformed
        return self.is_over
