"""The client's numbered session against the real server: nothing is lost or doubled, wherever connections break."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from groupchat.client.commands import SessionCommand
from groupchat.client.numbered import NumberedSession
from groupchat.client.own_seat import OwnSeat
from groupchat.core.commands import Recall, Say, Users, Whisper
from tests.chatting import FakeEndpoint, Peer, Witness
from tests.lobby import Caller, Lobby


class Wires:
    """The connection between a client and the real server. Its bytes are carried in pieces, and it may be cut."""

    def __init__(self, lobby: Lobby, name: str, chance: random.Random, seat: OwnSeat | None = None) -> None:
        self.lobby = lobby
        self.chance = chance
        self.endpoint = FakeEndpoint()
        self.witness = Witness()
        self.session = NumberedSession(lobby.clock, self.endpoint, self.witness, self._no_password, seat)
        self.peer: Peer | None = None
        self.caller: Caller | None = None
        self.abandoned: list[Caller] = []  # the server does not know yet that these were cut
        self.session.join(name)

    def _no_password(self, give: Callable[[str], None]) -> None:
        raise AssertionError("nobody asked for a password")

    def carry(self, piece: int = 0) -> bool:
        """Carry the bytes on the way to the other side, at most `piece` of them. Return True if there were any."""
        if self.endpoint.attempts:
            self.caller = self.lobby.call()
            self.peer = self.endpoint.accept()
            return True
        if self.peer is None or self.caller is None:
            return False
        moved = self._move(self.peer.transport, self.caller.lines, self.caller.transport, piece)
        if not moved:
            moved = self._move(self.caller.transport, self.peer.protocol, self.peer.transport, piece)
        if not moved and (self.peer.is_closed or self.caller.transport.disconnecting):
            self.cut()
            return True
        return moved

    def _move(self, source: Any, to: Any, its: Any, piece: int) -> bool:
        data: bytes = source.value()
        if not data or its.producerState != "producing":
            return False
        piece = piece or len(data)
        source.clear()
        source.write(data[piece:])
        to.dataReceived(data[:piece])
        return True

    def cut(self, *, noticed: bool = True) -> None:
        """Lose the bytes on the way. The server may notice later than the client."""
        peer, caller, self.peer, self.caller = self.peer, self.caller, None, None
        if peer is not None:
            peer.lose(ConnectionLost())
        if caller is not None and noticed:
            caller.lines.connectionLost(Failure(ConnectionDone()))
        elif caller is not None:
            self.abandoned.append(caller)

    def notice(self) -> None:
        while self.abandoned:
            self.abandoned.pop().lines.connectionLost(Failure(ConnectionLost()))

    def step(self) -> None:
        """Do one random thing."""
        draw = self.chance.random()
        if draw < 0.02:
            self.cut(noticed=self.chance.random() < 0.5)
        elif draw < 0.04:
            self.notice()
        else:
            self.carry(self.chance.choice([1, 3, 20, 0]))


class EndToEndTest(SynchronousTestCase):
    def begin(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.lobby = Lobby()
        self.assertEqual(self.lobby.ask(1, "1 Bob"), "")
        self.wires = [Wires(self.lobby, name, self.chance) for name in ("Zoe", "Yan")]
        self.watched: list[str] = []
        for wires in self.wires:
            wires.carry()
            wires.carry()  # a client that was never greeted would give up
        for _ in range(100):
            self.happen()
        self.settle()

    def happen(self) -> None:
        self.chance.choice(self.wires).step()
        self.lobby.clock.advance(self.chance.choice([0, 0.01, 0.3]))

    def settle(self) -> None:
        """Carry bytes until there are none on the way."""
        quiet = 0
        for _ in range(2000):
            moved = bool([wires for wires in self.wires if wires.carry()])
            self.lobby.clock.advance(0.1)
            quiet = 0 if moved else quiet + 1
            if quiet > 200:
                return
        self.fail("it has no end")

    def watch(self) -> None:
        while self.hear(self.lobby.ask(1, "5")):
            pass

    def hear(self, reply: str | None) -> bool:
        """Note the lines that Bob, a member with datagrams, is given. Return True if there were any."""
        lines = reply.split("\n") if reply else []
        self.watched += lines
        return bool(lines)

    def test_lines_and_commands_are_exactly_once_despite_cuts(self) -> None:
        cuts = 0
        for seed in range(60):
            self.begin(seed)
            asked: list[list[SessionCommand]] = [[], []]
            for turn in range(400):
                if turn % 20 == 10:
                    for number, wires in enumerate(self.wires):
                        ask = self.ask(number, turn)
                        asked[number].append(ask)
                        wires.session.ask(ask)
                if turn % 20 == 15:
                    self.hear(self.lobby.ask(1, f"2 bob {turn}"))
                self.happen()
            self.settle()
            self.watch()
            self.check(seed, asked)
            cuts += sum(len(wires.witness.of_kind("lost")) for wires in self.wires)
            self.check_leaving(seed)
        self.assertGreater(cuts, 100)

    def ask(self, number: int, turn: int) -> SessionCommand:
        name = ("Zoe", "Yan")[number]
        text = f"{name} {turn}"
        asks: list[SessionCommand] = [Say(text), Say(f"/{text}"), Whisper(f"Bob: {text}"), Users(), Recall(3)]
        return self.chance.choice(asks)

    def check(self, seed: int, asked: list[list[SessionCommand]]) -> None:
        for wires, name, asks in zip(self.wires, ("Zoe", "Yan"), asked, strict=True):
            told = [told for told in wires.witness.told if told[0] in ("answered", "refused", "unconfirmed")]
            self.assertEqual({told[0] for told in told}, {"answered"}, seed)
            self.assertCountEqual([told[1] for told in told], asks, seed)
            expected = []
            for ask in asks:
                match ask:
                    case Say(text):
                        expected.append(f"{name}: {text}")
                    case Whisper(words):
                        expected.append(f"{name} (private): {words.removeprefix('Bob: ')}")
            mine = [line for line in self.watched if line.startswith((f"{name}: ", f"{name} (private)"))]
            self.assertEqual(mine, expected, seed)
            numbers = [number for number, _ in wires.witness.lines if number]
            self.assertEqual(numbers, sorted(set(numbers)), seed)
        for wires, name in zip(self.wires, ("Zoe", "Yan"), strict=True):
            heard = [line for line in wires.witness.heard_lines() if not line.startswith("* ")]
            log = self.public(name)
            first = log.index(heard[0]) if heard else 0
            self.assertEqual(heard, log[first:], seed)
            self.assertEqual([line for line in heard if line.startswith("Bob: ")], self.said_by_bob(), seed)

    def public(self, name: str) -> list[str]:
        """Return the lines that this member is given, in the order of the log."""
        history = self.lobby.service.group.history
        lines = [line.decode() for _, line in history.last(10_000, 0, 10**9)]
        return [line for line in lines if not line.startswith((f"{name}: ", f"{name} has", "Bob has"))]

    def said_by_bob(self) -> list[str]:
        return [f"Bob: bob {turn}" for turn in range(15, 400, 20)]

    def check_leaving(self, seed: int) -> None:
        for wires in self.wires:
            wires.witness.news()
            wires.session.leave()
        for _ in range(100):
            self.happen()
        self.settle()
        self.watch()
        for wires, name in zip(self.wires, ("Zoe", "Yan"), strict=True):
            self.assertEqual(wires.witness.told[-1], ("ended", ""), seed)
            self.assertEqual(self.watched.count(f"{name} has left the group"), 1, seed)
        self.assertEqual(list(self.lobby.service.group.by_secret), [], seed)


class RefusedNamesTest(SynchronousTestCase):
    def test_a_client_may_try_more_names_than_a_connection(self) -> None:
        lobby = Lobby()
        self.assertEqual(lobby.ask(1, "1 Bob"), "")
        wires = Wires(lobby, "Bob", random.Random(1))
        names = ["bob", "BOB", "*", "Bob", "bOb", "Zoe"]
        for _ in range(200):
            wires.carry()
            lobby.clock.advance(0.1)
            if names and len(wires.witness.of_kind("not_joined")) == 7 - len(names):
                wires.session.join(names.pop(0))
        self.assertEqual((names, len(wires.witness.of_kind("not_joined"))), ([], 6))
        self.assertEqual(wires.witness.of_kind("joined"), ["Zoe"])
        self.assertEqual(lobby.registry.total, 3)
