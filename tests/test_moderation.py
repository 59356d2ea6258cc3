"""What operators do to people: remove, mute, ban, make somebody an operator, the topic, and who may say something."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from groupchat.core import moderation
from groupchat.core.commands import (
    Announce,
    Ban,
    Change,
    Demote,
    Erase,
    Mute,
    OperatorCommand,
    Promote,
    Remove,
    Rename,
    Say,
    SayAsGuest,
    SetTopic,
    Share,
    Unban,
    Unmute,
    Whisper,
)
from groupchat.core.errors import IllegalMessage, RemovedByOperator
from groupchat.core.events import FOREVER, Banned, Unbanned
from groupchat.core.moderation import REFUSED_SECONDS, Moderation
from tests.connections import KEY, Connection, SessionTestCase
from tests.lobby import LobbyTestCase
from tests.logs import LateLog
from tests.node import Node

OTHER = "aa" * 32
ILLEGAL = "Illegal message"


class OperatorTestCase(SessionTestCase):
    """A test with an operator on the machine, `root`, and Bob, who polls from 10.0.0.1:1."""

    def setUp(self) -> None:
        super().setUp()
        self.root = Connection(self.node.service)
        self.node.ask(1, "1 Bob")
        self.settle()

    def operate(self, command: OperatorCommand, by: str = "root") -> str:
        """Give a command on the machine. Return why it was refused, or an empty string."""
        command.by = by
        self.root.ask(command)
        self.settle()
        (word,) = self.root.words()
        return self.root.why[-1] if word == "refused" else ""

    def refusal(self, connection: Connection, command: Any) -> str:
        """Return why a command of a connection is refused; an empty string if it is not."""
        connection.told()
        connection.ask(command)
        self.settle()
        told = connection.words()
        return connection.why[-1] if told == ["refused"] else ""

    def polled(self, who: int = 1, host: str = "10.0.0.1") -> list[str]:
        self.settle()
        reply = self.node.ask(who, "5", host)
        return reply.split("\n") if reply else []

    def tick(self, seconds: float = 1.0) -> None:
        self.node.pass_time(seconds)
        self.settle()


class RemoveTests(OperatorTestCase):
    def test_others_read_that_somebody_was_removed(self) -> None:
        alice = self.connection("Alice", KEY)
        self.polled()
        self.assertEqual(self.operate(Remove("alice", why="spam")), "")
        self.assertEqual(self.polled(), ["* Alice was removed"])
        self.assertEqual(alice.words(), ["displaced"])
        self.assertIsInstance(alice.end, RemovedByOperator)
        self.assertEqual(str(alice.end), "You were removed: spam")
        self.assertEqual(self.names(), ["Bob"])

    def test_who_was_removed_cannot_come_back_for_a_while(self) -> None:
        self.connection("Alice", KEY)
        self.operate(Remove("Alice", why="spam"))
        again = Connection(self.node.service)
        for minutes, name in [("10 minutes", "Alice"), ("1 minute", "Al")]:
            again.join(name, KEY)
            self.settle()
            self.assertEqual(again.why[-1], f"You may not be in this group for {minutes} more: spam")
            self.assertRaises(IllegalMessage, again.resume, KEY)
            self.tick(9 * 60)
        self.assertEqual(self.connection("Alice", KEY).member.name, "Alice")

    def test_a_member_over_udp_is_refused_by_its_address(self) -> None:
        self.operate(Remove("Bob"))
        self.assertEqual(self.node.ask(1, "5"), ILLEGAL)
        self.assertEqual(self.node.ask(1, "1 Bob"), ILLEGAL)
        self.assertEqual(self.node.ask(2, "1 Bert"), "")  # another socket cannot be known
        self.tick(REFUSED_SECONDS)
        self.assertEqual(self.node.ask(1, "1 Bob"), "Bert")

    def test_nobody_else_is_refused(self) -> None:
        self.connection("Alice", KEY)
        self.operate(Remove("Alice"))
        self.assertEqual(self.connection("Alice", OTHER).member.name, "Alice")

    def test_who_is_not_there_cannot_be_removed(self) -> None:
        self.assertEqual(self.operate(Remove("Nobody")), "Nobody here is called Nobody.")

    def test_only_operators_can_remove(self) -> None:
        alice = self.connection("Alice", KEY)
        self.assertIn("Only an operator", self.refusal(alice, Remove("Bob")))
        self.assertIn("Only an operator", self.refusal(Connection(self.node.service), Remove("Bob")))
        self.assertEqual(self.names(), ["Bob", "Alice"])

    def test_a_removal_survives_a_restart(self) -> None:
        self.connection("Alice", KEY)
        self.operate(Remove("Alice"))
        self.restart()
        self.assertEqual(self.names(), ["Bob"])
        again = Connection(self.node.service)
        again.join("Alice", KEY)
        self.settle()
        self.assertEqual(again.words(), ["refused"])

    def restart(self) -> None:
        """Start another node on the same log."""
        self.node.service.stopService()
        self.settle()
        self.use(Node(LateLog(self.store, self.clock, self.delay), self.clock))
        self.settle()


class MuteTests(OperatorTestCase):
    def test_a_muted_member_can_read_and_nothing_else(self) -> None:
        alice = self.connection("Alice", KEY)
        self.assertEqual(self.operate(Mute("Alice", why="too loud")), "")
        share = Share("a.txt", 3, alice.member.id)
        for command in (Say("hi"), Whisper("Bob: hi"), Rename("Al"), share):
            why = self.refusal(alice, command)
            self.assertEqual(why, "You are muted: you may read, and not write: too loud", command)
        alice.listen()
        self.node.ask(1, "2 hello")
        self.settle()
        self.assertEqual(alice.given(), ["Bob: hello\n"])
        self.assertEqual(self.operate(Unmute("alice")), "")
        self.assertEqual(self.refusal(alice, Say("hi")), "")

    def test_over_udp_a_muted_text_is_illegal(self) -> None:
        self.operate(Mute("Bob"))
        self.assertEqual(self.node.ask(1, "2 hi"), ILLEGAL)
        self.assertEqual(self.node.ask(1, "3 Bert"), ILLEGAL)
        self.assertEqual(self.node.ask(1, "5"), "")

    def test_a_mute_outlives_leaving_by_the_key(self) -> None:
        alice = self.connection("Alice", KEY)
        self.operate(Mute("Alice"))
        alice.hang_up(hold=False)
        self.settle()
        again = self.connection("Ally", KEY, host="10.0.0.77")
        self.assertIn("muted", self.refusal(again, Say("hi")))
        self.assertEqual(self.operate(Unmute("Alice")), "")
        self.assertEqual(self.refusal(again, Say("hi")), "")

    def test_a_mute_outlives_leaving_by_the_host(self) -> None:
        self.operate(Mute("Bob"))
        self.node.ask(1, "4")
        self.node.ask(2, "1 Bert")
        self.assertEqual(self.node.ask(2, "2 hi"), ILLEGAL)
        self.node.ask(3, "1 Carl", "10.0.0.2")
        self.assertEqual(self.node.ask(3, "2 hi", "10.0.0.2"), "")

    def test_a_muted_member_is_no_guest_either(self) -> None:
        self.connection("Alice", KEY, host="10.0.0.9")
        self.operate(Mute("Alice"))
        guest = Connection(self.node.service, "10.0.0.9")
        self.assertIn("muted", self.refusal(guest, SayAsGuest("Ally", "hi")))
        other = Connection(self.node.service, "10.0.0.8")
        self.assertEqual(self.refusal(other, SayAsGuest("Ally", "hi")), "")

    def test_a_mute_that_is_there_or_not(self) -> None:
        self.operate(Mute("Bob"))
        self.assertEqual(self.operate(Mute("Bob")), "Bob is muted already.")
        self.operate(Unmute("Bob"))
        self.assertEqual(self.operate(Unmute("Bob")), "Bob is not muted.")


class BanTests(OperatorTestCase):
    def test_a_ban_of_an_address_ends_its_seats(self) -> None:
        alice = self.connection("Alice", KEY, host="192.0.2.7")
        self.assertEqual(self.operate(Ban("192.0.2.7", why="flood")), "")
        self.tick()
        self.assertEqual(self.names(), ["Bob"])
        self.assertEqual(str(alice.end), "You were removed: flood")
        again = Connection(self.node.service, "192.0.2.7")
        again.join("Al", OTHER)
        self.settle()
        self.assertEqual(again.why, ["You may not be in this group: flood"])
        self.assertIn("may not be", self.refusal(again, SayAsGuest("Al", "hi")))
        self.connection("Al", OTHER, host="192.0.2.8")

    def test_a_ban_of_a_network_counts_in_all_its_forms(self) -> None:
        for network, inside, outside in [
            ("192.0.2.0/24", "192.0.2.200", "192.0.3.1"),
            ("192.0.2.5", "192.0.2.5", "192.0.2.4"),
            ("192.0.2.77/31", "192.0.2.76", "192.0.2.78"),
            ("2001:db8::/64", "2001:db8::7", "2001:db8:0:1::7"),
            ("2001:db8::7", "2001:db8::7", "2001:db8::8"),
            ("fe80::1%eth0", "fe80::1%eth1", "fe80::2%eth0"),
            ("::ffff:192.0.2.5", "192.0.2.5", "192.0.2.4"),
        ]:
            decisions = Moderation()
            decisions.ban(Banned(moderation.of_network(network), "", FOREVER, "root", "", 0.0))
            self.assertIsNotNone(decisions.ban_of(inside, 1, None, 1.0), network)
            self.assertIsNone(decisions.ban_of(outside, 1, None, 1.0), network)
            self.assertIsNone(decisions.ban_of("local", 1, None, 1.0), network)
            decisions.apply(Unbanned(moderation.of_network(network), "root", 1.0))
            self.assertIsNone(decisions.ban_of(inside, 1, None, 1.0), network)
            self.assertEqual(decisions._networks, {})

    def test_a_banned_member_over_udp_is_removed(self) -> None:
        self.operate(Ban("10.0.0.1"))
        self.tick()
        self.assertEqual(self.node.ask(1, "5"), ILLEGAL)
        self.assertEqual(self.node.ask(1, "1 Bob"), ILLEGAL)
        self.assertEqual(self.node.ask(2, "1 Bert"), ILLEGAL)

    def test_a_ban_of_a_name_counts_for_what_looks_like_it(self) -> None:
        alice = self.connection("Paul", KEY)
        self.assertEqual(self.operate(Ban("paul")), "")
        self.tick()
        self.assertEqual(alice.words(), ["displaced"])
        other = Connection(self.node.service)
        for name in ("Paul", "PAUL", "Рaul"):  # noqa: RUF001 - the last begins with a Cyrillic letter
            other.join(name, OTHER)
            self.settle()
            self.assertIn("is banned", other.why[-1])
        self.assertIn("is banned", self.refusal(self.connection("Pete", OTHER), Rename("Paul")))

    def test_the_key_of_a_banned_member_is_banned_too(self) -> None:
        self.connection("Paul", KEY)
        self.operate(Ban("Paul"))
        self.tick(REFUSED_SECONDS + 1)
        again = Connection(self.node.service)
        again.join("Peter", KEY)
        self.settle()
        self.assertIn("may not be", again.why[-1])
        self.assertEqual(self.operate(Unban("Paul")), "")
        again.join("Peter", KEY)
        self.settle()
        self.assertEqual(again.words(), ["refused", "answered"])

    def test_a_ban_for_a_time_ends(self) -> None:
        self.operate(Ban("10.0.0.9", 3600))
        self.assertEqual(len(self.group.moderation.bans), 1)
        stranger = Connection(self.node.service, "10.0.0.9")
        stranger.join("Alice")
        self.settle()
        self.assertEqual(stranger.why, ["You may not be in this group for 1 hour more."])
        self.tick(3600)
        stranger.join("Alice")
        self.settle()
        self.assertEqual(self.names(), ["Bob", "Alice"])
        self.tick(61)
        self.assertEqual(self.group.moderation.bans, {})

    def test_everybody_is_banned_only_on_purpose(self) -> None:
        self.connection("Alice", KEY, host="10.0.0.2")
        for network in ("0.0.0.0/0", "::/0", "10.0.0.0/8"):
            self.assertEqual(self.operate(Ban(network)), "That would ban everybody.", network)
        self.assertEqual(self.operate(Ban("10.0.0.0/8", sure=True)), "")
        self.tick(2)
        self.assertEqual(self.names(), [])

    def test_what_is_not_banned_cannot_be_unbanned(self) -> None:
        for whom in ("192.0.2.1", "Nobody"):
            self.assertEqual(self.operate(Unban(whom)), f"{whom} is not banned.")

    def test_bans_survive_a_snapshot(self) -> None:
        self.operate(Ban("192.0.2.0/24", 3600, why="flood"))
        self.operate(Ban("Eve"))
        self.operate(Mute("Bob", why="loud"))
        self.operate(SetTopic("Lunch"))
        self.operate(Change("post", "operators"))
        before = self.group.moderation
        after = Moderation()
        after.load(before.dump())
        self.assertEqual(after.dump(), before.dump())
        self.assertIsNotNone(after.ban_of("192.0.2.1", None, None, self.clock.seconds()))
        self.assertIsNotNone(after.ban_of_name("EVE", "eve", self.clock.seconds()))
        for damage in ({"bans": [[1]]}, {"mutes": [["x"] * 6]}, {"topic": 1}, {"facts": {"post": 1}}, {"bans": 1}):
            self.assertRaises((ValueError, TypeError), Moderation().load, damage)


class OperatorTests(OperatorTestCase):
    def test_an_operator_in_the_group_may_do_the_same(self) -> None:
        alice = self.connection("Alice", KEY)
        alice.ask(Promote())
        self.settle()
        self.assertEqual((alice.words(), alice.member.operator), (["answered"], True))
        self.assertEqual(self.refusal(alice, Remove("Bob", why="spam")), "")
        self.assertEqual(self.names(), ["Alice"])
        self.assertEqual(self.group.moderation.bans["udp 10.0.0.1 1"].by, "Alice")
        alice.ask(Demote())
        self.settle()
        self.assertFalse(alice.member.operator)
        self.assertIn("Only an operator", self.refusal(alice, SetTopic("x")))

    def test_the_status_ends_with_the_seat(self) -> None:
        alice = self.connection("Alice", KEY)
        alice.ask(Promote())
        self.settle()
        alice.hang_up(hold=False)
        self.settle()
        self.assertFalse(self.connection("Alice", KEY).member.operator)

    def test_the_topic_is_told_and_kept(self) -> None:
        self.assertEqual(self.operate(SetTopic("Lunch at 12")), "")
        self.assertEqual(self.polled(), ["* The topic is: Lunch at 12"])
        self.assertEqual(self.group.moderation.topic, "Lunch at 12")
        self.assertEqual(self.operate(SetTopic("Lunch at 12")), "That is the topic already.")
        self.assertEqual(self.operate(SetTopic("")), "")
        self.assertEqual(self.polled(), ["* There is no topic any more"])
        self.assertEqual(self.operate(SetTopic("x" * 401)), "A topic has at most 400 characters.")
        self.assertIn("control characters", self.operate(SetTopic("a\nb")))

    def test_an_announcement_is_of_the_server(self) -> None:
        self.assertEqual(self.operate(Announce("The server stops at 10.")), "")
        self.assertEqual(self.polled(), ["* The server stops at 10."])

    def test_only_operators_may_say_something_if_post_says_so(self) -> None:
        alice, carol = self.connection("Alice", KEY), self.connection("Carol", OTHER)
        self.assertEqual(self.operate(Change("post", "operators")), "")
        alice.ask(Promote())
        self.settle()
        alice.words()
        self.assertEqual(self.refusal(alice, Say("hello")), "")
        for command in (Say("hi"), SayAsGuest("X", "hi"), Share("a", 1, carol.member.id)):
            self.assertEqual(self.refusal(carol, command), "Only operators say something to all here.")
        self.assertEqual(self.node.ask(1, "2 hi"), ILLEGAL)
        self.assertEqual(self.refusal(carol, Whisper("Alice: hi")), "")
        self.assertEqual(self.operate(Change("post", "everybody")), "")
        self.assertEqual(self.refusal(carol, Say("hi")), "")

    def test_facts_are_checked(self) -> None:
        self.assertEqual(self.operate(Change("post", "all")), "post is one of: everybody, operators.")
        known = "The facts are: post, keep-lines, keep-days, max-members, reserve."
        self.assertEqual(self.operate(Change("color", "red")), f"There is no fact color. {known}")


class GreetingTests(LobbyTestCase):
    def test_a_greeting_does_not_show_what_was_erased(self) -> None:
        self.lobby.ask(1, "2 secret")
        self.lobby.settle()
        self.assertIn("*   Bob: secret", self.lobby.call().heard())
        self.lobby.service.operate(Erase(2, 2, by="root"))
        self.lobby.settle()
        heard = self.lobby.call().heard()
        self.assertEqual(heard[1:4], ["* Said last:", "*   Bob has joined", "*   * a line was removed"])


class MuchTests(SynchronousTestCase):
    def test_a_ban_is_found_by_one_look_up_for_each_prefix(self) -> None:
        decisions = Moderation()
        for number in range(10_000):
            subject = moderation.of_network(f"10.{number >> 8}.{number & 255}.0/24")
            decisions.ban(Banned(subject, "", FOREVER, "root", "", 0.0))
        self.assertEqual(len(decisions._networks), 1)
        self.assertIsNotNone(decisions.ban_of("10.39.15.255", 1, None, 1.0))
        self.assertIsNone(decisions.ban_of("11.0.0.1", 1, None, 1.0))
        for host in range(10_000):
            decisions.ban_of(f"11.0.{host >> 8}.{host & 255}", 1, None, 1.0)
        self.assertLessEqual(len(decisions._hosts), moderation.CACHED)
