"""One node in memory: a GroupService with its UDP front end, a clock that tests advance, and no socket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ISystemHandle, IUDPTransport
from twisted.internet.task import Clock
from zope.interface import implementer

from groupchat.core.events import Address
from groupchat.core.limits import Settings
from groupchat.frontends.udp import FiveMessages
from groupchat.log import ILog
from groupchat.log.memory import MemoryLog
from groupchat.service.group_service import GroupService
from groupchat.wire.datagrams import MAX_REPLY


@implementer(IUDPTransport, ISystemHandle)
class FakePort:
    """A UDP port without a socket. `sent` has the sent datagrams. While `full`, the kernel takes none."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Address]] = []
        self.full = False

    def getHandle(self) -> FakePort:
        return self

    def sendto(self, datagram: bytes, address: Address) -> int:
        if self.full:
            raise BlockingIOError
        self.sent.append((bytes(datagram), address))
        return len(datagram)

    def write(self, packet: bytes, addr: Address | None) -> None:
        assert addr is not None
        self.sendto(packet, addr)

    def connect(self, host: str, port: int) -> None:
        raise AssertionError("a server's port is not connected")

    def getHost(self) -> IPv4Address:
        return IPv4Address("UDP", "127.0.0.1", 12345)

    def stopListening(self) -> Deferred[None] | None:
        return None

    def setBroadcastAllowed(self, enabled: bool) -> None:
        raise AssertionError("nothing is broadcast")

    def getBroadcastAllowed(self) -> bool:
        return False


class Node:
    """A node. Members are known by the port of their address; by default all have the same host."""

    def __init__(
        self,
        log: ILog | None = None,
        clock: Clock | None = None,
        max_reply: int = MAX_REPLY,
        **settings: Any,
    ) -> None:
        settings.setdefault("rate", 0)
        settings.setdefault("join_rate", 0)
        self.clock = clock or Clock()
        self.log = log or MemoryLog()
        self.fatal = 0
        self.service = GroupService(Settings(**settings), self.log, self.clock, self._fatal)
        self.udp = FiveMessages(self.service, max_reply)
        self.port = FakePort()
        self.udp.makeConnection(self.port)
        self.started = self.service.startService()

    def _fatal(self) -> None:
        self.fatal += 1

    def send(self, who: int, request: str | bytes, host: str = "10.0.0.1") -> None:
        self.udp.datagramReceived(request.encode() if isinstance(request, str) else request, (host, who))

    def replies(self, who: int | None = None) -> list[str]:
        """Return the datagrams sent since the last call, to this member or to all."""
        sent, self.port.sent = self.port.sent, []
        return [datagram.decode() for datagram, address in sent if who in (None, address[1])]

    def ask(self, who: int, request: str | bytes, host: str = "10.0.0.1") -> str | None:
        """Return the reply to one request, None if there is none."""
        self.replies()
        self.send(who, request, host)
        self.clock.advance(0)
        replies = self.replies(who)
        assert len(replies) <= 1, replies
        return replies[0] if replies else None

    def pass_time(self, seconds: float) -> None:
        """Advance the clock in steps: one large step would look like a clock that was set."""
        while seconds > 0:
            self.clock.advance(min(seconds, 30.0))
            seconds -= 30.0

    def join(self, names: Sequence[str]) -> None:
        """Let members 1, 2, 3 ... join, and read what waits for them."""
        for who, name in enumerate(names, 1):
            assert self.ask(who, f"1 {name}") not in (None, "Illegal message"), name
        for who, _name in enumerate(names, 1):
            self.ask(who, "5")
