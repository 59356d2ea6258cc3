"""The members of the crash test.

A member sends one request at a time, from one socket for the whole run, and waits for its reply until the daemon is
dead: if it gave up earlier, a late reply would be taken for that of its next request. While there is no daemon, members
send requests *in the dark*, to the port of one that may be starting. As it is unknown which of them a reply is for,
none of them counts as acknowledged. They end when a *fence* is answered: a request that is always refused, in its turn.
The lines of every reply are recorded, whenever it comes.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Generator
from itertools import count
from math import inf
from time import monotonic
from typing import NamedTuple

from tests.crash_judge import JOINED, LEFT, RENAMED, Reader, Record, Request, reading

SILENCE_SECONDS = 20.0
"""The longest time that a living daemon may leave a request unanswered."""

DARK_SECONDS = 0.1
"""The time between two requests in the dark, of which a member sends at most DARK_REQUESTS: a queue has room for 16."""

DARK_REQUESTS = 10

BREATH = 0.05
"""The share of texts that are sent after a pause of at most BREATH_SECONDS: a long run must fit into memory."""

BREATH_SECONDS = 0.05

LONGEST_SLEEP = 3.0
"""The longest pause between two polls of a member: fewer than KEEP lines must be said in it."""

LEAST_MEMBERS = 4
"""Two members who keep their names, one who changes it, and one who joins and leaves."""

RECEIVE_BUFFER = 4 * 1024 * 1024
"""The size of a member's receive buffer in bytes: no reply may be lost because it is full."""

ILLEGAL = "Illegal message"


class Ask(NamedTuple):
    """A request, to be sent after a pause. `key` is set if it makes a line, `refusable` if it may be illegal."""

    request: str
    key: str = ""
    pause: float = 0.0
    refusable: bool = False


Script = Generator[Ask, str | None, None]
"""Yields requests. It is sent the reply to each, or None if there was none."""


def talking(author: str, dice: random.Random, renames: bool) -> Script:
    """Say one text after another, and change the name now and then."""
    yield Ask(f"1 {author}", f"{author}{JOINED}")
    for number in count(1):
        if renames and dice.random() < 0.02:
            yield Ask(f"3 {author}.{number}", f"{RENAMED}{author}.{number}")
        yield Ask(f"2 {author}-{number}", f": {author}-{number}", breath(dice))


def breath(dice: random.Random) -> float:
    return dice.uniform(0, BREATH_SECONDS) if dice.random() < BREATH else 0.0


def listening(author: str, dice: random.Random, longest_pause: float) -> Script:
    yield Ask(f"1 {author}", f"{author}{JOINED}")
    while True:
        yield Ask("5", pause=dice.uniform(0, longest_pause))
        yield from catching_up()


def catching_up() -> Script:
    while (yield Ask("5")):
        pass


def visiting(author: str, dice: random.Random) -> Script:
    """Join, say something, and leave, over and over, each time under another name."""
    numbers = count(1)
    for visit in count(1):
        name = f"{author}.{visit}"
        doubtful = (yield Ask(f"1 {name}", f"{name}{JOINED}", dice.uniform(0, 0.2))) is None
        if not doubtful:
            for _, number in zip(range(dice.randrange(50)), numbers, strict=False):
                yield Ask(f"2 {author}-{number}", f": {author}-{number}", breath(dice))
            yield from catching_up()
        while (yield Ask("4", f"{name}{LEFT}", refusable=doubtful)) is None:
            doubtful = True


def scripts(members: int, seed: int) -> dict[str, Script]:
    """Return scripts by author. m0 and m1 keep their names, which fences need; m3 and m4 listen; the guest visits."""
    made: dict[str, Script] = {}
    for number in range(members - 1):
        author = f"m{number}"
        dice = random.Random(f"{seed}-{author}")
        made[author] = (
            listening(author, dice, LONGEST_SLEEP if number == 3 else 0.02)
            if number in {3, 4}
            else talking(author, dice, renames=number % 2 == 0 and number > 0)
        )
    made["guest"] = visiting("guest", random.Random(f"{seed}-guest"))
    return made


