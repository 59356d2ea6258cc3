"""One conversation over every transport, with the same steps and the same lines."""

from __future__ import annotations

import os
import random
import shutil
import socket
import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.certificates import make_certificate
from tests.daemon import Daemon, LineMember
from tests.members import Live, Member, Numbered, Polling, Refused
from tests.quic_peer import QuicLine

LONGEST_TEXT = "\u00e9" * 2048
LONGEST_NAME = "\U0001f600" * 32
ODD_TEXTS = [
    "h\u00e9llo \u4e16\u754c \U0001f600",
    " spaces before and behind ",
    "a\tb",
    "* not a notice",
    "Bob: not Bob",
    "2 texts",
    "e\u0301 and \u200d are fine",
    LONGEST_TEXT,
]
BAD_TEXTS = ["   ", "a\x1b[2Jb", "a\x07", "a\u2028b", "a\u202eb", "a\x7f", LONGEST_TEXT + "x"]
BAD_NAMES = [
    "a:b",
    "a,b",
    "x" * 33,
    "12",
    "close",
    "Illegal message",
    "#a",
    "*a",
    "@a",
    "a has joined",
    "a\x07b",
    "(a)",
]


class TransportCase(TestCase):
    """A test with a daemon that listens on every transport, and members of all kinds."""

    def setUp(self) -> None:
        directory = Path(tempfile.mkdtemp(prefix="groupchat-tls-"))
        self.addCleanup(shutil.rmtree, directory)
        key, certificate = make_certificate(directory)
        self._trust = str(certificate)
        self._tls = f"ssl:0:privateKey={key}:certKey={certificate}:interface=127.0.0.1"

    def start(self, *options: str) -> None:
        self._daemon = Daemon(*options, "--db", ":memory:", "--quic", "--tcp", "0", "--tcp", self._tls)
        self.addCleanup(self._daemon.stop)

    def member(self, make: Callable[[], Member]) -> Member:
        member = make()
        self.addCleanup(member.close)
        return member

    def polling(self) -> Member:
        return self.member(lambda: Polling(self._daemon.port))

    def live(self) -> Member:
        return self.member(lambda: Live(LineMember(self._daemon.tcp[0])))

    def encrypted(self) -> Member:
        return self.member(lambda: Live(LineMember(self._daemon.tcp[1], trust=self._trust)))

    def numbered(self) -> Member:
        return self.member(lambda: Numbered(LineMember(self._daemon.tcp[0])))

    def over_quic(self) -> Member:
        return self.member(lambda: Live(QuicLine(self._daemon.port)))

    def numbered_over_quic(self) -> Member:
        return self.member(lambda: Numbered(QuicLine(self._daemon.port)))

    def all_see(self, members: list[Member], *lines: str) -> None:
        for member in members:
            self.assertEqual(member.sees(len(lines)), list(lines), type(member).__name__)


class Conversation(TransportCase):
    """The steps. Each subclass says how a member connects."""

    can_whisper = True

    def one(self) -> Member:
        raise NotImplementedError

    def test_join_say_rename_and_leave(self) -> None:
        self.start()
        alice = self.one()
        self.assertEqual(alice.join("Alice"), [])
        bob = self.one()
        self.assertEqual(bob.join("Bob"), ["Alice"])
        bob.say("Hi Alice")
        charlie = self.one()
        self.assertEqual(charlie.join("Charlie"), ["Bob", "Alice"])
        charlie.say("Hiii")
        self.all_see([alice], "Bob has joined", "Bob: Hi Alice", "Charlie has joined", "Charlie: Hiii")
        alice.say("welcome")
        self.all_see([charlie], "Alice: welcome")
        charlie.rename("Chari")
        charlie.say("Yoooo")
        charlie.leave()
        last = ["Charlie changed his name to Chari", "Chari: Yoooo", "Chari has left the group"]
        self.all_see([bob], "Charlie has joined", "Charlie: Hiii", "Alice: welcome", *last)
        self.all_see([alice], *last)
        self.assertEqual(self.one().join("Chari"), ["Bob", "Alice"])

    def test_a_refused_name_can_be_followed_by_another(self) -> None:
        self.start()
        alice = self.one()
        self.assertEqual(alice.join("Alice"), [])
        for name in ["Alice", "ALICE", *BAD_NAMES]:
            bob = self.one()
            with self.assertRaises(Refused, msg=name):
                bob.join(name)
        self.assertEqual(bob.join("Bob"), ["Alice"])
        for name in ["Alice", "alice", "Bob", *BAD_NAMES]:
            with self.assertRaises(Refused, msg=name):
                bob.rename(name)
        bob.rename("bob")
        self.all_see([alice], "Bob has joined", "Bob changed his name to bob")

    def test_texts_arrive_unchanged(self) -> None:
        self.start()
        alice = self.one()
        alice.join("Alice")
        bob = self.one()
        bob.join(LONGEST_NAME)
        self.all_see([alice], f"{LONGEST_NAME} has joined")
        for text in ODD_TEXTS:
            bob.say(text)
            self.all_see([alice], f"{LONGEST_NAME}: {text}")
        for text in BAD_TEXTS:
            with self.assertRaises(Refused, msg=text):
                bob.say(text)
        bob.say("still here")
        self.all_see([alice], f"{LONGEST_NAME}: still here")

    def test_a_whisper_is_seen_by_one_member_only(self) -> None:
        self.start()
        alice = self.one()
        alice.join("Alice")
        walter = self.one() if self.can_whisper else self.live()
        walter.join("Walter")
        bob = self.one()
        bob.join("Bob")
        walter.whisper("Bob", "psst")
        alice.say("aloud")
        self.all_see([alice], "Walter has joined", "Bob has joined")
        self.all_see([bob], "Walter (private): psst", "Alice: aloud")
        walter.rename("Walt")
        for who, text in [("Nobody", "psst"), ("Walt", "to myself"), ("Bob", ""), ("Bob", "\x1b")]:
            with self.assertRaises(Refused, msg=who):
                walter.whisper(who, text)
        bob.say("what?")
        self.all_see([alice], "Walter changed his name to Walt", "Bob: what?")


