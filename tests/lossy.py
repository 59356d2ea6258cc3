"""A bad network: what is sent over it comes late, out of order, twice, or not at all.

`Line` is one direction, over any clock: with `twisted.internet.task.Clock` it joins two objects in memory, and no time
passes. `Relay` is both directions between real sockets: clients send to its port, and each is seen by the server under
a port of its own.

    python -m tests.lossy --listen 0 --to 127.0.0.1:1025 --rtt 0.04 --loss 0.05
"""

from __future__ import annotations

import argparse
import heapq
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import DatagramProtocol

Address = tuple[str, int]
Deliver = Callable[[bytes], object]

MOST = 65_507
"""The bytes of the largest datagram."""

BUFFER = 4 << 20
"""What a socket of the relay may hold, in bytes, as far as the system allows it: a burst is not to be lost here."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What one direction does to datagrams. Times are in seconds, shares from 0 to 1."""

    delay: float = 0.0
    loss: float = 0.0
    doubling: float = 0.0
    """The share of those that come twice."""
    reordering: float = 0.0
    """The share of those that come later than their turn, each by up to `extra`."""
    extra: float = 0.02
    rate: float = 0.0
    """Bytes a second that pass; 0 is as many as come. What is beyond them waits."""
    room: int = 8 << 20
    """Bytes that may be under way or wait; what comes when it is full is lost."""
    largest: int = MOST
    """The largest datagram that passes, in bytes: 1,472 on an Ethernet, where IPv4 and UDP take 28."""


class Lossy:
    """One direction without a clock or a socket: decides what comes when. The same seed decides the same again.

    `came` and `came_bytes` count what was sent, `passed` and `passed_bytes` what arrived, doubles included, and `lost`
    all that did not arrive, whatever the reason.
    """

    def __init__(self, conditions: Conditions, seed: int = 0) -> None:
        self.conditions = conditions
        self.is_cut = False
        self.came = self.came_bytes = 0
        self.passed = self.passed_bytes = 0
        self.lost = self.doubled = 0
        self._random = Random(seed)
        self._numbers = count()
        self._under_way: list[tuple[float, int, bytes, Deliver]] = []
        self._held = 0  # bytes
        self._free_at = 0.0  # when the last byte that waits for the rate has left

    def put(self, datagram: bytes, deliver: Deliver, now: float) -> None:
        """A datagram is sent, and `deliver` is for who receives it."""
        self.came += 1
        self.came_bytes += len(datagram)
        conditions = self.conditions
        if self.is_cut or len(datagram) > conditions.largest or self._happens(conditions.loss):
            self.lost += 1
            return
        self._send(datagram, deliver, now)
        if self._happens(conditions.doubling):
            self.doubled += 1
            self._send(datagram, deliver, now)

    def _happens(self, share: float) -> bool:
        return share > 0 and self._random.random() < share

    def _send(self, datagram: bytes, deliver: Deliver, now: float) -> None:
        conditions = self.conditions
        if self._held + len(datagram) > conditions.room:
            self.lost += 1
            return
        leaves = now
        if conditions.rate:
            leaves = self._free_at = max(now, self._free_at) + len(datagram) / conditions.rate
        at = leaves + conditions.delay
        if self._happens(conditions.reordering):
            at += self._random.uniform(0, conditions.extra)
        self._held += len(datagram)
        heapq.heappush(self._under_way, (at, next(self._numbers), datagram, deliver))

    @property
    def next_at(self) -> float | None:
        """When something arrives next, if anything is under way."""
        return self._under_way[0][0] if self._under_way else None

    def deliver(self, now: float) -> None:
        """Hand over what has arrived by now. What is under way over a line that is cut is lost."""
        while self._under_way and self._under_way[0][0] <= now:
            _, _, datagram, deliver = heapq.heappop(self._under_way)
            self._held -= len(datagram)
            if self.is_cut:
                self.lost += 1
                continue
            self.passed += 1
            self.passed_bytes += len(datagram)
            deliver(datagram)


