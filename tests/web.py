"""HTTP in memory: clients without sockets, and a test case with a site for them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from groupchat.core.limits import Limits
from groupchat.files import IShelf
from groupchat.frontends.web.channel import Channel
from groupchat.frontends.web.guard import TrustedHosts
from groupchat.frontends.web.serving import WebFactory, routes
from groupchat.frontends.web.site import Site
from tests.lobby import Lobby
from tests.shelves import MemoryShelf

HOST = "10.0.0.7"
KEY = "0123456789abcdef" * 2
MAX_FILE = 5_000_000
ROUTES = routes()


@dataclass
class Reply:
    """One answer. `interim` counts the 100 Continue before it."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    cookies: list[str] = field(default_factory=list)
    interim: int = 0

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        assert isinstance(self.json, dict), self.body
        return str(self.json["error"])


def parse(data: bytes, *, head: bool = False) -> tuple[Reply, bytes]:
    """Return the first answer, and the rest of the data. Fail if the answer is not complete."""
    interim = 0
    while data.startswith(b"HTTP/1.1 100 "):
        interim, data = interim + 1, data.partition(b"\r\n\r\n")[2]
    raw, end, rest = data.partition(b"\r\n\r\n")
    assert end, data
    first, *fields = raw.decode("latin-1").split("\r\n")
    version, status, _ = first.split(" ", 2)
    assert version in ("HTTP/1.1", "HTTP/1.0"), first
    pairs = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in fields)]
    reply = Reply(int(status), dict(pairs), interim=interim)
    reply.cookies = [value for name, value in pairs if name == "set-cookie"]
    length = int(reply.headers.get("content-length", "-1"))
    if head or int(status) in (204, 304):
        return reply, rest
    assert "transfer-encoding" not in reply.headers, reply
    if length < 0:
        reply.body = rest
        return reply, b""
    assert len(rest) >= length, (length, rest)
    reply.body = rest[:length]
    return reply, rest[length:]


class Line:
    """One connection, from the client's side. It sends `step` bytes at once; 0 is everything."""

    def __init__(self, lobby: Lobby, site: Site, host: str = HOST, step: int = 0) -> None:
        self._lobby = lobby
        self._step = step
        self.transport = StringTransport(peerAddress=IPv4Address("TCP", host, 4))
        protocol = WebFactory(site).buildProtocol(IPv4Address("TCP", host, 4))
        assert isinstance(protocol, Channel), protocol
        self.channel = protocol
        self.is_lost = False
        self.is_head = False
        protocol.makeConnection(self.transport)

    def send(self, data: bytes) -> None:
        step = self._step or len(data) or 1
        for at in range(0, len(data), step):
            if self.is_over:
                return
            self.channel.dataReceived(data[at : at + step])

    def heard(self) -> bytes:
        self._lobby.settle()
        data: bytes = self.transport.value()
        self.transport.clear()
        return data

    @property
    def is_over(self) -> bool:
        return bool(self.transport.disconnecting)

    @property
    def is_dropped(self) -> bool:
        """True if the server closed it without waiting until its data is taken."""
        return bool(self.transport.disconnected)

    def lose(self) -> None:
        if not self.is_lost:
            self.is_lost = True
            self.channel.connectionLost(Failure(ConnectionDone()))


class WebTestCase(SynchronousTestCase):
    """A test with a site, and a group in which Bob polls over UDP."""

    limits = Limits()
    step = 0
    hosts = TrustedHosts()

    def setUp(self) -> None:
        self.shelf = MemoryShelf()
        self.open(Lobby(limits=self.limits))
        self.lobby.ask(1, "1 Bob")
        self.lobby.settle()
        self.lobby.ask(1, "5")

    def open(self, lobby: Lobby, shelf: IShelf | None = None) -> None:
        self.lobby = lobby
        self.site = Site(lobby.registry, ROUTES, shelf or self.shelf, MAX_FILE, self.hosts)
        self.site.start()
        self.lines: list[Line] = []

    def tearDown(self) -> None:
        """Check that nothing is left of closed connections."""
        for line in self.lines:
            line.lose()
        for _ in range(10):
            self.shelf.go_on()
            self.lobby.settle()
        self.assertEqual((len(self.site.sessions), self.lobby.registry.connections), (0, {}))
        self.assertEqual((len(self.site.deadlines), len(self.site.backlog)), (0, 0))
        self.assertEqual((len(self.site.uploads), len(self.lobby.registry.downloads), self.shelf.open_now), (0, 0, 0))
        self.assertEqual(self.flushLoggedErrors(), [])

    def line(self, host: str = HOST) -> Line:
        line = Line(self.lobby, self.site, host, self.step)
        self.lines.append(line)
        return line

    def request(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        *,
        key: str = "",
        line: Line | None = None,
        **headers: Any,
    ) -> Line:
        """Send a request. The names of headers have `_` for `-`; empty headers are left out."""
        raw = body.encode() if isinstance(body, str) else body
        fields = {"Host": "localhost:8080"}
        if raw is not None:
            fields["Content-Length"] = str(len(raw))
        if key:
            fields["Cookie"] = f"groupchat={key}"
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
        line = line or self.line()
        line.send(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + (raw or b""))
        return line

    def ask(self, method: str, path: str, body: bytes | str | None = None, **more: Any) -> Reply:
        """Return the answer to one request."""
        reply, rest = parse(self.request(method, path, body, **more).heard(), head=method == "HEAD")
        self.assertEqual(rest, b"")
        return reply

    def get(self, path: str, key: str = KEY, **headers: Any) -> Reply:
        return self.ask("GET", path, key=key, **headers)

    def post(self, path: str, body: bytes | str = "", key: str = KEY, **headers: Any) -> Reply:
        return self.ask("POST", path, body, key=key, **headers)

    def join(self, name: str = "Alice", key: str = KEY) -> str:
        """Join with a key, which is then a cookie, and return the id of the member."""
        reply = self.ask("POST", "/name", name, Authorization=f"Bearer {key}")
        self.assertEqual((reply.status, reply.json["name"]), (200, name))
        return str(reply.json["id"])

    def refused(self, reply: Reply, status: int, words: str = "") -> None:
        self.assertEqual(reply.status, status, reply.body)
        self.assertIn(words, reply.error)

    def events(self, path: str = "/events", key: str = KEY, **headers: Any) -> Events:
        return Events(self.request("GET", path, key=key, **headers))

    def told(self) -> list[str]:
        """Return what Bob was told since the last call."""
        self.lobby.settle()
        return self.lobby.watch()

    def pass_time(self, seconds: float) -> None:
        self.lobby.pass_time(seconds)


class Events:
    """A stream of events, from the client's side."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.reply, rest = parse(line.heard())
        self._rest = self.reply.body
        assert not rest

    def blocks(self) -> list[dict[str, str]]:
        """Return the fields of each event that arrived; comments are left out."""
        data = self._rest + self.line.heard()
        *whole, self._rest = data.split(b"\n\n")
        found = []
        for block in whole:
            fields = dict(line.split(": ", 1) for line in block.decode().split("\n") if not line.startswith(":"))
            if fields:
                found.append(fields)
        return found

    def lines(self) -> list[dict[str, Any]]:
        """Return the lines that arrived. Check that the id of each event is the number of its line."""
        found = []
        for block in self.blocks():
            if "data" in block and "event" not in block:
                line = json.loads(block["data"])
                assert block["id"] == str(line["number"]), block
                found.append(line)
        return found

    def texts(self) -> list[str]:
        return [f"{line['name']} {line['kind']} {line['text']}".strip() for line in self.lines()]