class Member:
    """Sends the requests of a script through one socket, and records what comes of them."""

    def __init__(self, author: str, script: Script, port: int, record: Record) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self.reader: Reader | None = None
        self.under_way: Ask | None = None
        self.next: Ask | None = next(script)
        self.sent = self._due = 0.0
        self._server = ("127.0.0.1", port)
        self._fence = Ask("3 m1" if author == "m0" else "3 m0")
        self._author = author
        self._script = script
        self._record = record
        self._dark: list[Request] = []

    def ask(self, now: float) -> None:
        """Send the next request when it is time."""
        if self.under_way is None and self.next is not None and now >= self._due:
            self._send(self.next, now)
            self.under_way = self.next

    def ask_in_the_dark(self, now: float) -> None:
        """Send the next request when it is time, and go on as if there were no reply."""
        ask = self.next
        if ask is not None and ask.request[0] in "23" and now >= self._due and len(self._dark) < DARK_REQUESTS:
            self._dark.append(self._send(ask, now))
            self._go_on(None, now)
            self._due = now + DARK_SECONDS

    def ask_fence(self, now: float) -> None:
        self._send(self._fence, now)
        self.under_way = self._fence

    def _send(self, ask: Ask, now: float) -> Request:
        self.sent = now
        self.socket.sendto(ask.request.encode(), self._server)
        request = Request(self._author, ask.key, now)
        if ask.key:
            request = self._record.requests.setdefault(ask.key, request)
            request.settled = inf
        return request

    def _go_on(self, reply: str | None, now: float) -> None:
        try:
            self.next = self._script.send(reply)
            self._due = now + self.next.pause
        except StopIteration:
            self.next = None

    def fileno(self) -> int:
        return self.socket.fileno()

    def finish(self) -> None:
        """From now on, only poll until nothing waits."""
        self._script = catching_up()
        self.next = next(self._script) if self.reader else None

    def list_names(self) -> None:
        """Ask for the list of names. Raises TimeoutError."""
        assert self.reader is not None
        self.socket.settimeout(SILENCE_SECONDS)
        self.socket.sendto(f"1 {self._author}".encode(), self._server)
        self.reader.listed = self.socket.recv(65_535).decode().split(", ")

    def receive(self) -> None:
        """Record all replies that have come."""
        try:
            while True:
                self._received(self.socket.recv(65_535).decode(), monotonic())
        except BlockingIOError:
            pass

    def _received(self, reply: str, now: float) -> None:
        ask = self.under_way
        if ask is None or (ask is self._fence and reply != ILLEGAL):
            self._read(reply, now)
            return
        self.under_way = None
        if ask is self._fence:
            self._settle_dark(now)
        else:
            self._answered(ask, reply, now)
            self._go_on(reply, now)

    def _answered(self, ask: Ask, reply: str, now: float) -> None:
        if ask.key:
            request = self._record.requests[ask.key]
            request.settled, request.acknowledged = now, reply != ILLEGAL
        if reply == ILLEGAL and not ask.refusable:
            self._record.refusals.append(f"{ask.request!r} of {self._author} in life {len(self._record.kills)}")
        elif ask.request[0] == "1":
            self.reader = Reader(self._author, now)
            self._record.readers.append(self.reader)
        elif ask.request[0] == "4":
            self.reader = None
        else:
            self._read(reply, now)
            if self.reader is not None and not reply:
                self.reader.until = self.sent

    def _read(self, reply: str, now: float) -> None:
        life = len(self._record.kills)
        if reply == ILLEGAL or self.reader is None:
            self._record.refusals.append(f"{reply!r} to something of {self._author} in life {life}")
        elif reply:
            self.reader.readings += [reading(line, now, life) for line in reply.split("\n")]

    def cut_off(self, now: float) -> bool:
        """Note that the daemon is dead. Return True if a request of the script was under way."""
        ask, self.under_way = self.under_way, None
        self._settle_dark(now)
        if ask is None or ask is self._fence:
            return False
        if ask.key:
            self._record.requests[ask.key].settled = now
        self._go_on(None, now)
        return True

    def _settle_dark(self, now: float) -> None:
        for request in self._dark:
            request.settled = now
        self._dark.clear()