class Line:
    """One direction on a clock: one timer, for whatever arrives next."""

    def __init__(self, clock: IReactorTime, conditions: Conditions, seed: int = 0) -> None:
        self.lossy = Lossy(conditions, seed)
        self._clock = clock
        self._timer: IDelayedCall | None = None
        self._timer_at = 0.0

    def send(self, datagram: bytes, deliver: Deliver) -> None:
        """Without any delay, too, it arrives in a later turn, never within this call."""
        self.lossy.put(datagram, deliver, self._clock.seconds())
        self._set_timer()

    def _set_timer(self) -> None:
        at = self.lossy.next_at
        if at is None or (self._timer is not None and self._timer_at <= at):
            return
        self.stop()
        self._timer_at = at
        self._timer = self._clock.callLater(max(0.0, at - self._clock.seconds()), self._arrive)

    def _arrive(self) -> None:
        self._timer = None
        self.lossy.deliver(self._clock.seconds())
        self._set_timer()

    def stop(self) -> None:
        """Nothing arrives any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Between:
    """Both directions: `there` from clients to the server, `back` from the server to clients.

    Without conditions of their own, the answers meet the same.
    """

    def __init__(self, clock: IReactorTime, there: Conditions, back: Conditions | None = None, seed: int = 0) -> None:
        self.there = Line(clock, there, 2 * seed)
        self.back = Line(clock, there if back is None else back, 2 * seed + 1)

    def cut(self) -> None:
        """From now on nothing passes, either way."""
        self.there.lossy.is_cut = self.back.lossy.is_cut = True

    def mend(self) -> None:
        self.there.lossy.is_cut = self.back.lossy.is_cut = False

    def change(self, **conditions: Any) -> None:
        """Other conditions from now on, in both directions: see `Conditions`."""
        for line in (self.there, self.back):
            line.lossy.conditions = replace(line.lossy.conditions, **conditions)

    def stop(self) -> None:
        self.there.stop()
        self.back.stop()


class _Socket(DatagramProtocol):
    """One socket of the relay. Sends past Twisted, which looks at each address anew; what cannot be sent is lost."""

    transport: Any

    def __init__(self, received: Callable[[bytes, Address], None]) -> None:
        self.datagramReceived = received  # type: ignore[method-assign,assignment]

    def startProtocol(self) -> None:
        self.socket = self.transport.getHandle()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)

    def send(self, datagram: bytes, address: Address) -> None:
        with suppress(OSError):
            self.socket.sendto(datagram, address)

    @property
    def port(self) -> int:
        return int(self.transport.getHost().port)


class _Client:
    """A client as the relay sees it: where it is, and the socket under which the server sees it."""

    def __init__(self, relay: Relay, address: Address) -> None:
        self.address = address
        self._relay = relay
        self.outside = self._open()

    def _open(self) -> _Socket:
        outside = _Socket(self._answered)
        self._relay.open(outside, 0)
        return outside

    def _answered(self, datagram: bytes, _: Address) -> None:
        self._relay.back.send(datagram, self._receive)

    def _receive(self, datagram: bytes) -> None:
        self._relay.inside.send(datagram, self.address)

    def deliver(self, datagram: bytes) -> None:
        """To the server, from whatever port this client has when it arrives there."""
        self.outside.send(datagram, self._relay.server)

    def rebind(self) -> None:
        self._relay.close(self.outside)
        self.outside = self._open()


class Relay(Between):
    """The same between real sockets: what comes to `port` goes to the server, and its answers to who asked."""

    def __init__(
        self,
        reactor: Any,
        server: Address,
        conditions: Conditions,
        *,
        seed: int = 0,
        port: int = 0,
    ) -> None:
        super().__init__(reactor, conditions, seed=seed)
        self.server = server
        self.clients: dict[Address, _Client] = {}
        self._reactor = reactor
        self._closing: list[Deferred[object]] = []
        self.inside = _Socket(self._asked)
        self.open(self.inside, port)
        self.port = self.inside.port

    def open(self, opened: _Socket, port: int) -> None:
        self._reactor.listenUDP(port, opened, interface="127.0.0.1", maxPacketSize=MOST)

    def close(self, opened: _Socket) -> None:
        closing = opened.transport.stopListening()
        if closing is not None:
            self._closing.append(closing)

    def _asked(self, datagram: bytes, address: Address) -> None:
        client = self.clients.get(address)
        if client is None:
            client = self.clients[address] = _Client(self, address)
        self.there.send(datagram, client.deliver)

    def rebind(self) -> None:
        """The server sees every client under a new port from now on; what it still sends to the old ones is lost."""
        for client in self.clients.values():
            client.rebind()

    def close_all(self) -> Deferred[Any]:
        """Stop, and close all sockets; fires when they are."""
        self.stop()
        for opened in (self.inside, *(client.outside for client in self.clients.values())):
            self.close(opened)
        return DeferredList(self._closing)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.lossy", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--listen", type=int, default=0, metavar="PORT", help="0, and so by default: any that is free")
    parser.add_argument("--to", required=True, metavar="HOST:PORT", help="the server, on this machine")
    parser.add_argument("--rtt", type=float, default=0.0, help="seconds, both ways together")
    for share in ("loss", "doubling", "reordering"):
        parser.add_argument(f"--{share}", type=float, default=0.0, help="a share, each way")
    parser.add_argument("--rate", type=float, default=0.0, help="bytes a second, each way; 0 is as many as come")
    parser.add_argument("--room", type=int, default=Conditions().room, help="bytes under way at most, each way")
    parser.add_argument("--largest", type=int, default=MOST, help="bytes of the largest datagram that passes")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    """Runs until it is ended, and prints what it did."""
    from twisted.internet import reactor

    chosen = arguments()
    host, _, port = chosen.to.rpartition(":")
    conditions = Conditions(
        delay=chosen.rtt / 2,
        loss=chosen.loss,
        doubling=chosen.doubling,
        reordering=chosen.reordering,
        rate=chosen.rate,
        room=chosen.room,
        largest=chosen.largest,
    )
    relay = Relay(reactor, (socket.gethostbyname(host), int(port)), conditions, seed=chosen.seed, port=chosen.listen)
    print(f"UDP port {relay.port}", flush=True)
    reactor.run()
    for name, line in (("there", relay.there.lossy), ("back", relay.back.lossy)):
        print(
            f"{name} came={line.came} came_bytes={line.came_bytes} passed={line.passed} "
            f"passed_bytes={line.passed_bytes} lost={line.lost} doubled={line.doubled}",
            flush=True,
        )


if __name__ == "__main__":
    main()
