"""The rules called directly: rates, the readers of whispers, and guests."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import TestCase

from groupchat.core.commands import Rename, Say, SayAsGuest, Share, Whisper
from groupchat.core.errors import IllegalMessage, NotNow
from groupchat.core.events import GuestSaid, Joined, Shared
from groupchat.core.group import Group, Member
from groupchat.core.limits import BURST, Settings
from groupchat.core.names import nickname
from groupchat.core.rules import Rules

NOW = 100_000.0
TODAY = 1_700_000_000.0


def rules_of(*names: str, **settings: Any) -> tuple[Rules, list[Member]]:
    group = Group(1000)
    for number, name in enumerate(names, 1):
        group.apply(Joined(number, name, nickname(name).key, NOW, "10.0.0.1", number))
    return Rules(group, Settings(**settings)), list(group.members.values())


class RateTests(TestCase):
    def setUp(self) -> None:
        self.rules, (self.alice, self.bob) = rules_of("Alice", "Bob")

    def said(self, now: float, most: int = 1000) -> int:
        """Return how much Alice may say at once."""
        for count in range(most):
            try:
                self.rules.say(self.alice, Say("hi"), now)
            except NotNow:
                return count
        return most

    def test_after_a_burst_the_rate_limits(self) -> None:
        self.assertEqual(self.said(NOW), BURST)
        self.assertEqual(self.said(NOW + 0.1), 0)
        self.assertEqual([self.said(NOW + second) for second in (1, 2, 3, 5)], [5, 5, 5, 10])
        self.assertEqual(self.said(NOW + 5.2), 1)
        self.assertEqual(self.said(NOW + 1000), BURST)

    def test_a_burst_is_exact_with_present_day_times(self) -> None:
        for fraction in range(20):
            self.assertEqual(self.said(TODAY + 1000 * fraction + fraction / 7), BURST, fraction)

    def test_in_the_long_run_the_chosen_rate_holds(self) -> None:
        for rate in (1, 3, 7, 1000):
            self.rules, (self.alice,) = rules_of("Alice", rate=rate)
            said = sum(self.said(NOW + tenth / 10, most=3000) for tenth in range(1001))
            self.assertTrue(BURST + 100 * rate - 1 <= said <= BURST + 100 * rate, (rate, said))

    def test_a_command_that_is_too_fast_takes_no_token(self) -> None:
        self.said(NOW)
        for tenth in range(10):
            self.said(NOW + tenth / 50)
        self.assertEqual(self.said(NOW + 1), 5)

    def test_each_member_has_its_own_bucket(self) -> None:
        self.said(NOW)
        self.assertEqual(self.rules.say(self.bob, Say("hi"), NOW).text, "hi")

    def test_whispers_and_renames_count_too(self) -> None:
        self.said(NOW, most=BURST - 2)
        self.rules.whisper(self.alice, Whisper("Bob: hi"), NOW)
        self.rules.rename(self.alice, Rename("Al"), NOW)
        with self.assertRaises(NotNow):
            self.rules.whisper(self.alice, Whisper("Bob: hi"), NOW)
        with self.assertRaises(NotNow):
            self.rules.rename(self.alice, Rename("Al"), NOW)

    def test_an_illegal_text_takes_no_token(self) -> None:
        for _ in range(2 * BURST):
            with self.assertRaises(IllegalMessage):
                self.rules.say(self.alice, Say(" "), NOW)
        self.assertEqual(self.said(NOW), BURST)

    def test_a_rate_of_0_is_no_limit(self) -> None:
        self.rules, (self.alice,) = rules_of("Alice", rate=0)
        self.assertEqual(self.said(NOW, most=10 * BURST), 10 * BURST)

    def test_a_clock_that_was_set_back_locks_nobody_out(self) -> None:
        self.said(NOW)
        back = NOW - 86_400
        self.said(back)
        self.assertEqual(self.said(back + 1), 5)
        self.assertEqual(self.said(back + 1000), BURST)

    def test_a_clock_that_was_set_ahead_gives_no_more_than_a_burst(self) -> None:
        self.said(NOW)
        self.assertEqual(self.said(NOW + 86_400), BURST)


class WhisperTests(TestCase):
    """The reader and the text of a whisper."""

    def setUp(self) -> None:
        self.rules, (self.alice, *_) = rules_of("Alice", "Bob", "Bob Dylan", "Zoë", "🦊", "x" * 32)

    def addressed(self, words: str) -> tuple[str, str]:
        event = self.rules.whisper(self.alice, Whisper(words, 7), NOW)
        self.assertEqual((event.member, event.name, event.at, event.id), (1, "Alice", NOW, 7))
        reader = self.rules._group.members[event.reader]
        self.assertEqual(reader.name, event.to)
        return event.to, event.text

    def refused(self, words: str) -> str:
        with self.assertRaises(IllegalMessage) as raised:
            self.rules.whisper(self.alice, Whisper(words), NOW)
        return str(raised.exception)

    def test_a_name_with_a_colon_is_the_reader(self) -> None:
        for words, expected in [
            ("Bob: hi", ("Bob", "hi")),
            ("Bob:hi", ("Bob", "hi")),
            ("Bob:  hi ", ("Bob", " hi ")),
            ("Bob: hi: there", ("Bob", "hi: there")),
            ("Bob Dylan: hi", ("Bob Dylan", "hi")),
            ("Bob: Dylan: hi", ("Bob", "Dylan: hi")),
            ("🦊: hi", ("🦊", "hi")),
            ("x" * 32 + ": hi", ("x" * 32, "hi")),
        ]:
            self.assertEqual(self.addressed(words), expected, words)

    def test_without_a_colon_the_longest_name_is_the_reader(self) -> None:
        for words, expected in [
            ("Bob hi", ("Bob", "hi")),
            ("Bob hi there", ("Bob", "hi there")),
            ("Bob Dylan hi", ("Bob Dylan", "hi")),
            ("Bob Dylan", ("Bob", "Dylan")),
            ("Bob Dylans hi", ("Bob", "Dylans hi")),
            ("x" * 32 + " hi", ("x" * 32, "hi")),
        ]:
            self.assertEqual(self.addressed(words), expected, words)

    def test_a_colon_in_the_text_belongs_to_the_text(self) -> None:
        self.assertEqual(self.addressed("Bob http://example.org"), ("Bob", "http://example.org"))
        self.assertEqual(self.addressed("Bob Dylan at 5:30"), ("Bob Dylan", "at 5:30"))

    def test_names_match_as_they_do_for_a_join(self) -> None:
        for words, to in [
            ("bob: hi", "Bob"),
            ("BOB DYLAN hi", "Bob Dylan"),
            ("ZOË hi", "Zoë"),
            ("bob  dylan: hi", "Bob Dylan"),
        ]:
            self.assertEqual(self.addressed(words), (to, "hi"), words)

    def test_nobody_whispers_to_itself(self) -> None:
        self.assertIn("you", self.refused("alice: hi"))
        self.assertIn("you", self.refused("Alice hi"))

    def test_a_whisper_to_a_former_member_goes_to_nobody_else(self) -> None:
        for words in ["Bob Marley: secret", "Bob  Marley : secret", "Bob see: this", "Bob Marley:"]:
            self.assertIn("Nobody", self.refused(words), words)

    def test_a_whisper_needs_a_reader_and_a_text(self) -> None:
        for words in ["Eve: hi", "Eve hi", "Bob", "Dylan: hi", "", " ", ":", ": hi", "x" * 33 + " hi", "a b c d: e f"]:
            self.assertIn("Nobody", self.refused(words), words)

    def test_the_text_of_a_whisper_is_checked(self) -> None:
        for text in ["", " ", "\x1b[2J", "x" * 4097, "a\nb"]:
            for between in (": ", " "):
                self.assertTrue(self.refused(f"Bob{between}{text}"), text)
        self.assertEqual(self.addressed("Bob: " + "x" * 4096), ("Bob", "x" * 4096))


class GuestTests(TestCase):
    """Files that members and guests share, and the names and texts of guests."""

    def setUp(self) -> None:
        self.rules, (self.alice, _) = rules_of("Alice", "Bob")

    def refused(self, command: Share | SayAsGuest) -> str:
        with self.assertRaises(IllegalMessage) as raised:
            if isinstance(command, SayAsGuest):
                self.rules.say_as_guest("10.0.0.9", command, NOW)
            else:
                self.rules.share("10.0.0.9", command, NOW)
        return str(raised.exception)

    def test_members_and_guests_may_share(self) -> None:
        self.assertEqual(
            self.rules.share("10.0.0.9", Share("x.txt", 5, member=1, guest="whoever"), NOW),
            Shared(1, "Alice", "", "x.txt", 5, NOW),
        )
        self.assertEqual(
            self.rules.share("10.0.0.9", Share("e\u0301", 0, guest=" Door "), NOW),
            Shared(0, "Door", "door", "é", 0, NOW),
        )
        self.assertEqual(
            self.rules.say_as_guest("10.0.0.9", SayAsGuest("Door", "ding"), NOW), GuestSaid("Door", "door", "ding", NOW)
        )

    def test_only_a_present_member_may_share(self) -> None:
        self.assertIn("no longer", self.refused(Share("x", 1, member=3)))
        self.rules.may_share("10.0.0.9", 1, "", NOW)
        self.assertRaises(IllegalMessage, self.rules.may_share, "10.0.0.9", 3, "Door", NOW)

    def test_a_guest_needs_a_legal_name_that_is_free(self) -> None:
        for name, word in [("alice", "Alice is in use"), ("", "empty"), ("a:b", "no :"), ("x shared y", "taken for")]:
            self.assertIn(word, self.refused(SayAsGuest(name, "hi")))
            self.assertIn(word, self.refused(Share("x", 1, guest=name)))
            with self.assertRaises(IllegalMessage):
                self.rules.may_share("10.0.0.9", 0, name, NOW)
        self.rules.may_share("10.0.0.9", 0, "Door", NOW)

    def test_a_file_needs_a_legal_name_and_a_possible_size(self) -> None:
        for file, size in [("", 1), ("a: b", 1), ("a/b", 1), ("a\nb", 1), ("x" * 256, 1), ("x", -1), ("x", 2**63)]:
            self.assertTrue(self.refused(Share(file, size, member=1)), (file, size))
        self.rules.share("10.0.0.9", Share("x" * 255, 2**63 - 1, member=1), NOW)

    def test_the_text_of_a_guest_is_checked(self) -> None:
        for text in ["", " ", "\x1b[2J", "x" * 4097, "a\nb"]:
            self.assertTrue(self.refused(SayAsGuest("Door", text)))

    def test_guests_of_a_host_share_its_tokens(self) -> None:
        for _ in range(BURST):
            self.rules.share("10.0.0.9", Share("x", 1, member=1), NOW)
        for share in (self.rules.share, lambda host, *_: self.rules.may_share(host, 1, "", NOW)):
            self.assertRaises(NotNow, share, "10.0.0.9", Share("x", 1, member=1), NOW)
        for _ in range(BURST // 2):
            self.rules.share("10.0.0.9", Share("x", 1, guest="Door"), NOW)
            self.rules.say_as_guest("10.0.0.9", SayAsGuest("Door", "ding"), NOW)
        self.assertRaises(NotNow, self.rules.say_as_guest, "10.0.0.9", SayAsGuest("Cam", "x"), NOW)
        self.assertRaises(NotNow, self.rules.may_share, "10.0.0.9", 0, "Cam", NOW)
        self.rules.say_as_guest("10.0.0.8", SayAsGuest("Cam", "x"), NOW)
        self.rules.pace.check_join("10.0.0.9", NOW)