class MixedTests(TransportCase):
    def test_members_of_all_kinds_see_the_same_lines(self) -> None:
        seed = int(os.environ.get("SEED", random.randrange(10**6)))
        dice = random.Random(seed)
        self.start("--rate", "0")
        kinds = [self.polling, self.live, self.encrypted, self.over_quic, self.numbered, self.numbered_over_quic] * 2
        members: dict[str, Member] = {}
        seen: dict[str, list[str]] = {}

        def happens(line: str, by: str) -> None:
            for name, lines in seen.items():
                if name != by:
                    lines.append(line)

        try:
            for number, kind in enumerate(kinds):
                name = f"member {number}"
                members[name] = kind()
                self.assertEqual(members[name].join(name), list(members)[-2::-1])
                happens(f"{name} has joined", name)
                seen[name] = []
            for number in range(300):
                who = dice.choice(list(members))
                member = members[who]
                if dice.random() < 0.1:
                    new = f"renamed {number}"
                    member.rename(new)
                    happens(f"{who} changed his name to {new}", who)
                    members[new], seen[new] = members.pop(who), seen.pop(who)
                elif dice.random() < 0.3 and not isinstance(member, Polling):
                    to = dice.choice([name for name in members if name != who])
                    member.whisper(to, f"for {to} only, {number}")
                    seen[to].append(f"{who} (private): for {to} only, {number}")
                else:
                    member.say(f"text {number}")
                    happens(f"{who}: text {number}", who)
            for name, member in members.items():
                self.assertEqual(member.sees(len(seen[name])), seen[name], name)
        except BaseException:
            print(f"SEED={seed} gave this")
            raise

    def test_end_of_input_leaves_after_all_lines_are_said(self) -> None:
        self.start("--rate", "0")
        alice = self.polling()
        alice.join("Alice")
        plain, encrypted = self._daemon.tcp
        connections: list[Callable[[], LineMember]] = [
            lambda: LineMember(plain),
            lambda: LineMember(encrypted, trust=self._trust),
            lambda: QuicLine(self._daemon.port),
        ]
        for connect in connections:
            bob = connect()
            self.addCleanup(bob.close)
            bob.join("Bob")
            bob.send(*(f"text {number}" for number in range(40)))
            bob.write(b"without an end")
            bob.end()
            texts = [*(f"text {number}" for number in range(40)), "without an end"]
            self.all_see([alice], "Bob has joined", *(f"Bob: {text}" for text in texts), "Bob has left the group")
            if connect is not connections[1]:  # over TLS nothing can be read after one's own end
                self.assertEqual(bob.receive_all(), ["* You have left the group."])


class OverUDPTests(Conversation):
    can_whisper = False
    one = TransportCase.polling


class OverLinesTests(Conversation):
    one = TransportCase.live


class OverTLSTests(Conversation):
    one = TransportCase.encrypted

    def test_clients_that_offer_a_protocol_by_alpn_are_greeted(self) -> None:
        self.start()
        context = ssl.create_default_context(cafile=self._trust)
        for offered, chosen in ((["groupchat"], "groupchat"), (["h2", "http/1.1"], "http/1.1")):
            context.set_alpn_protocols(offered)
            with (
                socket.create_connection(("127.0.0.1", self._daemon.tcp[1]), timeout=20) as plain,
                context.wrap_socket(plain, server_hostname="localhost") as encrypted,
            ):
                self.assertEqual(encrypted.recv(2), b"* ", offered)
                self.assertEqual(encrypted.selected_alpn_protocol(), chosen)


class OverQUICTests(Conversation):
    one = TransportCase.over_quic


class OverNumberedLinesTests(Conversation):
    one = TransportCase.numbered


class OverNumberedQUICTests(Conversation):
    one = TransportCase.numbered_over_quic


del Conversation  # is not to be run itself
