"""All connections over HTTP of one group: who may ask what, and for how long anybody is waited for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from twisted.internet.interfaces import IAddress, IProtocolNegotiationFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import LoopingCall
from zope.interface import implementer

from groupchat.core.limits import MAX_WEB_TARGET, WEB_BEAT_SECONDS
from groupchat.files import IShelf, NoShelf
from groupchat.frontends.connections import HTTP_ALPN, ConnectionRegistry, Refused, host_of
from groupchat.frontends.web import answers, guard
from groupchat.frontends.web.answers import Refusal, later
from groupchat.frontends.web.channel import Channel
from groupchat.frontends.web.guard import Known
from groupchat.frontends.web.lines import Picture
from groupchat.frontends.web.request import Request, file_name
from groupchat.frontends.web.sessions import Sessions
from groupchat.frontends.web.turns import Turns, Untaken

Handler = Callable[["Site", Request], Any]
"""Returns an Answer, or a Deferred that fires with one; or with None, if it answers by itself."""


@dataclass(frozen=True, slots=True)
class Route:
    """What answers a request. One that is `open` shows nothing of the group, so that no password is needed.

    `takes` is how long its body may be; -1 if the handler begins with the head, and takes the body itself.
    """

    handler: Handler
    open: bool = False
    takes: int = 0


Routes = Mapping[str, Mapping[str, Route]]
"""By path, and by method. A path that ends with `/*` is all paths that begin so."""


@implementer(IProtocolNegotiationFactory)
class Site(Factory):
    """All that is served. `max_file` is how long a file may be, in bytes."""

    noisy = False

    def __init__(
        self,
        registry: ConnectionRegistry,
        routes: Routes,
        shelf: IShelf | None = None,
        max_file: int = 0,
        known: Known | None = None,
    ) -> None:
        self.registry = registry
        self.service = registry.group_service
        self.group = registry.group_service.group
        self.clock = registry.clock
        self.shelf = shelf or NoShelf()
        self.has_files = shelf is not None
        self.sessions = Sessions(self.service)
        self.picture = Picture(self.group)
        self.trust = None if registry.limits.password is None else guard.Trust(registry.limits.password)
        self.stopping = False
        self.lag = 0.0  # how late the reactor last was, in seconds
        self.requests = 0
        self.uploads = Turns("sent")
        self.downloads = Turns("fetched")
        self.untaken = Untaken()
        self.max_file = max_file
        self._routes = routes
        self.known = known or Known()
        self._waiting: dict[Channel, float] = {}  # until when
        self._beats: dict[Any, float] = {}  # when each stream is due, the first one first
        self._ticker = LoopingCall(self._tick)
        self._ticker.clock = registry.clock
        self._ticked = 0.0

    def acceptableProtocols(self) -> list[bytes]:
        """Return what TLS clients may offer (ALPN, RFC 7301): a client that offers none of it is refused."""
        return HTTP_ALPN

    @property
    def stall(self) -> float:
        """After how many seconds somebody who does nothing is not waited for."""
        return float(self.service.settings.stall)

    def start(self) -> None:
        self._ticked = self.clock.seconds()
        self._ticker.start(1.0, now=False)

    def stop(self) -> None:
        """Nothing new is begun. What is under way ends when the registry stops."""
        self.stopping = True
        if self._ticker.running:
            self._ticker.stop()

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        host = host_of(addr)
        why = self.registry.why_not("" if self.known.is_proxy(host) else host) or (
            "The server is stopping: try again later." if self.stopping else ""
        )
        if why:
            self.registry.refused += 1
            return Refused(answers.whole(Refusal(503, why, later(5)).answer()), self.clock)
        return Channel(self, host) if self.registry.ready else None

    def log(self, request: Request) -> None:
        """There is no log of requests: who reads along is nobody's business."""

    # Every second

    def wait(self, channel: Channel, seconds: float) -> None:
        """Part from a connection in so many seconds, unless it says something else before; 0 is never."""
        if seconds:
            self._waiting[channel] = self.clock.seconds() + seconds
        else:
            self._waiting.pop(channel, None)

    def beat(self, stream: Any) -> None:
        """Let something be heard of a stream from time to time, until `rest`."""
        self._beats[stream] = self.clock.seconds() + WEB_BEAT_SECONDS

    def rest(self, stream: Any) -> None:
        self._beats.pop(stream, None)

    def _tick(self) -> None:
        try:
            now = self.clock.seconds()
            self.lag = max(0.0, now - self._ticked - 1.0)
            self._ticked = now
            for channel in [channel for channel, until in self._waiting.items() if until <= now]:
                self._waiting.pop(channel, None)
                channel.expired()
            for stream, _ in list(takewhile(lambda item: item[1] <= now, self._beats.items())):
                self.rest(stream)
                self.beat(stream)
                stream.beat()
        except Exception:
            self.service.survive("looking after connections over HTTP")

    # Requests

    def check(self, request: Request, length: int | None) -> None:
        """What a head asks for is found, and begun if it takes the body itself. Raises Refusal, or IllegalMessage."""
        self.requests += 1
        method = request.method.decode("ascii")
        self._check_head(request, method, length)
        self._check_origin(request, method)
        route = self._route(request, method)
        if not route.open:
            self._check_password(request)
        self.untaken.check(request.peer)
        request.route = route.handler
        if route.takes >= 0:
            _check_length(request, method, length, route.takes)
            if length:
                request.proceed()
        else:
            request.route = None
            route.handler(self, request)

    def _check_head(self, request: Request, method: str, length: int | None) -> None:
        if self.stopping:
            raise Refusal(503, "The server is stopping: try again later.", later(5))
        if len(request.uri) > MAX_WEB_TARGET:
            raise Refusal(414, "That address is too long.")
        if length is None or request.text("Transfer-Encoding") is not None:
            raise Refusal(411, "Say how long the body is: Content-Length.")
        if (request.text("Expect") or "100-continue").lower() != "100-continue":
            raise Refusal(417, "This server can only be expected to continue.")

    def _check_origin(self, request: Request, method: str) -> None:
        hosts = request.fields("Host")
        if len(hosts) != 1 and (hosts or request.clientproto == b"HTTP/1.1"):
            raise Refusal(400, "Say which host is asked: Host.")
        host = hosts[0] if hosts else "localhost"
        if not request.isSecure() and not self.known.is_name(host):
            why = "This server is not known by that name: whoever runs it has to say --web-host and the name."
            raise Refusal(421, why)
        site, mode = request.text("Sec-Fetch-Site"), request.text("Sec-Fetch-Mode")
        if guard.is_foreign(method, host, request.text("Origin"), site, mode):
            raise Refusal(403, "That was asked by the page of another site, which may not.")

    def _route(self, request: Request, method: str) -> Route:
        path = request.path.decode("latin-1")
        routes = self._routes.get(path)
        if routes is None:
            folder, slash, _ = path[1:].partition("/")
            routes = self._routes.get(f"/{folder}/*") if slash else None
            if routes is None:
                raise Refusal(404, "There is nothing here.")
            request.name = file_name(request.path[len(folder) + 2 :])
        route = routes.get(method) or (routes.get("GET") if method == "HEAD" else None)
        if route is None:
            allowed = [*routes, *(["HEAD"] if "GET" in routes else [])]
            raise Refusal(405, "That cannot be done here.", ((b"Allow", ", ".join(allowed).encode()),))
        return route

    def _check_password(self, request: Request) -> None:
        trust = self.trust
        if trust is None or trust.is_token(request.cookie(trust.name)):
            return
        basic = guard.basic(request.authorization)
        if basic is None or not basic[1]:
            raise Refusal(401, "This group has a password.", password=True)
        if not self.is_password(request, basic[1]):
            raise Refusal(401, "That is not the password.", password=True)

    def is_password(self, request: Request, given: bytes) -> bool:
        """Whether this is the password: nobody may guess fast. Raises Refusal."""
        pause = self.registry.pause_of(request.peer)
        if pause:
            raise Refusal(429, "Somebody at your address guessed wrong: wait a little.", later(int(pause) + 1))
        if self.trust is None or self.trust.is_right(given):
            return True
        self.registry.guessed(request.peer)
        return False


def _check_length(request: Request, method: str, length: int | None, most: int) -> None:
    if length is not None and length > most:
        raise Refusal(413, f"That is too long: there are at most {most} bytes.")
    if method in ("POST", "PUT") and request.text("Content-Length") is None:
        raise Refusal(411, "Say how long the body is: Content-Length.")
