"""Sessions of members that say nothing for days."""

from __future__ import annotations

from groupchat.commands import Say
from groupchat.rules import DAY
from tests.connections import KEY, SessionTestCase


class SilentSessionTests(SessionTestCase):
    delay = 0.5

    def test_who_only_reads_for_days_is_held_as_long_as_anybody_when_its_connection_ends(self) -> None:
        self.start(idle=1, hold=300)
        alice = self.connection("Alice", KEY)
        self.node.pass_time(2 * DAY)
        alice.hang_up(hold=True)
        self.node.pass_time(298)
        self.settle()
        self.assertEqual(self.names(), ["Alice"])
        self.node.pass_time(3)
        self.settle()
        self.assertEqual(self.names(), [])

    def test_who_resumes_while_it_leaves_for_its_silence_is_told_that_it_is_no_member(self) -> None:
        self.start(idle=1, hold=10 * int(DAY))
        alice = self.connection("Alice", KEY)
        alice.hang_up(hold=True)
        seat = alice.seat
        for _ in range(3 * 24 * 120):
            self.clock.advance(30)
            if seat.busy:
                break
        again = self.connection()
        again.resume(KEY)
        again.ask(Say("am I here?", 1))
        self.settle()
        self.assertEqual((again.words(), self.names()), (["displaced"], []))
        self.assertEqual(self.lines(), ["Alice has joined", "Alice has left the group"])
        self.assertNoTrace()
