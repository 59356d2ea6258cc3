"""One request: the fields of its head, its body if that is not a file, and its answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import parse_qs

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web import http

from groupchat.core.errors import IllegalMessage
from groupchat.core.group import Group, Member
from groupchat.core.limits import MAX_SIZE, WEB_HEAD_SECONDS
from groupchat.core.numbers import whole
from groupchat.frontends.web import answers, guard, negotiation, preconditions
from groupchat.frontends.web.answers import Answer, Refusal

COOKIE = "groupchat"
MAX_FIELDS = 10
"""The limit of fields in a query."""

_ABSOLUTE = re.compile(rb"([a-zA-Z][a-zA-Z0-9+.-]*)://([^/?#]*)(.*)")
"""A target that names the host: RFC 9112, section 3.2.2."""


class BodyConsumer(Protocol):
    """A reader of a body that arrives in parts."""

    def feed(self, data: bytes) -> None: ...

    def end(self) -> None:
        """Handle the end of the body."""

    def lost(self) -> None:
        """Handle the end of the connection: the rest of the body never comes."""


class Request(http.Request):
    """See http.Request. `body` is what arrived, unless `taker` reads it; `handler` gives the answer.

    `length` is that of the body; None if the head does not say it. `most` is the length that is allowed. `origin` is
    the scheme and the host of the target, if it names them.
    """

    channel: Any  # a Channel, which this module must not import
    handler: Callable[[Any, Request], Any]

    def __init__(self, channel: Any, queued: object = 0) -> None:
        super().__init__(channel)
        self.peer = channel.host
        self.secure = channel.isSecure()
        self.name = ""  # of a file
        self.length: int | None = 0
        self.most = MAX_SIZE
        self.origin: tuple[str, str] | None = None
        self.body = bytearray()
        self.taker: BodyConsumer | None = None
        self.is_whole = False
        self.is_conditional = False  # it has a header that begins with If-
        self.route_headers: answers.Headers = ()
        self._site = channel.site
        self._received = 0
        self._lost = False
        self._refused = False
        self._is_postponed = False
        self._query: dict[str, str] | None = None

    # The head

    def fields(self, header: str) -> list[str]:
        """Return the values of all headers of this name, each byte as one character."""
        return [value.decode("latin-1") for value in self.requestHeaders.getRawHeaders(header.encode()) or ()]

    def text(self, header: str) -> str | None:
        return ", ".join(self.fields(header)) or None

    def query(self, name: str) -> str:
        """Return a field of the query; empty if there is none. Raise Refusal if the query cannot be read."""
        if self._query is None:
            raw = self.uri.partition(b"?")[2].decode("latin-1")
            try:
                fields = parse_qs(raw, errors="strict", max_num_fields=MAX_FIELDS)
            except ValueError:
                raise Refusal(400, "That query cannot be read.") from None
            self._query = {name: values[-1] for name, values in fields.items()}
        return self._query.get(name, "")

    def number(self, name: str, default: int) -> int:
        """Return a field of the query that is a number. Raise Refusal if it is none."""
        return number(self.query(name), default)

    @property
    def content_type(self) -> str:
        return (self.text("Content-Type") or "").partition(";")[0].strip().lower()

    @property
    def authorization(self) -> str:
        return self.text("Authorization") or ""

    def cookie_values(self, name: str) -> tuple[str, str]:
        """Return the value of a cookie, which over TLS only this host can set, and of that of earlier versions."""
        header = "; ".join(self.fields("Cookie"))
        return guard.cookie(header, guard.own_name(name, secure=self.secure)), guard.cookie(header, name)

    @property
    def script_key(self) -> str:
        """The key that a script made, in an Authorization header; empty if there is none."""
        return guard.bearer(self.authorization)

    @property
    def key(self) -> str:
        """The key of the client's session, 32 hex digits; empty if it gives none."""
        own, old = self.cookie_values(COOKIE)
        key = self.script_key or own or (old if not self.secure or self._site.is_resuming else "")
        return key if guard.KEY.fullmatch(key) else ""

    def _renamed_cookie(self) -> answers.Headers:
        """Return the headers that replace the cookie of a version that did not use the prefix over TLS."""
        if not self.secure:
            return ()
        own, old = self.cookie_values(COOKIE)
        if own or not old or self.key != old or self.member is None:
            return ()
        new = guard.set_cookie(COOKIE, old, secure=True)
        return new, guard.delete_cookie(COOKIE)

    @property
    def secret(self) -> str:
        """The hash of the key, which the service knows; empty if there is no key."""
        key = self.key
        return guard.secret_of(key) if key else ""

    @property
    def member(self) -> Member | None:
        """The member with this key, if there is one."""
        group: Group = self._site.group
        return group.by_secret.get(self.secret)

    @property
    def guest(self) -> str:
        """The name that a client without a key gives itself; empty if it gives none."""
        basic = guard.basic(self.authorization)
        return self.query("name") or (basic[0] if basic is not None else "")

    # From the channel

    def request_line(self, line: bytes) -> None:
        self.method, self.uri, self.clientproto = line.split()
        if not self.uri.startswith(b"/") and (absolute := _ABSOLUTE.fullmatch(self.uri)):
            self.origin = absolute[1].decode().lower(), absolute[2].decode("latin-1")
            self.uri = absolute[3] if absolute[3].startswith(b"/") else b"/" + absolute[3]
        self.path = self.uri.partition(b"?")[0]

    def headReceived(self, length: int | None) -> None:
        """Dispatch a request that has a body, before the body is read. `length` is None if it is not known."""
        self.length = length
        if length != 0:
            self._dispatch()

    def _dispatch(self) -> None:
        try:
            self.channel.dispatch(self)
        except Exception as error:
            self._fail(error)

    def postpone(self, check: Deferred[bool], begin: Callable[[], None]) -> None:
        """Call this once a check of the password has ended well. Until then no more of the body is received."""
        if check.called:
            check.addCallback(self._begin_if_right, begin).addErrback(self._failed)
            return
        self._is_postponed = True
        if not self.is_whole:
            self.channel.pauseNetwork()
            self.channel.wait(0)
        check.addCallback(self._begin_if_right, begin).addCallback(self._catch_up).addErrback(self._failed)

    def _begin_if_right(self, is_right: bool, begin: Callable[[], None]) -> None:
        if not is_right:
            raise Refusal(401, "That is not the password.", password=True)
        begin()

    def _catch_up(self, _: None) -> None:
        """Handle what was received in the meantime."""
        self._is_postponed = False
        if self.length != 0:
            self.channel.resumeNetwork()
        body, self.body = bytes(self.body), bytearray()
        if body:
            self.handleContentChunk(body)
        if self.is_whole:
            self._complete_in_turn()
        elif self.taker is None:
            self.channel.wait(WEB_HEAD_SECONDS)

    def _complete_in_turn(self) -> None:
        if self.taker is None and not self.channel.may_answer():
            self._site.registry.budget.wait(self._complete_in_turn)
        elif not self.is_gone:
            self._complete()

    def limit(self, most: int) -> None:
        """Limit the length of the body. Raise Refusal if it is longer."""
        if self.length is not None and self.length > most:
            raise answers.too_long(most)
        self.most = most

    def proceed(self) -> None:
        """Tell a client that asked (Expect: 100-continue) to send the body."""
        if self.text("Expect") is not None and self.clientproto == b"HTTP/1.1" and not self.is_gone:
            self.channel.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def handleContentChunk(self, data: bytes) -> None:
        if self._refused:
            return
        if self._is_postponed:
            self.body += data
            return
        self._received += len(data)
        if self._received > self.most:
            self._fail(answers.too_long(self.most))
            if self.taker is not None:
                self.taker.lost()
        elif self.taker is not None:
            self.taker.feed(data)
        else:
            self.body += data

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Answer, now or in a later turn of the reactor: everything has arrived."""
        self.is_whole = True
        self._begin()

    def _begin(self) -> None:
        if self.is_gone:
            return
        if self.taker is None and not self.channel.may_answer():
            self._site.registry.budget.wait(self._begin)
            return
        if self.length == 0:
            self._dispatch()
        if not self._refused and not self._is_postponed:
            self._complete()

    def _complete(self) -> None:
        if self.taker is not None:
            self.taker.end()
        else:
            self.run(self.handler, self._site, self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost = True
        super().connectionLost(reason)
        if self.taker is not None:
            self.taker.lost()

    # The answer

    @property
    def is_gone(self) -> bool:
        """True if nothing more can be written: it was answered, or the connection was lost."""
        return bool(self._lost or self.finished)

    def run(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Answer with what this function returns, or fires with; None says that it answers by itself."""
        done: Deferred[Answer | None] = maybeDeferred(function, *arguments)
        done.addCallbacks(self.answer, self._failed).addErrback(self._bug)

    def _failed(self, failure: Failure) -> None:
        try:
            failure.raiseException()
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """Refuse the request because of the exception being handled. A bug is logged."""
        if isinstance(error, IllegalMessage):
            error = answers.refusal(error)
        if isinstance(error, Refusal):
            answer = error.page() if negotiation.is_html(self.text("Accept")) else error.answer()
        else:
            self._site.service.survive("answering a request")
            answer = answers.server_error()
        if self._refused or self.is_gone:
            return
        if self.startedWriting:
            self.channel.drop()  # so that the client does not take what it got for all of it
            return
        self._refused = True
        self.answer(answer)

    def _bug(self, _: Failure) -> None:
        self._site.service.survive("answering a request")
        if not self.is_gone:
            self.channel.drop()

    def head(self, status: int, headers: answers.Headers) -> None:
        self.setResponseCode(status, answers.REASONS[status])
        for name, value in (*answers.common(), *self._renamed_cookie(), *self.route_headers, *headers):
            self.responseHeaders.addRawHeader(name, value)
        if not self.is_whole or not self.channel.persistent:
            self.responseHeaders.setRawHeaders(b"Connection", [b"close"])

    def answer(self, answer: Answer | None) -> None:
        if answer is None or self.is_gone:
            return
        if self.is_conditional and answer.status == 200 and self.method in (b"GET", b"HEAD"):
            answer = self._checked(answer)
        self.head(answer.status, answer.headers)
        if answer.status not in http.NO_BODY_CODES:
            self.responseHeaders.setRawHeaders(b"Content-Type", [answer.kind])
            self.responseHeaders.setRawHeaders(b"Content-Length", [b"%d" % len(answer.body)])
        self.write(answer.body)
        self.channel.answered(len(answer.body))
        self.finish()

    def check_version(self, version: preconditions.Version | None) -> None:
        """Raise Refusal if this is not the version that the client expects: it may be changed only then."""
        if preconditions.failed(self.text, self.method, version):
            raise answers.changed()

    def _checked(self, answer: Answer) -> Answer:
        """Return what is to be answered, if the client has this already, or does not want it any more."""
        tag = dict(answer.headers).get(b"ETag", b"").decode()
        match preconditions.failed(self.text, self.method, preconditions.Version(tag)):
            case 0:
                return answer
            case 304:
                headers = [(name, value) for name, value in answer.headers if name != b"Content-Encoding"]
                return Answer(304, headers=headers)
        return answers.changed().answer()


def number(text: str, default: int) -> int:
    """Return a whole number that a client wrote, or the default for an empty text. Raise Refusal if it is none."""
    if not text:
        return default
    found = whole(text)
    if found is None:
        raise Refusal(400, "That is not a number.")
    return found
