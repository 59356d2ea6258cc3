"""The fold: who is a member, what each event becomes, and what a race leaves of it. And the lines that are kept."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from groupchat.events import Event, Joined, Left, Renamed, Said, Seen
from groupchat.group import Group, Member

ALICE, BOB, EVE = 11, 22, 33


def joined(member: int, name: str, port: int | None = None, at: float = 0.0) -> Joined:
    return Joined(member, name, name.lower(), at, None if port is None else ("127.0.0.1", port))


def said(member: int, name: str, text: str, at: float = 0.0) -> Said:
    return Said(member, name, text, at)


def group_of(*events: Event, keep: int = 1000) -> Group:
    group = Group(keep)
    for event in events:
        group.apply(event)
    return group


def give(group: Group, member: int, limit: int = 65_507) -> str:
    """What a poll gives a member, whose cursor moves."""
    lines, cursor, own = group.waiting(group.members[member], limit)
    group.advance(group.members[member], cursor, own)
    return lines.decode()


class FoldTests(TestCase):
    def test_events_are_numbered_one_each(self) -> None:
        group = Group(1000)
        events: list[Event] = [
            joined(ALICE, "Alice"),
            joined(BOB, "Bob"),
            said(BOB, "Bob", "hi"),
            Left(ALICE, "Alice", 0.0),
        ]
        self.assertEqual([group.apply(event) for event in events], [1, 2, 3, 4])
        self.assertIsNone(group.apply(Seen(0.0, ((BOB, 4, 1, 0),))))
        self.assertEqual(group.apply(said(BOB, "Bob", "again")), 5)

    def test_what_a_race_lost_changes_nothing(self) -> None:
        group = group_of(joined(ALICE, "Alice", 1), joined(BOB, "Bob", 2))
        races: list[Event] = [
            joined(EVE, "alice", 3),  # a name in use
            joined(EVE, "Eve", 2),  # an address that is somebody already
            joined(BOB, "Eve", 3),
            Renamed(BOB, "Bob", "ALICE", "alice", 0.0),
            Renamed(BOB, "Bob", "Bob", "bob", 0.0),
            said(EVE, "Eve", "I am no member"),
            said(BOB, "Alice", "I am not Alice"),
            Left(BOB, "Rob", 0.0),
        ]
        for refused in races:
            self.assertIsNone(group.apply(refused), refused)
        self.assertEqual(group.history.head, 2)
        self.assertEqual([member.name for member in group.members.values()], ["Alice", "Bob"])
        self.assertEqual(give(group, ALICE), "Bob has joined")

    def test_a_rename_keeps_the_place_in_the_list_and_frees_the_name(self) -> None:
        group = group_of(joined(ALICE, "Alice"), joined(BOB, "Bob"), Renamed(ALICE, "Alice", "Al", "al", 0.0))
        self.assertEqual(list(group.names(but=group.members[BOB])), ["Al"])
        self.assertEqual(group.apply(joined(EVE, "Alice")), 4)
        self.assertEqual(list(group.names(but=group.members[EVE])), ["Bob", "Al"])
        self.assertEqual(give(group, BOB), "Alice changed his name to Al\nAlice has joined")

    def test_a_rename_may_change_only_the_case(self) -> None:
        group = group_of(joined(ALICE, "Alice"))
        self.assertEqual(group.apply(Renamed(ALICE, "Alice", "ALICE", "alice", 0.0)), 2)
        self.assertIs(group.by_key["alice"], group.members[ALICE])

    def test_who_left_leaves_nothing_behind(self) -> None:
        group = group_of(joined(ALICE, "Alice", 1), joined(BOB, "Bob", 2), Left(BOB, "Bob", 0.0))
        self.assertEqual((len(group.members), len(group.by_key), len(group.by_address)), (1, 1, 1))
        self.assertEqual(group.per_host, {"127.0.0.1": 1})
        group.apply(Left(ALICE, "Alice", 0.0))
        self.assertFalse(group.members or group.by_key or group.by_address or group.per_host)


class SeenTests(TestCase):
    def test_it_moves_cursors_forward_only(self) -> None:
        group = group_of(joined(ALICE, "Alice"), joined(BOB, "Bob"), said(BOB, "Bob", "1"), said(BOB, "Bob", "2"))
        group.apply(Seen(0.0, ((ALICE, 3, 0, 7), (EVE, 9, 0, 9))))
        self.assertEqual(group.members[ALICE].logged, 7 * 60)
        self.assertEqual(give(group, ALICE), "Bob: 2")
        group.apply(Seen(0.0, ((ALICE, 2, 0, 1),)))
        self.assertEqual(group.members[ALICE].logged, 7 * 60)
        self.assertEqual(give(group, ALICE), "")

    def test_it_does_not_bring_ones_own_lines_back(self) -> None:
        group = group_of(
            joined(ALICE, "Alice"),
            joined(BOB, "Bob"),
            said(ALICE, "Alice", "mine"),
            said(BOB, "Bob", "1"),
            said(ALICE, "Alice", "mine"),
            said(BOB, "Bob", "2"),
        )
        group.apply(Seen(0.0, ((ALICE, 3, 1, 0),)))
        self.assertEqual(group.members[ALICE].own, 1)
        self.assertEqual(give(group, ALICE), "Bob: 1\nBob: 2")


class WaitingTests(TestCase):
    def conversation(self, keep: int = 1000) -> Group:
        return group_of(
            joined(ALICE, "Alice"),
            joined(BOB, "Bob"),
            *(said(*who, str(n)) for n, who in enumerate([(BOB, "Bob"), (ALICE, "Alice")] * 3)),
            keep=keep,
        )

    def test_nobody_is_given_what_was_before_it_joined_or_its_own(self) -> None:
        group = self.conversation()
        self.assertEqual(give(group, ALICE), "Bob has joined\nBob: 0\nBob: 2\nBob: 4")
        self.assertEqual(give(group, BOB), "Alice: 1\nAlice: 3\nAlice: 5")
        self.assertEqual((give(group, ALICE), give(group, BOB)), ("", ""))

    def test_whole_lines_that_fit(self) -> None:
        group = self.conversation()
        self.assertEqual(give(group, ALICE, 14 + 1 + 6), "Bob has joined\nBob: 0")
        self.assertEqual(give(group, ALICE, 12), "Bob: 2")
        self.assertEqual(give(group, ALICE, 13), "Bob: 4")

    def test_a_line_that_fits_nowhere_goes_alone(self) -> None:
        group = self.conversation()
        self.assertEqual(
            [give(group, ALICE, 1) for _ in range(5)], ["Bob has joined", "Bob: 0", "Bob: 2", "Bob: 4", ""]
        )

    def test_a_gap_is_said_without_counting_ones_own(self) -> None:
        group = self.conversation(keep=2)  # Bob: 4 and Alice: 5
        self.assertEqual(give(group, ALICE), "* 3 lines are no longer kept\nBob: 4")
        self.assertEqual(give(group, BOB), "* 2 lines are no longer kept\nAlice: 5")
        self.assertEqual((give(group, ALICE), give(group, BOB)), ("", ""))

    def test_a_gap_of_one_line(self) -> None:
        group = group_of(joined(ALICE, "Alice"), joined(BOB, "Bob"), said(BOB, "Bob", "x"), keep=1)
        self.assertEqual(give(group, ALICE), "* 1 line is no longer kept\nBob: x")

    def test_a_gap_of_ones_own_lines_only_is_none(self) -> None:
        group = group_of(joined(ALICE, "Alice"), joined(BOB, "Bob"), *(said(BOB, "Bob", "x") for _ in range(9)), keep=3)
        self.assertEqual(give(group, BOB), "")
        group.apply(said(ALICE, "Alice", "y"))
        self.assertEqual(give(group, BOB), "Alice: y")

    def test_a_gap_that_fits_alone_goes_alone(self) -> None:
        group = self.conversation(keep=2)
        self.assertEqual([give(group, ALICE, 30) for _ in range(3)], ["* 3 lines are no longer kept", "Bob: 4", ""])

    def test_nothing_moves_until_it_is_said_to(self) -> None:
        group = self.conversation()
        alice: Member = group.members[ALICE]
        self.assertEqual(group.waiting(alice, 100), group.waiting(alice, 100))

    def test_advance_says_whether_a_line_was_passed(self) -> None:
        group = group_of(joined(ALICE, "Alice"), joined(BOB, "Bob"))
        for event, member, passed in [
            (said(BOB, "Bob", "x"), ALICE, True),
            (said(ALICE, "Alice", "own"), ALICE, False),
            (said(ALICE, "Alice", "own"), BOB, True),
        ]:
            group.apply(event)
            _lines, cursor, own = group.waiting(group.members[member], 1000)
            group.moved.clear()
            group.advance(group.members[member], cursor, own)
            self.assertEqual(group.moved == {group.members[member]}, passed)


class HistoryTests(TestCase):
    def test_what_is_not_kept_is_let_go_of(self) -> None:
        group = group_of(joined(ALICE, "Alice"), joined(BOB, "Bob"), keep=100)
        for number in range(10_000):
            group.apply(said(BOB, "Bob", f"{number:06}"))
        self.assertLess(len(group.history._text), 1_300 * len("Bob: 000000\n"))
        self.assertEqual(len(group.history._authors), len(group.history._bounds) - 1)
        lines = give(group, ALICE).split("\n")
        self.assertEqual(lines[0], "* 9901 lines are no longer kept")
        self.assertEqual(lines[1:], [f"Bob: {number:06}" for number in range(9_900, 10_000)])

    def test_lines_are_forgotten_by_age_whatever_the_clock_did(self) -> None:
        times = [10.0, 20.0, 5.0, 30.0, 40.0]
        group = group_of(joined(ALICE, "Alice"), joined(BOB, "Bob"), *(said(BOB, "Bob", str(at), at) for at in times))
        group.history.forget(before=30.0)
        self.assertEqual(give(group, ALICE), "* 4 lines are no longer kept\nBob: 30.0\nBob: 40.0")
        group.history.forget(before=20.0)
        group.apply(said(BOB, "Bob", "ahead", 100.0))
        for at in range(41, 46):
            group.apply(said(BOB, "Bob", "set back", at))
        group.history.forget(before=90.0)
        self.assertEqual(give(group, ALICE), "\n".join(["Bob: ahead", *["Bob: set back"] * 5]))
        group.history.forget(before=1000.0)
        self.assertEqual(give(group, ALICE), "")
        group.apply(said(BOB, "Bob", "new", 1.0))
        self.assertEqual(give(group, ALICE), "Bob: new")
