"""Rounds in memory: a daemon with all its doors, without sockets, on a clock that stands still.

A round is a number of inputs for one door, made from the name of the round, on a daemon of its own. After each input
the members who were there before it must still be there, and see only lines that the protocol knows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from traceback import format_exc

from twisted.internet.testing import StringTransport
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import provider

from groupchat.core.errors import IllegalMessage
from groupchat.core.events import Address
from groupchat.core.limits import EVERYWHERE, Limits
from groupchat.core.names import nickname
from groupchat.core.notices import SERVER, Kind, read
from groupchat.core.texts import check_text
from groupchat.frontends.quic import Quic
from groupchat.frontends.transfers.server import TransferServer
from groupchat.frontends.transfers.stream import TransferStream
from groupchat.frontends.udp import FiveMessages
from groupchat.frontends.web.serving import routes
from groupchat.frontends.web.site import Site
from groupchat.quic.certificate import load_or_make
from groupchat.quic.scheduler import Scheduler
from groupchat.wire.datagrams import MAX_REPLY, REFUSAL
from groupchat.wire.lines import NO_TIMING_MARK
from tests.fuzz import datagrams, http, lines, quic
from tests.fuzz.grammar import Dice
from tests.lobby import Caller, Lobby
from tests.node import FakePort
from tests.shelves import MemoryShelf
from tests.web import MAX_FILE, Line

INPUTS = 200
"""The number of inputs of a round."""

OPEN = 12
"""The number of connections that stay open while others come."""

HOSTS = ("10.0.0.1", "10.0.0.2", "192.0.2.200", "2001:db8::1", "fe80::1%2", "127.0.0.1")

PASSWORD = b"Alice"
"""A password that the grammars often say first: it is also a name."""

HEADERS = 28
"""The bytes of the headers of a datagram, over IPv4."""

_ANSWERS = ("* ", "= ", "ok ", "no ", "busy ", "session ")
_NUMBER = re.compile(r"[0-9]+ ")
_LEFTOVERS_GO = 400.0
"""Seconds after which nothing may be left of clients that are gone: a session is held for 300."""


class Fault(Exception):
    """Something that must not happen, whatever comes in."""


class FoundFault(Fault):
    """A fault, with the round and the input that show it."""


def check_line(line: str) -> None:
    """Raise Fault if this is no line of a group, or has a name or a text that is not allowed."""
    found = read(line)
    if found.kind is Kind.SERVER:
        if not line.startswith(SERVER):
            raise Fault(f"no line of a group: {line!r}")
        return
    try:
        if nickname(found.name).shown != found.name:
            raise Fault(f"not a name as it is shown: {line!r}")
        check_text(found.text or "-")
    except IllegalMessage as why:
        raise Fault(f"{line!r}: {why}") from why


@contextmanager
def no_bugs(but: Callable[[Failure], bool] = lambda failure: False) -> Iterator[None]:
    """Raise Fault if a bug, or anything else with a traceback, is logged, `but` for some."""
    logged: list[LogEvent] = []

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        if "log_failure" in event and not but(event["log_failure"]):
            logged.append(event)

    globalLogPublisher.addObserver(observe)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(observe)
    for event in logged:
        raise Fault(f"{formatEvent(event)}:\n{event['log_failure'].getTraceback()}")


class World:
    """A daemon with all doors, Bob who polls, and a witness with a connection. Some have a password."""

    def __init__(self, dice: Dice) -> None:
        limits = Limits(password=PASSWORD if dice.one_in(4) else None)
        self._open: list[Callable[[], None]] = []
        lobby = self.lobby = Lobby(limits=limits, rate=5)
        self.shelf = MemoryShelf()
        self.shelf.files["a.txt"] = bytes(range(256))
        lobby.registry.shelf = self.shelf
        self.site = Site(lobby.registry, routes(), self.shelf, MAX_FILE)
        self.site.start()
        transfers = TransferServer(lobby.registry, self.shelf, lambda peer: lobby.registry.connect(peer.host))
        self.quic = Quic(limits, lobby.clock, lobby.service.survive, lambda peer: TransferStream(transfers, peer))
        self.quic.scheduler = Scheduler(lobby.clock, lobby.clock.seconds)
        self.quic.start(load_or_make(None))
        self.port = FakePort()
        self.udp = FiveMessages(lobby.service, MAX_REPLY, EVERYWHERE, self.quic.take)
        self.udp.makeConnection(self.port)
        lobby.ask(1, "1 Bob")
        self.witness = lobby.call(host="10.0.0.9")
        self.witness.send(*(["Alice"] if limits.password else []), "Witness")
        self.witness.heard()

    def take(self, datagram: bytes, address: Address) -> list[bytes]:
        """Return the answers to a datagram."""
        self.udp.datagramReceived(datagram, address)
        self.lobby.settle()
        self.lobby.clock.advance(0)
        sent, self.port.sent = self.port.sent, []
        return [answer for answer, to in sent if to == address]

    def check(self) -> None:
        """Raise Fault if the members who were there before are not well."""
        seen = self.witness.heard()
        if self.witness.is_closing or self.lobby.fatal:
            raise Fault("the daemon, or a connection of somebody else, ended")
        answer = self.lobby.ask(1, "5")
        if answer is None:
            raise Fault("Bob gets no answer")
        for line in [*seen, *(answer.split("\n") if answer else [])]:
            check_line(line)

    def keep_open(self, end: Callable[[], None]) -> None:
        """Let a connection stay open while others come: the oldest ends when there are too many."""
        self._open.append(end)
        while len(self._open) > OPEN:
            self._open.pop(0)()

    def close(self) -> None:
        """Let all clients go, and time pass. Raise Fault if anything is left of them."""
        while self._open:
            self._open.pop()()
        self.lobby.pass_time(_LEFTOVERS_GO)
        left = {
            "connections": len(self.lobby.registry.connections) - 1,
            "QUIC connections": len(self.quic.clients),
            "sessions": len(self.site.sessions),
            "deadlines": len(self.site.deadlines),
            "backlog": len(self.site.backlog),
            "transfers": len(self.site.uploads) + len(self.lobby.registry.downloads) + self.shelf.open_now,
        }
        if any(left.values()):
            raise Fault(f"left behind: {left}")
        self.quic.stop()
        self.site.stop()
        self.witness.lose()


# One input for each door


def _datagrams(world: World, dice: Dice) -> None:
    address = (dice.choice(HOSTS), dice.randrange(1000, 1020))
    for datagram in datagrams.datagrams(dice):
        answers = world.take(datagram, address)
        if len(answers) > 1:
            raise Fault(f"{len(answers)} answers to one datagram")
        if answers and datagram < b"\x40":
            _check_answer(answers[0], is_join=datagram.startswith(b"1"))


def _check_answer(answer: bytes, *, is_join: bool) -> None:
    if answer in (b"", b"close", REFUSAL):
        return
    words = answer.decode()
    if is_join:
        if "\n" in words or ": " in words:
            raise Fault(f"no list of names: {words!r}")
    else:
        for line in words.split("\n"):
            check_line(line)


def _packets(world: World, dice: Dice) -> None:
    address = (dice.choice(HOSTS), dice.randrange(1000, 1020))
    packets = quic.packets(dice)
    sent = received = 0
    datagram = next(packets)
    while True:
        answers = world.take(datagram, address)
        sent += len(datagram) + HEADERS
        received += sum(map(len, answers))
        if not world.quic.clients and received > 3 * sent:
            raise Fault(f"{received} bytes for {sent}, to an address without proof")
        try:
            datagram = packets.send(answers[0] if answers else b"")
        except StopIteration:
            break


def _lines(world: World, dice: Dice) -> None:
    caller = Caller(world.lobby, dice.choice(HOSTS))
    for piece in dice.cut(lines.connection(dice)):
        if caller.transport.disconnecting:
            break
        caller.lines.dataReceived(piece)
        if not dice.one_in(3):
            world.lobby.settle()
    world.lobby.settle()
    _check_lines(_taken(caller.transport))

    def end() -> None:
        if how and not caller.transport.disconnecting:
            caller.half_close()
            world.lobby.settle()
        caller.lose(reset=how == 1)
        world.lobby.settle()

    how = dice.randrange(3)
    _stall(dice, caller.transport)
    world.keep_open(end)


def _stall(dice: Dice, transport: StringTransport) -> None:
    """Let a client read nothing more, as long as it is open, or for a moment."""
    if transport.producer is not None and dice.one_in(6):
        transport.producer.pauseProducing()
        if dice.one_in(2):
            transport.producer.resumeProducing()


def _check_lines(data: bytes) -> None:
    data = data.replace(NO_TIMING_MARK, b"")
    if data and not data.endswith(b"\n"):
        raise Fault(f"a line without an end: {data[-200:]!r}")
    for line in data.decode().split("\n")[:-1]:
        if not line.startswith(_ANSWERS):
            check_line(_NUMBER.sub("", line, count=1))


def _taken(transport: StringTransport) -> bytes:
    data: bytes = transport.value()
    transport.clear()
    return data


def _http(world: World, dice: Dice) -> None:
    line = Line(world.lobby, world.site, dice.choice(HOSTS))
    for piece in dice.cut(http.connection(dice)):
        line.send(piece)
        if not dice.one_in(3):
            world.lobby.settle()
    answer = line.heard()
    if answer and not re.match(rb"HTTP/1\.[01] [1-5]\d\d ", answer):
        raise Fault(f"no answer of HTTP: {answer[:200]!r}")

    def end() -> None:
        if half_closes and not (line.is_over or line.is_dropped):
            line.channel.readConnectionLost()
        line.lose()
        world.lobby.settle()

    half_closes = dice.one_in(2)
    _stall(dice, line.transport)
    world.keep_open(end)


def _round(one: Callable[[World, Dice], None]) -> Callable[[str, int], None]:
    """Return a function that runs a round. It raises FoundFault."""

    def run(name: str, inputs: int) -> None:
        dice = Dice(name)
        world = World(dice)
        for number in range(inputs):
            with told(name, f"input {number}"), no_bugs():
                one(world, dice)
                world.lobby.clock.advance(20.0 if dice.one_in(40) else 0.3)
                world.check()
        with told(name, "after the last input"), no_bugs():
            world.close()

    return run


datagram_round = _round(_datagrams)
quic_round = _round(_packets)
lines_round = _round(_lines)
http_round = _round(_http)


@contextmanager
def told(name: str, where: str) -> Iterator[None]:
    """Name the round and the input in every fault, and make one of every other exception."""
    try:
        yield
    except FoundFault:
        raise
    except Fault as fault:
        raise FoundFault(f"{name}, {where}: {fault}") from fault
    except Exception as error:
        raise FoundFault(f"{name}, {where}: {format_exc()}") from error
