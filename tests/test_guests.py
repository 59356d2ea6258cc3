"""Files shared by members and guests, and lines said by guests, in the service."""

from __future__ import annotations

from twisted.python.failure import Failure

from groupchat.core.commands import Command, Files, Join, Leave, Rename, Say, SayAsGuest, Share
from groupchat.core.errors import IllegalMessage, NotNow, Unavailable
from groupchat.core.limits import BURST, MAX_SIZE
from groupchat.log.memory import MemoryLog
from tests.connections import KEY, SessionTestCase
from tests.logs import FailingLog
from tests.node import Node

HOST = "10.0.0.9"


class SharingTests(SessionTestCase):
    def may_share(self, member: int = 0, guest: str = "") -> str:
        """Return the reason why somebody may not share anything now; "" if it may."""
        try:
            self.node.service.may_share(HOST, member, guest)
        except IllegalMessage as why:
            return str(why)
        return ""

    def test_a_member_shares_from_a_seat_that_is_not_its_own(self) -> None:
        alice, bob = self.connection("Alice"), self.connection("Bob")
        bob.listen()
        fresh = self.connection()
        self.assertEqual(self.may_share(alice.member.id), "")
        fresh.ask(share := Share("photo.jpg", 2_100_000, member=alice.member.id))
        self.assertEqual(fresh.told(), [])
        self.settle()
        self.assertEqual(fresh.told(), [("answered", share)])
        self.assertEqual((bob.given(), alice.told()), (["Alice shared photo.jpg (2.1 MB)\n"], []))
        self.assertEqual(self.group.behind(alice.member), 1)  # Bob's join
        self.assertEqual(alice.member.own, 1)
        self.assertIsNone(fresh.seat.member)

    def test_sharing_is_a_contact_of_the_member(self) -> None:
        self.node.ask(1, "1 Alice")
        self.settle()
        alice = self.group.by_key["alice"]
        self.node.pass_time(600)
        self.connection().ask(Share("x", 1, member=alice.id))
        self.settle()
        self.assertEqual((alice.contact, alice.logged), (self.clock.seconds(),) * 2)

    def test_guests_are_answered_and_leave_no_trace(self) -> None:
        alice = self.connection("Alice")
        alice.listen()
        guest = self.connection()
        guest.ask(share := Share("x", 5, guest=" Door "))
        self.settle()
        other = self.connection()
        other.ask(tell := SayAsGuest("DOOR", "ding"))
        self.settle()
        self.assertEqual((guest.told(), other.told()), ([("answered", share)], [("answered", tell)]))
        self.assertEqual(alice.given(), ["Door shared x (5 B)\n", "DOOR: ding\n"])
        self.assertEqual((self.names(), self.group.behind(alice.member)), (["Alice"], 0))
        self.assertEqual((list(self.seats.live.values()), self.seats.held, self.seats.at), ([alice.seat], {}, {}))
        self.assertEqual((guest.seat.busy, guest.seat.member, guest.seat.queue), (0, None, None))
        self.assertEqual(self.connection("Door").member.name, "Door")

    def test_a_guest_whose_connection_ends_leaves_no_trace(self) -> None:
        for hold in (True, False):
            guest = self.connection()
            guest.ask(SayAsGuest("Door", "ding"))
            guest.hang_up(hold=hold)
            self.settle()
            self.assertEqual(guest.told(), [])
            self.assertNoTrace()
        self.assertEqual(self.lines(), ["Door: ding"] * 2)

    def test_commands_that_are_refused_at_once(self) -> None:
        alice = self.connection("Alice")
        refused: list[Command] = [
            SayAsGuest("alice", "I am not"),
            SayAsGuest("a:b", "x"),
            SayAsGuest("Door", " "),
            Share("x", 1, guest="Alice"),
            Share("x", 1),
            Share("a/b", 1, member=alice.member.id),
            Share("x", MAX_SIZE + 1, member=alice.member.id),
            Share("x", 1, member=1),
            Files(),
        ]
        for command in refused:
            fresh = self.connection()
            fresh.ask(command)
            self.assertEqual(fresh.told(), [("refused", command)], command)
        self.assertEqual(self.lines(), ["Alice has joined"])
        self.assertEqual(self.may_share(guest="alice"), "The name Alice is in use.")
        self.assertEqual(self.may_share(member=1), "You are no longer in the group: join again.")
        self.assertEqual(self.may_share(guest="Door"), "")

    def test_the_first_in_the_log_wins_a_race(self) -> None:
        alice = self.connection("Alice")
        member = alice.member.id
        races: list[tuple[Command, Command]] = [
            (Rename("Al"), Share("x", 1, member=member)),
            (Leave(), Share("x", 1, member=member)),
            (Join("Door"), SayAsGuest("door", "ding")),
            (Join("Cam"), Share("x", 1, guest="CAM")),
        ]
        for first, then in races:
            one = self.connection() if isinstance(first, Join) else alice
            two = self.connection()
            one.ask(first)
            two.ask(then)
            self.settle()
            self.assertEqual((one.words(), two.words()), (["answered"], ["refused"]), then)
            self.assertEqual(two.why, ["Somebody else was first." if isinstance(then, SayAsGuest) else LOST])
        self.assertEqual(self.names(), ["Door", "Cam"])

    def test_a_line_that_cannot_be_stored_is_dropped(self) -> None:
        log = FailingLog([Unavailable("full")])
        self.use(Node(log, self.clock))
        guest = self.connection()
        guest.ask(SayAsGuest("Door", "ding"))
        self.settle()
        self.assertEqual(guest.words(), ["dropped"])
        guest.ask(SayAsGuest("Door", "dong"))
        self.settle()
        self.assertEqual((guest.words(), self.lines()), (["answered"], ["Door: dong"]))
        self.assertNoTrace()

    def test_guests_and_members_have_separate_rates(self) -> None:
        self.start(rate=5)
        alice = self.connection("Alice")
        for count in range(BURST + 1):
            guest = self.connection()
            guest.ask(SayAsGuest("Door", str(count)))
            self.settle()
        self.assertEqual((guest.words(), len(self.lines())), (["refused"], 1 + BURST))
        self.assertIn("Slow down", self.may_share(guest="Door"))
        self.assertEqual(self.may_share(alice.member.id), "")
        self.assertEqual(self.connection("Bob").member.name, "Bob")
        alice.ask(*[Say("x")] * BURST)
        self.settle()
        self.assertIn("Slow down", self.may_share(alice.member.id))
        self.clock.advance(1)
        self.assertEqual((self.may_share(alice.member.id), self.may_share(guest="Door")), ("", ""))

    def test_nothing_is_shared_once_the_state_is_broken(self) -> None:
        self.node.service._break(Failure(ZeroDivisionError()))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertRaises(NotNow, self.node.service.may_share, HOST, 0, "Door")

    def test_files_and_guest_lines_are_there_after_a_restart(self) -> None:
        alice = self.connection("Alice", KEY)
        for command in (Share("x", 1, member=alice.member.id), SayAsGuest("Door", "ding"), Share("y", 2, guest="Cam")):
            self.connection().ask(command)
            self.settle()
        self.node.service._saver.save()
        self.settle()
        lines, place = self.lines(), (alice.member.own, self.group.behind(alice.member))
        self.use(Node(MemoryLog(self.store), self.clock))
        again = self.group.by_key["alice"]
        self.assertEqual((self.lines(), (again.own, self.group.behind(again))), (lines, place))
        self.assertEqual(place, (1, 2))


LOST = "Your name was changed, or taken, at this very moment: try again."
