"""A bad network: datagrams arrive late, out of order, twice, or not at all.

`Line` is one direction on any clock: with `twisted.internet.task.Clock` it joins two objects in memory, and no time
passes. `Relay` is both directions between real sockets: clients send to its port, and the server sees each of them
under a port of its own.

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

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import DatagramProtocol

Address = tuple[str, int]
Deliver = Callable[[bytes], object]

MAX_DATAGRAM = 65_507

BUFFER = 4 << 20
"""The buffer of each socket of the relay, in bytes, as far as the system allows it: bursts must not be lost there."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """The conditions of one direction. Times are in seconds, shares from 0 to 1."""

    delay: float = 0.0
    loss: float = 0.0
    doubling: float = 0.0
    """The share of datagrams that arrive twice."""
    reordering: float = 0.0
    """The share of datagrams that are delayed further, each by up to `extra`."""
    extra: float = 0.02
    rate: float = 0.0
    """The bytes a second that pass; the rest waits. 0 is unlimited."""
    room: int = 8 << 20
    """The bytes that may be under way or wait. Datagrams beyond it are lost."""
    largest: int = MAX_DATAGRAM
    """The largest datagram that passes, in bytes: 1,472 on an Ethernet, where IPv4 and UDP take 28."""


class Lossy:
    """One direction without a clock or a socket: it decides what arrives when. The same seed decides the same again.

    `came` and `came_bytes` count what was sent; `passed` and `passed_bytes` what arrived, doubles included; `lost` what
    did not arrive for any reason.
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
        self._free_at = 0.0  # when the last byte that waits for the rate will have left

    def put(self, datagram: bytes, deliver: Deliver, now: float) -> None:
        """Send a datagram. `deliver` is called when it arrives."""
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
        """The time of the next arrival, or None if nothing is under way."""
        return self._under_way[0][0] if self._under_way else None

    def deliver(self, now: float) -> None:
        """Deliver what has arrived by now. What is under way on a line that is cut is lost."""
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
    """One direction on a clock, with one timer for the next arrival."""

    def __init__(self, clock: IReactorTime, conditions: Conditions, seed: int = 0) -> None:
        self.lossy = Lossy(conditions, seed)
        self._clock = clock
        self._timer: IDelayedCall | None = None
        self._timer_at = 0.0

    def send(self, datagram: bytes, deliver: Deliver) -> None:
        """Send a datagram. Even without a delay it arrives in a later turn, never within this call."""
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
        """Deliver nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Between:
    """Both directions: `there` from clients to the server, and `back`."""

    def __init__(self, clock: IReactorTime, conditions: Conditions, seed: int = 0) -> None:
        self.there = Line(clock, conditions, 2 * seed)
        self.back = Line(clock, conditions, 2 * seed + 1)

    def cut(self) -> None:
        """Let nothing pass from now on, in either direction."""
        self.there.lossy.is_cut = self.back.lossy.is_cut = True

    def mend(self) -> None:
        self.there.lossy.is_cut = self.back.lossy.is_cut = False

    def change(self, **conditions: Any) -> None:
        """Change conditions of both directions: see `Conditions`."""
        for line in (self.there, self.back):
            line.lossy.conditions = replace(line.lossy.conditions, **conditions)

    def stop(self) -> None:
        self.there.stop()
        self.back.stop()


class _Socket(DatagramProtocol):
    """One socket of the relay. It sends without Twisted, which parses each address again; errors count as losses."""

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


class Relay(Between):
    """The same between real sockets: what is sent to `port` goes to the server, and its answers to who sent it.

    The server sees each client under a socket of its own.
    """

    def __init__(self, reactor: Any, server: Address, conditions: Conditions, *, seed: int = 0, port: int = 0) -> None:
        super().__init__(reactor, conditions, seed=seed)
        self._server = server
        self._reactor = reactor
        self._outside: dict[Address, _Socket] = {}  # by the client's address
        self._inside = self._open(self._received, port)
        self.port = int(self._inside.transport.getHost().port)

    def _open(self, received: Callable[[bytes, Address], None], port: int = 0) -> _Socket:
        opened = _Socket(received)
        self._reactor.listenUDP(port, opened, interface="127.0.0.1", maxPacketSize=MAX_DATAGRAM)
        return opened

    def _received(self, datagram: bytes, client: Address) -> None:
        if client not in self._outside:
            self._outside[client] = self._open(
                lambda answer, _: self.back.send(answer, lambda answer: self._inside.send(answer, client))
            )
        self.there.send(datagram, lambda datagram: self._outside[client].send(datagram, self._server))

    def close_all(self) -> Deferred[Any]:
        """Stop, and return a Deferred that fires when all sockets are closed."""
        self.stop()
        sockets = [self._inside, *self._outside.values()]
        return DeferredList([maybeDeferred(opened.transport.stopListening) for opened in sockets])


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.lossy", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--listen", type=int, default=0, metavar="PORT", help="default: 0, any free port")
    parser.add_argument("--to", required=True, metavar="HOST:PORT", help="the server, on this machine")
    parser.add_argument("--rtt", type=float, default=0.0, help="the round trip in seconds")
    for share in ("loss", "doubling", "reordering"):
        parser.add_argument(f"--{share}", type=float, default=0.0, help="a share of the datagrams, each way")
    parser.add_argument("--rate", type=float, default=0.0, help="bytes a second, each way; 0 is unlimited")
    parser.add_argument("--room", type=int, default=Conditions().room, help="the most bytes under way, each way")
    parser.add_argument("--largest", type=int, default=MAX_DATAGRAM, help="the largest datagram that passes, in bytes")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    """Run until the process is ended, and print what was counted."""
    from twisted.internet import reactor

    chosen = parse_arguments()
    host, _, port = chosen.to.rpartition(":")
    names = ("loss", "doubling", "reordering", "rate", "room", "largest")
    conditions = Conditions(delay=chosen.rtt / 2, **{name: getattr(chosen, name) for name in names})
    relay = Relay(reactor, (socket.gethostbyname(host), int(port)), conditions, seed=chosen.seed, port=chosen.listen)
    print(f"UDP port {relay.port}", flush=True)
    reactor.run()
    for name, line in (("there", relay.there.lossy), ("back", relay.back.lossy)):
        counters = ("came", "came_bytes", "passed", "passed_bytes", "lost", "doubled")
        print(name, *(f"{counter}={getattr(line, counter)}" for counter in counters), flush=True)


if __name__ == "__main__":
    main()
