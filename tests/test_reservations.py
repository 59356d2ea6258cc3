"""A name, and a place in the log, belong to the key of a session for some time after its seat ended."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from groupchat.core.commands import Ban, OperatorCommand, Release, Remove, Rename, Say, SayAsGuest, Whisper
from groupchat.core.reservations import Reservation, Reservations
from groupchat.core.rules import DAY
from tests.connections import KEY, Connection, SessionTestCase
from tests.lobby import KEY as SESSION_KEY
from tests.lobby import OTHER_KEY, Lobby, LobbyTestCase
from tests.logs import LateLog
from tests.node import Node

OTHER = "aa" * 32
ILLEGAL = "Illegal message"
RESERVED = "The name Alice is reserved for somebody who was here before."


class ReservedTestCase(SessionTestCase):
    """A test with Bob, who polls, and Alice, who said hi with a key. Sessions are held for a minute."""

    def setUp(self) -> None:
        self.begin()

    def begin(self, **settings: Any) -> None:
        self.start(hold=60, **settings)
        self.root = Connection(self.node.service)
        self.node.ask(1, "1 Bob")
        self.alice = self.connection("Alice", KEY)
        self.say(self.alice, "hi")

    def say(self, who: Connection, text: str) -> None:
        who.ask(Say(text))
        self.settle()

    def vacate(self, who: Connection) -> None:
        """Let a connection end, and its seat after it."""
        who.hang_up(hold=True)
        self.wait(62)

    def wait(self, seconds: float) -> None:
        self.node.pass_time(seconds)
        self.settle()

    def refusal(self, who: Connection) -> str:
        """Return why the last command of a connection was refused; an empty string if it was not."""
        self.settle()
        return who.why[-1] if who.words()[-1:] == ["refused"] else ""

    def join(self, name: str, secret: str | None = None, host: str = "10.0.0.5") -> str:
        """Return why a join is refused; an empty string if it is not."""
        who = Connection(self.node.service, host)
        who.join(name, secret)
        return self.refusal(who)

    def operate(self, command: OperatorCommand) -> str:
        command.by = "root"
        self.root.ask(command)
        return self.refusal(self.root)

    def restart(self) -> None:
        """Start another node on the same log, from its snapshot."""
        self.node.service.stopService()
        self.settle()
        self.use(Node(LateLog(self.store, self.clock, self.delay), self.clock, hold=60))
        self.settle()


class NameTests(ReservedTestCase):
    def test_nobody_else_can_take_a_reserved_name(self) -> None:
        self.vacate(self.alice)
        self.assertEqual(self.names(), ["Bob"])
        self.assertEqual(self.node.ask(2, "1 Alice"), ILLEGAL)
        self.assertEqual(self.node.ask(1, "3 alice"), ILLEGAL)
        self.assertEqual(self.join("Alice"), RESERVED)
        self.assertEqual(self.join("Alice", OTHER), RESERVED)
        carol = self.connection("Carol", OTHER)
        carol.ask(Rename("Alice"))
        self.assertEqual(self.refusal(carol), RESERVED)
        guest = Connection(self.node.service)
        guest.ask(SayAsGuest("Alice", "hi"))
        self.assertEqual(self.refusal(guest), RESERVED)

    def test_a_name_that_looks_like_a_reserved_one_is_refused(self) -> None:
        self.vacate(self.alice)
        self.assertIn("looks like one that is reserved", self.join("\u0410lice", OTHER))

    def test_its_key_can_take_it_and_no_name_is_reserved_then(self) -> None:
        self.vacate(self.alice)
        self.assertEqual(self.join("Alice", KEY, "10.9.9.9"), "")
        self.assertEqual((self.names(), len(self.group.reservations)), (["Bob", "Alice"], 0))

    def test_its_key_may_take_another_name_and_frees_the_old_one(self) -> None:
        self.vacate(self.alice)
        self.assertEqual(self.join("Ally", KEY), "")
        self.assertEqual(self.join("Alice", OTHER), "")

    def test_the_reserved_name_is_the_last_one(self) -> None:
        self.alice.ask(Rename("Ally"))
        self.vacate(self.alice)
        self.assertEqual(self.join("Alice"), "")
        self.assertIn("reserved", self.join("Ally"))

    def test_leaving_for_good_reserves_nothing(self) -> None:
        self.node.ask(1, "4")
        self.assertEqual(self.join("Bob"), "")

    def test_without_a_key_nothing_is_reserved(self) -> None:
        carol = self.connection("Carol")
        self.say(carol, "hi")
        carol.hang_up(hold=False)
        self.settle()
        self.assertEqual(self.join("Carol"), "")

    def test_who_never_spoke_reserves_nothing(self) -> None:
        self.vacate(self.connection("Carol", OTHER))
        self.assertEqual(self.join("Carol"), "")

    def test_who_came_back_and_only_reads_keeps_its_name(self) -> None:
        for _ in range(2):
            self.vacate(self.alice)
            self.alice = self.connection("Alice", KEY)
            self.node.ask(1, "2 news")
        self.vacate(self.alice)
        self.assertEqual(self.join("Alice"), RESERVED)

    def test_whispering_counts_as_speaking(self) -> None:
        carol = self.connection("Carol", OTHER)
        carol.ask(Whisper("Bob: psst", 1))
        self.settle()
        self.vacate(carol)
        self.assertIn("reserved", self.join("Carol"))

    def test_a_silent_member_keeps_its_name_too(self) -> None:
        self.begin(idle=1)
        self.alice.hang_up(hold=True)
        self.seats.held.clear()  # as if another node had its connection
        self.clock.advance(1.5 * DAY)
        self.wait(2 * 3600)
        self.assertNotIn("Alice", self.names())
        self.assertEqual(self.join("Alice"), RESERVED)

    def test_a_name_is_free_when_its_time_is_over(self) -> None:
        self.begin(reserve=2)
        self.vacate(self.alice)
        self.clock.advance(2 * DAY - 5)
        self.assertEqual(self.join("Alice"), RESERVED)
        self.clock.advance(5)
        self.assertEqual(self.join("Alice"), "")

    def test_zero_days_reserve_nothing(self) -> None:
        self.begin(reserve=0)
        self.vacate(self.alice)
        self.assertEqual(self.join("Alice"), "")

    def test_a_reservation_survives_restarts(self) -> None:
        self.vacate(self.alice)
        self.restart()
        self.assertEqual(self.join("Alice"), RESERVED)
        self.restart()
        self.assertEqual(self.join("Alice", KEY), "")

    def test_a_fold_without_a_snapshot_comes_to_the_same(self) -> None:
        self.vacate(self.alice)
        node = Node(LateLog(self.store, self.clock, 0.0), self.clock)
        self.settle()
        self.assertEqual(node.service.group.reservations.dump(), self.group.reservations.dump())
        self.assertEqual(len(node.service.group.reservations), 1)


class BoundTests(ReservedTestCase):
    def test_one_host_reserves_so_many_names_only(self) -> None:
        with patch("groupchat.core.rules.MAX_RESERVED_HOST", 1):
            self.vacate(self.alice)
            for name, key, host in [("Carol", "cc" * 32, "10.0.0.9"), ("Dave", "dd" * 32, "10.0.0.8")]:
                who = self.connection(name, key, host)
                self.say(who, "hi")
                self.vacate(who)
        self.assertEqual(self.join("Carol"), "")
        self.assertIn("reserved", self.join("Dave"))

    def test_the_bound_of_a_host_counts_what_is_left(self) -> None:
        with patch("groupchat.core.rules.MAX_RESERVED_HOST", 2):
            for name, key in [("Carol", "cc" * 32), ("Dave", "dd" * 32), ("Erin", "ee" * 32), ("Frank", "ff" * 32)]:
                who = self.connection(name, key)
                self.say(who, "hi")
                self.vacate(who)
                if name == "Dave":
                    self.operate(Release("Carol"))  # so there is room for one more
        taken = [name for name in ("Carol", "Dave", "Erin", "Frank") if self.join(name)]
        self.assertEqual(taken, ["Dave", "Erin"])
        for name in taken:
            self.operate(Release(name))
        self.assertEqual(self.group.reservations.per_host, {})

    def test_all_together_reserve_so_many_names_only(self) -> None:
        with patch("groupchat.core.rules.MAX_RESERVED", 0):
            self.vacate(self.alice)
        self.assertEqual(self.join("Alice"), "")

    def test_what_is_over_does_not_count(self) -> None:
        self.begin(reserve=1)
        with patch("groupchat.core.rules.MAX_RESERVED", 1):
            self.vacate(self.alice)
            self.clock.advance(DAY)
            for name, secret in [("Carol", "cc" * 32), ("Dave", "dd" * 32)]:  # a leave makes room for the next one
                who = self.connection(name, secret)
                self.say(who, "hi")
                self.vacate(who)
        self.assertIn("reserved", self.join("Dave"))


class OperatorTests(ReservedTestCase):
    def test_a_released_name_is_free_after_a_restart_as_well(self) -> None:
        self.vacate(self.alice)
        self.assertEqual(self.operate(Release("alice")), "")
        self.restart()
        self.assertEqual(self.join("Alice"), "")

    def test_the_key_of_a_released_name_has_no_place_any_more(self) -> None:
        before = self.alice.member.id
        self.vacate(self.alice)
        self.operate(Release("Alice"))
        self.assertNotEqual(self.connection("Alice", KEY).member.id, before)

    def test_a_name_that_is_not_reserved_cannot_be_released(self) -> None:
        self.assertEqual(self.operate(Release("Alice")), "The name Alice is not reserved.")

    def test_who_was_removed_reserves_nothing(self) -> None:
        self.operate(Remove("Alice"))
        self.assertEqual(self.join("Alice", OTHER), "")

    def test_a_ban_of_a_reserved_name_bans_its_key(self) -> None:
        self.vacate(self.alice)
        self.operate(Ban("Alice"))
        self.assertEqual(len(self.group.reservations), 0)
        self.assertIn("banned", self.join("Alice", OTHER))
        self.assertIn("You may not be in this group", self.join("Ally", KEY))

    def test_who_is_banned_when_it_leaves_reserves_nothing(self) -> None:
        self.alice.hang_up(hold=True)
        self.wait(50)
        self.operate(Ban("10.0.0.9"))
        self.wait(5)
        self.assertEqual((self.names(), len(self.group.reservations)), (["Bob"], 0))


class PlaceTests(ReservedTestCase):
    def read(self) -> list[str]:
        """Let Alice come back, and return what she is given."""
        self.alice = self.connection("Alice", KEY)
        self.alice.listen()
        self.settle()
        return "".join(self.alice.given()).splitlines()

    def test_who_comes_back_is_given_what_it_missed(self) -> None:
        self.alice.listen()
        self.say(self.alice, "bye")
        self.node.ask(1, "2 before the seat ends")
        self.settle()
        self.alice.given()
        self.vacate(self.alice)
        self.node.ask(2, "1 Carol")
        for text in ("one", "two"):
            self.node.ask(1, f"2 {text}")
        self.settle()
        self.assertEqual(self.read(), ["Carol has joined", "Bob: one", "Bob: two"])
        self.assertEqual(self.group.behind(self.alice.member), 0)

    def test_whispers_and_own_lines_are_shown_as_before(self) -> None:
        for text in ("Bob: not yet read", "Bob: nor this"):
            self.alice.ask(Whisper(text))
        self.settle()
        carol = self.connection("Carol", OTHER)
        carol.ask(Whisper("Alice: for you"), Whisper("Bob: not for her"))
        self.settle()
        self.vacate(self.alice)
        carol.ask(Whisper("Bob: nor this one"), Say("to all"))
        self.settle()
        self.assertEqual(self.read(), ["Carol has joined", "Carol (private): for you", "Carol: to all"])
        self.assertEqual(self.group.behind(self.alice.member), 0)

    def test_the_place_survives_restarts_before_and_after(self) -> None:
        self.vacate(self.alice)
        self.node.ask(1, "2 one")
        self.restart()
        self.connection("Alice", KEY).hang_up(hold=True)
        self.restart()
        again = Connection(self.node.service)
        again.resume(KEY)
        again.listen()
        self.settle()
        self.assertEqual(again.given(), ["Bob: one\n"])
        self.assertEqual(self.group.behind(again.member), 0)

    def test_lines_that_are_no_longer_kept_are_told(self) -> None:
        self.begin(keep=5)
        self.vacate(self.alice)
        for number in range(8):
            self.node.ask(1, f"2 {number}")
        found = self.read()
        self.assertRegex(found[0], r"^\* \d+ lines are no longer kept$")
        self.assertEqual(found[-1], "Bob: 7")

    def test_its_client_begins_its_numbers_again(self) -> None:
        self.alice.ask(Say("with a number", 1))
        self.vacate(self.alice)
        self.alice = self.connection("Alice", KEY)
        self.alice.ask(Say("once more", 1))
        self.settle()
        self.assertEqual(self.lines()[-1], "Alice: once more")


class LinesTests(LobbyTestCase):
    def setUp(self) -> None:
        self.open(Lobby(hold=60))
        self.alice = self.lobby.program("Alice")
        self.alice.ask("1 hi")
        self.alice.lose()
        self.lobby.pass_time(62)
        self.lobby.ask(1, "2 one")

    def test_session_gives_the_place_where_it_left(self) -> None:
        again = self.lobby.call()
        self.assertEqual(again.ask(f"/resume {SESSION_KEY} 3")[-1].split()[:2], ["no", "0"])
        heard = again.ask(f"/numbered {SESSION_KEY} Alice")
        self.assertEqual(heard, ["session 3 1 Alice", "5 Bob: one"])

    def test_a_repeated_join_gives_that_place_again(self) -> None:
        first = self.lobby.call()
        first.ask(f"/numbered {SESSION_KEY} Alice")
        first.lose()
        self.assertEqual(
            self.lobby.call().ask(f"/numbered {SESSION_KEY} Alice")[-2:], ["session 3 1 Alice", "5 Bob: one"]
        )

    def test_it_may_resume_from_lines_that_were_lost_on_the_way(self) -> None:
        self.lobby.call().ask(f"/numbered {SESSION_KEY} Alice")
        self.assertEqual(self.lobby.call().ask(f"/resume {SESSION_KEY} 1")[-2:], ["session 2 1 Alice", "5 Bob: one"])

    def test_quit_reserves_nothing(self) -> None:
        again = self.lobby.call()
        again.ask(f"/numbered {SESSION_KEY} Alice")
        again.ask("1 /quit")
        self.assertTrue(self.lobby.program("Alice", OTHER_KEY))

    def test_a_plain_connection_cannot_take_the_name(self) -> None:
        self.assertEqual(self.lobby.call().ask("Alice")[-1], f"* {RESERVED} What is your name?")


class FormTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.kept = Reservations()

    def made(self, secret: str, name: str, until: int = 10, host: str = "::1") -> Reservation:
        return Reservation(secret, name, name.lower(), host, 7, 1, 2, 3, 4, until)

    def test_one_key_and_one_name_have_one_reservation(self) -> None:
        for secret, name in [("a", "Al"), ("a", "Bo"), ("b", "Bo")]:
            self.kept.add(self.made(secret, name))
        self.assertEqual(list(self.kept.by_secret), ["b"])
        self.assertFalse(self.kept.is_taken("al", None, 1))
        self.assertTrue(self.kept.is_taken("bo", "a", 1))
        self.kept.end("b")
        self.assertEqual(vars(self.kept), vars(Reservations()))

    def test_what_is_dumped_is_loaded(self) -> None:
        self.kept.add(self.made("a", "Al"))
        state = json.loads(json.dumps(self.kept.dump()))
        other = Reservations()
        other.load(state)
        self.assertEqual(vars(other), vars(self.kept))
        for index, wrong in [(0, 1), (1, None), (4, "7"), (9, 1.5), (5, 2**63), (6, True), (1, "\ud800")]:
            values = [*state[0]]
            values[index] = wrong
            self.assertRaises((ValueError, TypeError), Reservations().load, [values])
        self.assertRaises((ValueError, TypeError), Reservations().load, [state[0][:-1]])


class NobodyTests(ReservedTestCase):
    def test_names_that_nobody_may_take(self) -> None:
        self.assertEqual(self.node.ask(2, "1 Admin"), ILLEGAL)
        self.assertEqual(self.node.ask(1, "3 SERVER"), ILLEGAL)
        self.assertEqual(self.join("Operator", OTHER), "Nobody may be called Operator here.")
        self.assertIn("Nobody may", self.join("\u0430dmin"))
        guest = Connection(self.node.service)
        guest.ask(SayAsGuest("everyone", "hi"))
        self.assertIn("Nobody may", self.refusal(guest))
        self.assertEqual(self.join("Adminton"), "")

    def test_other_names_can_be_chosen_or_none(self) -> None:
        self.begin(reserved_names=("root",))
        self.assertEqual(self.node.ask(2, "1 Root"), ILLEGAL)
        self.assertEqual(self.join("admin"), "")
        self.begin(reserved_names=())
        self.assertEqual(self.join("root"), "")
