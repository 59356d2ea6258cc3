"""One request: what its head asks for, what is wrong with that, and its body, if that is no file."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qs, unquote

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web import http

from groupchat.core.errors import IllegalMessage
from groupchat.core.group import Member
from groupchat.frontends.web import answers, guard
from groupchat.frontends.web.answers import Answer, Refusal

if TYPE_CHECKING:
    from groupchat.frontends.web.channel import Channel
    from groupchat.frontends.web.site import Site

COOKIE = "groupchat"
MAX_FIELDS = 10
"""How many fields a query may have."""


class Body(Protocol):
    """What takes a body as it comes."""

    def feed(self, data: bytes) -> None: ...

    def end(self) -> None:
        """All of it came."""

    def lost(self) -> None:
        """No more of it will come."""


class Request(http.Request):
    """See http.Request. `route` is what answers it; `body` what has come, if nothing else takes it."""

    channel: Channel
    route: Any = None

    def __init__(self, channel: Channel, queued: object = 0) -> None:
        super().__init__(channel)
        self.web: Site = channel.web
        self.peer = channel.host
        self.body = bytearray()
        self.is_whole = False
        self.name = ""  # of a file
        self.secure = channel.isSecure()
        self.taker: Body | None = None
        self._refused = False
        self._query: dict[str, str] | None = None

    # The head

    def fields(self, header: str) -> list[str]:
        """All that is said under this name: any bytes, as the first 256 characters."""
        return [value.decode("latin-1") for value in self.requestHeaders.getRawHeaders(header.encode()) or ()]

    def text(self, header: str) -> str | None:
        return ", ".join(self.fields(header)) or None

    def query(self, name: str) -> str:
        """A field of the query; empty if there is none."""
        if self._query is None:
            raw = self.uri.partition(b"?")[2].decode("latin-1")
            try:
                fields = parse_qs(raw, errors="strict", max_num_fields=MAX_FIELDS)
            except ValueError:
                raise Refusal(400, "That query cannot be read.") from None
            self._query = {name: values[-1] for name, values in fields.items()}
        return self._query.get(name, "")

    def number(self, name: str, otherwise: int) -> int:
        """A field of the query that is a number."""
        return number(self.query(name), otherwise)

    @property
    def authorization(self) -> str:
        return self.text("Authorization") or ""

    @property
    def key(self) -> str:
        """What says who asks: 32 hex digits; empty if nothing does."""
        key = guard.bearer(self.authorization) or guard.cookie(self._cookies, COOKIE)
        return key if guard.KEY.fullmatch(key) else ""

    @property
    def _cookies(self) -> str:
        return "; ".join(self.fields("Cookie"))

    def cookie(self, name: str) -> str:
        return guard.cookie(self._cookies, name)

    @property
    def secret(self) -> str:
        """What the service knows of the key; empty if there is none."""
        key = self.key
        return sha256(bytes.fromhex(key)).hexdigest() if key else ""

    @property
    def member(self) -> Member | None:
        """Who asks, if that is a member."""
        return self.web.service.group.by_secret.get(self.secret)

    @property
    def guest(self) -> str:
        """Under which name somebody asks who is no member; empty if there is none."""
        basic = guard.basic(self.authorization)
        return self.query("name") or (basic[0] if basic is not None else "")

    def arrived(self, method: bytes, uri: bytes, version: bytes, length: int | None) -> None:
        """The head is there. `length` is that of the body, or None if nobody knows it."""
        self.method, self.uri, self.clientproto = method, uri, version
        self.path = uri.partition(b"?")[0]
        if self.web.known.is_proxy(self.peer):
            self.peer = guard.client_of(self.text("X-Forwarded-For"), self.peer)
            self.secure = self.secure or self.text("X-Forwarded-Proto") == "https"
        try:
            self.web.check(self, length)
        except Refusal as why:
            self.refuse(why, is_whole=length == 0)
        except IllegalMessage as why:
            self.refuse(answers.refusal(why), is_whole=length == 0)
        except Exception:
            self.web.service.survive("reading the head of a request")
            self.refuse(None, is_whole=length == 0)

    def gotLength(self, length: int | None) -> None:
        """The body is nowhere but in `body`."""

    def proceed(self) -> None:
        """The body is wanted: who waits to be told so is."""
        expects = self.text("Expect")
        if expects is not None and self.clientproto == b"HTTP/1.1" and not self.is_gone:
            self.channel.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    # The body

    def handleContentChunk(self, data: bytes) -> None:
        if self._refused:
            return
        if self.taker is not None:
            self.taker.feed(data)
        else:
            self.body += data

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        self.is_whole = True
        if self.taker is not None:
            self.taker.end()
        else:
            self.run(self.route, self.web, self)

    def run(self, function: Any, *arguments: Any) -> None:
        """Answer with what this returns, or fires with: nothing if it has answered itself."""
        done: Deferred[Answer | None] = maybeDeferred(function, *arguments)
        done.addCallbacks(self._answered, self.failed).addErrback(self._bug)

    def _answered(self, answer: Answer | None) -> None:
        if answer is not None:
            self.answer(answer)

    # Answering

    @property
    def is_gone(self) -> bool:
        return bool(self._disconnected or self.finished)

    def failed(self, failure: Failure) -> None:
        """What went wrong is told if it is the remote's to know, and else logged."""
        try:
            failure.raiseException()
        except Refusal as why:
            self.refuse(why)
        except IllegalMessage as why:
            self.refuse(answers.refusal(why))
        except Exception:
            self.web.service.survive("answering a request")
            self.refuse(None)

    def _bug(self, _: Failure) -> None:
        self.web.service.survive("answering a request")
        if not self._disconnected:
            self.channel.drop()

    def refuse(self, why: Refusal | None, *, is_whole: bool | None = None) -> None:
        """Without a reason, it is the server's own fault."""
        self.is_whole = self.is_whole if is_whole is None else is_whole
        if self._refused or self.is_gone:
            return
        if self.startedWriting:
            self.channel.drop()  # what was sent is not all
            return
        answer = answers.mistake() if why is None else why.answer()
        if self.is_whole and not self.route_is_running:
            # The channel goes on to the end of the request, and then this is answered.
            self.route, self.taker = (lambda web, request: answer), None
            return
        self._refused = True
        self.answer(answer)

    @property
    def route_is_running(self) -> bool:
        return bool(self.channel._handlingRequest)

    def head(self, status: int, headers: answers.Headers) -> None:
        self.setResponseCode(status, answers.REASONS[status])
        for name, value in (*answers.COMMON, *headers):
            self.responseHeaders.addRawHeader(name, value)
        if not self.is_whole or not self.channel.persistent:
            self.responseHeaders.setRawHeaders(b"Connection", [b"close"])

    def answer(self, answer: Answer) -> None:
        if self.is_gone:
            return
        self.head(answer.status, answer.headers)
        if answer.status not in http.NO_BODY_CODES:
            self.responseHeaders.setRawHeaders(b"Content-Type", [answer.kind])
            self.responseHeaders.setRawHeaders(b"Content-Length", [b"%d" % len(answer.body)])
        self.write(answer.body)
        self.channel.answered(len(answer.body))
        self.finish()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        if self.taker is not None:
            self.taker.lost()


def number(text: str, otherwise: int) -> int:
    """A whole number that somebody wrote. Raises Refusal for what is none."""
    if not text:
        return otherwise
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise Refusal(400, "That is no number.")
    return int(text)


def file_name(path: bytes) -> str:
    """The name in a path, decoded. Raises Refusal."""
    try:
        return unquote(path.decode("ascii"), errors="strict")
    except UnicodeDecodeError:
        raise Refusal(400, "That name is not UTF-8.") from None
