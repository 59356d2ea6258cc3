"""Checks of passwords, the group's and those of operators: one queue for each host, served in turn by connection.

Wrong passwords take tokens, from a bucket of the host and from one of all hosts together; right ones take none. While a
bucket is empty, passwords wait, right or wrong: nobody can tell which it is by the time that passes. A connection that
has several passwords waiting, as over QUIC, has one checked, and then has to wait for all others of its host.
"""

from __future__ import annotations

import hmac
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from heapq import heappop, heappush
from itertools import count
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from groupchat.core.limits import ALL_PASSWORD_CHECKS, PASSWORD_CHECKS
from groupchat.core.names import normalised
from groupchat.core.networks import network_of
from groupchat.core.pace import Bucket

Waiting = deque[tuple[str, tuple[bytes, ...], "Deferred[bool]"]]
"""The passwords of one connection: the host each came from, what was given, and what fires when it is checked."""


@dataclass(eq=False, slots=True)
class Queue:
    """The passwords of one host that wait, by connection: the next one is of the first connection."""

    bucket: Bucket
    connections: dict[object, Waiting] = field(default_factory=dict)
    is_planned: bool = False


class PasswordChecks:
    """Checks of passwords. If there are no `passwords`, all are wrong.

    `wrong` is told the host and the connection of each wrong one.
    """

    def __init__(
        self,
        clock: IReactorTime,
        passwords: Sequence[bytes],
        wrong: Callable[[str, Any], None] = lambda host, connection: None,
    ) -> None:
        self._wrong = wrong
        self._clock = clock
        self.replace(passwords)
        self._all = Bucket(ALL_PASSWORD_CHECKS, ALL_PASSWORD_CHECKS)
        self._queues: dict[str, Queue] = {}  # by network: those in which something waits, or was wrong not long ago
        self._plan: list[tuple[float, int, str]] = []  # a heap of when each queue is served next, in this order
        self._order = count()
        self._timer: IDelayedCall | None = None
        self._is_stopped = False

    def replace(self, passwords: Sequence[bytes]) -> None:
        """Let other passwords be the right ones from now on, also for checks that wait."""
        self._hashes = [sha256(password).digest() for password in passwords]

    def check(self, host: str, connection: object, *given: bytes) -> Deferred[bool]:
        """Return a Deferred that fires with True if this is a password, or one of these: at once, or in its turn.

        Cancel it when the connection ends, since only connections bound the queues: then it fires with False.
        """
        network = network_of(host)
        queue = self._queues.get(network)
        if queue is None:
            queue = self._queues[network] = Queue(Bucket(*PASSWORD_CHECKS))
        waiting = queue.connections.setdefault(connection, deque())

        def forget(done: Deferred[bool]) -> None:
            if (host, given, done) in waiting:
                waiting.remove((host, given, done))
                if not waiting:
                    del queue.connections[connection]
            done.callback(False)

        done: Deferred[bool] = Deferred(forget)
        waiting.append((host, given, done))
        if not queue.is_planned and not self._is_stopped:
            self._add_to_plan(network, queue, self._clock.seconds())
            self._serve()
        return done

    def stop(self) -> None:
        """Check nothing more."""
        self._is_stopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._plan.clear()

    def forget_old(self) -> None:
        """Forget the hosts whose buckets are full again."""
        now = self._clock.seconds()
        for network, queue in tuple(self._queues.items()):
            if not queue.connections and not queue.is_planned and queue.bucket.is_full(now):
                del self._queues[network]

    def _add_to_plan(self, network: str, queue: Queue, now: float) -> None:
        queue.is_planned = True
        heappush(self._plan, (now + queue.bucket.wait(now), next(self._order), network))

    def _serve(self) -> None:
        """Check what may be checked now, and plan the next check. The bucket of all hosts bounds the work of a turn."""
        now, checked = self._clock.seconds(), list[tuple[Deferred[bool], bool]]()
        while self._plan and self._plan[0][0] <= now and not self._all.wait(now):
            network = heappop(self._plan)[2]
            queue = self._queues[network]
            queue.is_planned = False
            if queue.connections:
                checked.append(self._check_next(queue, now))
            if queue.connections:
                self._add_to_plan(network, queue, now)
        self._set_timer(now)
        for done, is_right in checked:  # last, because what this calls may come back here
            if not done.called:
                done.callback(is_right)

    def _check_next(self, queue: Queue, now: float) -> tuple[Deferred[bool], bool]:
        connection, waiting = next(iter(queue.connections.items()))
        del queue.connections[connection]
        host, given, done = waiting.popleft()
        if waiting:
            queue.connections[connection] = waiting  # behind all others
        hashes = [sha256(one).digest() for one in given]
        found = [hmac.compare_digest(one, other) for one in hashes for other in self._hashes]
        is_right = any(found)  # all were compared, so that the time tells nothing
        if not is_right:
            queue.bucket.take(now)
            self._all.take(now)
            self._wrong(host, connection)
        return done, is_right

    def _set_timer(self, now: float) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if self._plan:
            pause = max(self._plan[0][0] - now, self._all.wait(now))
            self._timer = self._clock.callLater(pause, self._serve)


class OperatorPasswords(PasswordChecks):
    """Checks of the passwords of operators, with limits of their own.

    Each of the `passwords` is `KEY:password`, for the member whose name has this key only, or `:password`, for all.
    """

    def replace(self, passwords: Sequence[bytes]) -> None:
        super().replace(passwords)
        self.exist = bool(passwords)

    def check_of(self, host: str, connection: object, name: str, given: bytes) -> Deferred[bool]:
        """Check if this password makes the member with this name an operator: see `check`."""
        given = given.strip()
        return self.check(host, connection, b":" + given, normalised(name).key.encode() + b":" + given)
