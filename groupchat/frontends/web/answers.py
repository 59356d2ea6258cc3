"""What is answered to a request. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from groupchat.core.errors import IllegalMessage, NotNow, TooFast

Headers = Sequence[tuple[bytes, bytes]]

JSON = b"application/json"
TEXT = b"text/plain; charset=utf-8"

COMMON: Headers = (
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Referrer-Policy", b"no-referrer"),
    (b"Cross-Origin-Resource-Policy", b"same-origin"),
)
"""What every answer says."""

PRIVATE: Headers = (
    (b"Cache-Control", b"no-store"),
    (b"Content-Security-Policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""What answers say that are for one reader, and no page."""

REASONS = {
    100: b"Continue",
    200: b"OK",
    201: b"Created",
    204: b"No Content",
    206: b"Partial Content",
    304: b"Not Modified",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    409: b"Conflict",
    411: b"Length Required",
    413: b"Content Too Large",
    414: b"URI Too Long",
    416: b"Range Not Satisfiable",
    417: b"Expectation Failed",
    421: b"Misdirected Request",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    503: b"Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. Its length is told, whatever the headers are."""

    status: int
    body: bytes = b""
    kind: bytes = JSON
    headers: Headers = PRIVATE


def of(value: Any, status: int = 200, headers: Headers = ()) -> Answer:
    """An answer in JSON."""
    return Answer(status, json.dumps(value, ensure_ascii=False).encode(), JSON, (*PRIVATE, *headers))


def nothing(headers: Headers = ()) -> Answer:
    """It is done, and there is nothing more to say."""
    return Answer(204, b"", JSON, (*PRIVATE, *headers))


class Refusal(Exception):
    """A request is refused: `str()` of it tells people why."""

    def __init__(self, status: int, why: str, headers: Headers = (), **more: Any) -> None:
        super().__init__(why)
        self.status = status
        self._headers = headers
        self._more = more

    def answer(self) -> Answer:
        return of({"error": str(self), **self._more}, self.status, self._headers)


def refusal(why: IllegalMessage) -> Refusal:
    """What the group refuses, and what is not to be had now."""
    if isinstance(why, TooFast):
        return Refusal(429, str(why), later(1))
    if isinstance(why, NotNow):
        return Refusal(503, str(why), later(1))
    return Refusal(409, str(why))


def later(seconds: int) -> Headers:
    return ((b"Retry-After", b"%d" % seconds),)


def mistake() -> Answer:
    """The server has a bug, which is logged, and no business of whoever asked."""
    return of({"error": "The server made a mistake: try again later."}, 500)


def whole(answer: Answer) -> bytes:
    """All that is sent where no request was understood: the connection is closed behind it."""
    head = [
        b"HTTP/1.1 %d %s" % (answer.status, REASONS[answer.status]),
        b"Content-Type: " + answer.kind,
        b"Content-Length: %d" % len(answer.body),
        b"Connection: close",
        *[name + b": " + value for name, value in (*COMMON, *answer.headers)],
    ]
    return b"\r\n".join(head) + b"\r\n\r\n" + answer.body
