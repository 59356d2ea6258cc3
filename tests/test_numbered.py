"""Numbered sessions whose connections break: no line is lost or doubled, in either direction."""

from __future__ import annotations

import os
import random

from tests.daemon import DaemonTestCase
from tests.sessions import Session

ASKED = ["h\u00e9llo", "/msg Bob: psst", "/name New{}", "again", "/users"]
TOLD = ["Old{}: h\u00e9llo", "Old{} (private): psst", "Old{} changed his name to New{}", "New{}: again"]
SAID = ["one", "/msg {}: two", "thr\u00e9\u00e9"]


class CutTests(DaemonTestCase):
    """Bob's connection holds. Those of the others break after each byte that they send or receive."""

    def setUp(self) -> None:
        self.daemon = self.start("--tcp", "0", "--db", ":memory:", "--rate", "0")
        self.bob = self.session("Bob")
        self.bob.connect()
        self.bob.settle()

    def session(self, name: str) -> Session:
        session = Session(self.daemon.tcp[0], name)
        self.addCleanup(session.close)
        return session

    def resume(self, session: Session, number: int) -> None:
        """Resume and leave, and check what Bob has seen."""
        session.connect()
        session.settle()
        session.ask("/quit")
        session.settle()
        self.bob.read_until(lambda: self.bob.lines()[-1:] == [f"New{number} has left the group"])
        told = [line.replace("{}", str(number)) for line in TOLD]
        self.assertEqual(self.bob.lines(), [f"Old{number} has joined", *told, f"New{number} has left the group"])
        self.assertEqual([answer.partition(" ")[0] for answer in session.answers.values()], ["ok"] * 6)
        self.bob.seen.clear()

    def test_cuts_after_each_byte_sent(self) -> None:
        number = size = 0
        while size <= len(self.cut_sending(number, size)):
            number, size = number + 1, size + 1
        self.assertGreater(size, 100)

    def cut_sending(self, number: int, size: int) -> bytes:
        session = self.session(f"Old{number}")
        session.ask(*(line.format(number) for line in ASKED))
        opening = session.opening()
        session.connect(size)
        session.cut(reset=bool(number % 2))
        self.resume(session, number)
        return opening

    def test_cuts_after_each_byte_received(self) -> None:
        number = 0
        while self.cut_reading(number, number):
            number += 1
        self.assertGreater(number, 300)

    def cut_reading(self, number: int, size: int) -> bool:
        """Return True if there were that many bytes to read."""
        session = self.session(f"Old{number}")
        session.connect()
        self.bob.read_until(lambda: self.bob.lines()[-1:] == [f"Old{number} has joined"])
        self.bob.ask(*(line.format(f"Old{number}") for line in SAID))
        self.bob.settle()
        session.ask(*(line.format(number) for line in ASKED))
        said = ["Bob: one", "Bob (private): two", "Bob: thr\u00e9\u00e9"]
        while size and not (session.lines() == said and len(session.answers) == len(ASKED)):
            size -= session.read(size)
        session.cut(reset=bool(number % 2))
        self.resume(session, number)
        self.assertEqual(session.lines(), said)
        return not size


class AgainTests(DaemonTestCase):
    def test_commands_sent_many_times_take_effect_once_in_order(self) -> None:
        daemon = self.start("--tcp", "0", "--rate", "0")
        alice, bob = Session(daemon.tcp[0], "Alice"), Session(daemon.tcp[0], "Bob")
        for session in (alice, bob):
            self.addCleanup(session.close)
            session.connect()
            session.settle()
        said: list[str] = []
        for turn in range(30):
            texts = [f"{turn}, {number}" for number in range(64)]
            alice.cut(reset=False)
            alice.ask(*texts)
            for part in range(turn % 4):
                alice.connect(len(alice.opening()) // (3 + turn) * (part + 1))
                alice.cut(reset=False)
            alice.connect()
            alice.settle()
            said += [f"Alice: {text}" for text in texts]
        bob.read_until(lambda: bob.lines()[-1:] == said[-1:])
        self.assertEqual(bob.lines(), said)


class BreakingTests(DaemonTestCase):
    """All connections break at random, and the server is killed."""

    def test_sessions_survive_cuts_and_kills_of_the_server(self) -> None:
        seed = int(os.environ.get("SEED", random.randrange(10**6)))
        try:
            self.converse(random.Random(seed), kills=4, texts=400)
        except BaseException:
            print(f"SEED={seed} gave this")
            raise

    def converse(self, dice: random.Random, kills: int, texts: int) -> None:
        daemon = self.start("--tcp", "0", "--rate", "0")
        port = daemon.tcp[0]
        alice, bob, eve = sessions = [Session(port, name) for name in ("Alice", "Bob", "Eve")]
        aloud: dict[str, list[str]] = {"Alice": [], "Bob": []}
        in_all: dict[str, list[str]] = {"Alice": [], "Bob": []}
        for session in sessions:
            self.addCleanup(session.close)
            session.connect()
            session.settle()
        for count in range(1, texts + 1):
            speaker, other = dice.sample([alice, bob], 2)
            line = f"{speaker.name} says {count} " + "x" * dice.choice([0, 1, 50, 3000])
            in_all[speaker.name].append(line)
            if dice.random() < 0.2:
                speaker.ask(f"/msg {other.name}: {line}")
            else:
                speaker.ask(line)
                aloud[speaker.name].append(line)
            for session in sessions:
                self.stumble(session, dice)
            if count % (texts // (kills + 1)) == 0:
                daemon.kill()
                daemon = daemon.again("--tcp", str(port), "--rate", "0")
                self.addCleanup(daemon.stop)
        for session in sessions:
            self.resume(session)
        for session in (alice, bob):
            session.ask("the end")
            session.settle()
        self.assertEqual(self.texts(alice, "Bob"), in_all["Bob"])
        self.assertEqual(self.texts(bob, "Alice"), in_all["Alice"])
        self.assertEqual({name: self.texts(eve, name) for name in aloud}, aloud)

    def stumble(self, session: Session, dice: random.Random) -> None:
        """Read a little, or cut the connection and connect again, and send a part or all of what is unanswered."""
        if session.is_connected and dice.random() < 0.1:
            session.cut(reset=dice.random() < 0.5)
        if not session.is_connected and dice.random() < 0.5:
            size = dice.choice([None, dice.randrange(len(session.opening()))])
            session.connect(size)
            if size is not None:
                session.read(dice.randrange(1, 300), 0.001)
                session.cut(reset=dice.random() < 0.5)
        session.read(dice.choice([1, 10, 100, 65_536]), 0.001)
        if len(session.unanswered) > 20:
            self.resume(session)

    def resume(self, session: Session) -> None:
        """Connect again, and wait until everything is answered."""
        session.cut(reset=False)
        session.connect()
        session.settle()

    def texts(self, session: Session, name: str) -> list[str]:
        """Return all texts that a session was sent by one member, whispers included."""
        session.read_until(lambda: f"{name}: the end" in session.lines()[-20:])
        return [line.partition(": ")[2] for line in session.lines() if line.startswith(name) and " says " in line]
