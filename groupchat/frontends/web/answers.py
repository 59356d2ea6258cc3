"""Answers to requests, as JSON, or as a page for a person."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from html import escape
from http import HTTPStatus
from time import time
from typing import Any

from groupchat.core.errors import Excluded, IllegalMessage, NotNow, TooFast

Headers = Sequence[tuple[bytes, bytes]]

REASONS = {int(status): status.phrase.encode() for status in HTTPStatus} | {460: b"Checksum Mismatch"}

JSON = b"application/json"
TEXT = b"text/plain; charset=utf-8"
HTML = b"text/html; charset=utf-8"

COMMON: Headers = (
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Referrer-Policy", b"no-referrer"),
    (b"Cross-Origin-Resource-Policy", b"same-origin"),
)
"""Headers of every answer, with the date."""

PRIVATE: Headers = (
    (b"Cache-Control", b"no-store"),
    (b"Content-Security-Policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""Headers of answers that are for one reader, and are not part of the page."""


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
{paragraphs}
</html>
"""


def common() -> Headers:
    """Return the headers of every answer, from now on. Its date is that of RFC 9110, section 6.6.1."""
    return (*COMMON, (b"Date", _date(int(time()))))


@lru_cache(1)
def _date(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode()


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer. Its Content-Length is sent in addition to `headers`."""

    status: int
    body: bytes = b""
    kind: bytes = JSON
    headers: Headers = PRIVATE


def of(value: Any, status: int = 200, headers: Headers = ()) -> Answer:
    """Return an answer in JSON."""
    return Answer(status, json.dumps(value, ensure_ascii=False).encode(), JSON, (*PRIVATE, *headers))


def nothing(headers: Headers = ()) -> Answer:
    """Return an answer that only says that the request was done."""
    return Answer(204, b"", JSON, (*PRIVATE, *headers))


class Refusal(Exception):
    """A request is refused. `str()` of it says why, for people; `more` is added to its JSON.

    `advice` is added to the page that a person is shown who opens the address in a browser.
    """

    def __init__(self, status: int, why: str, headers: Headers = (), advice: Sequence[str] = (), **more: Any) -> None:
        super().__init__(why)
        self.status = status
        self._headers = headers
        self._advice = advice
        self._more = more

    def answer(self) -> Answer:
        return of({"error": str(self), **self._more}, self.status, self._headers)

    def page(self) -> Answer:
        """Return the same as a page of HTML."""
        paragraphs = "\n".join(f"<p>{escape(words)}</p>" for words in (str(self), *self._advice))
        page = _PAGE.format(title=REASONS[self.status].decode(), paragraphs=paragraphs)
        return Answer(self.status, page.encode(), HTML, (*PRIVATE, *self._headers))


def refusal(error: IllegalMessage) -> Refusal:
    """Return the HTTP form of an error of the group."""
    if isinstance(error, Excluded):
        return Refusal(403, str(error), excluded=True)
    if isinstance(error, TooFast):
        return Refusal(429, str(error), retry_after(1))
    if isinstance(error, NotNow):
        return Refusal(503, str(error), retry_after(1))
    return Refusal(409, str(error))


def changed() -> Refusal:
    return Refusal(412, "The condition of that request does not hold: this has changed, or is there already.")


def too_long(most: int) -> Refusal:
    return Refusal(413, f"That is too long: at most {most} bytes are allowed.")


def retry_after(seconds: int) -> Headers:
    return ((b"Retry-After", b"%d" % seconds),)


def server_error() -> Answer:
    """Return the answer after a bug. Its details are in the log, not in the answer."""
    return of({"error": "The server made a mistake: try again later."}, 500)


def serialized_head(status: int, headers: Headers) -> bytes:
    """Return the bytes of a head, for an answer after which the connection is closed."""
    lines = [b"HTTP/1.1 %d %s" % (status, REASONS[status]), b"Connection: close"]
    return b"\r\n".join([*lines, *(name + b": " + value for name, value in (*common(), *headers)), b"", b""])


def serialized(answer: Answer) -> bytes:
    """Return the bytes of an answer after which the connection is closed."""
    headers = ((b"Content-Type", answer.kind), (b"Content-Length", b"%d" % len(answer.body)), *answer.headers)
    return serialized_head(answer.status, headers) + answer.body
