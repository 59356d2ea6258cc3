"""The fold of events into members, cursors and lines, events that lost a race, and the lines that are kept."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

import groupchat.core.history as history_module
from groupchat.core.events import Event, GuestSaid, Joined, Left, Renamed, Said, Seen, Shared, Whispered
from groupchat.core.group import Group, Waiting
from groupchat.core.ids import WINDOW

ALICE, BOB, EVE = 11, 22, 33
NAMES = {ALICE: "Alice", BOB: "Bob", EVE: "Eve"}


def joined(member: int, name: str, port: int | None = None, at: float = 0.0, secret: str | None = None) -> Joined:
    return Joined(member, name, name.lower(), at, "127.0.0.1", port, secret)


def said(member: int, name: str, text: str, at: float = 0.0, client_id: int = 0) -> Said:
    return Said(member, name, text, at, client_id)


def whispered(member: int, reader: int, text: str, client_id: int = 0) -> Whispered:
    return Whispered(member, NAMES[member], reader, NAMES[reader], text, 0.0, client_id)


def everybody() -> list[Event]:
    """Return the joins of all three, which become lines 1, 2 and 3."""
    return [joined(member, name) for member, name in NAMES.items()]


def group_of(*events: Event, keep: int = 1000) -> Group:
    group = Group(keep)
    for event in events:
        group.apply(event)
    return group


def give(group: Group, member: int, limit: int = 65_507) -> str:
    """Poll for a member: return what waits, and move the cursor."""
    lines, cursor, skipped = waiting(group, member, limit)
    group.advance(group.members[member], cursor, skipped)
    return lines.decode()


def waiting(group: Group, member: int, limit: int) -> Waiting:
    at = group.members[member]
    return group.waiting(at, at.cursor, at.skipped, limit)


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
        self.assertIsNone(group.apply(Seen(0.0, ((BOB, 4, 1, 0, 1),))))
        self.assertEqual(group.apply(said(BOB, "Bob", "again")), 5)

    def test_the_loser_of_a_race_changes_nothing(self) -> None:
        group = group_of(joined(ALICE, "Alice", 1), joined(BOB, "Bob", 2))
        races: list[Event] = [
            joined(EVE, "alice", 3),  # a name in use
            joined(EVE, "Eve", 2),  # an address in use
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

    def test_a_member_that_leaves_leaves_no_state_behind(self) -> None:
        group = group_of(joined(ALICE, "Alice", 1), joined(BOB, "Bob", 2), Left(BOB, "Bob", 0.0))
        self.assertEqual((len(group.members), len(group.by_key), len(group.by_address)), (1, 1, 1))
        self.assertEqual(group.per_host, {"127.0.0.1": 1})
        group.apply(Left(ALICE, "Alice", 0.0))
        self.assertFalse(group.members or group.by_key or group.by_address or group.per_host)

    def test_members_without_an_address_differ_by_name_and_secret(self) -> None:
        group = group_of(joined(ALICE, "Alice", secret="key"), joined(BOB, "Bob"))
        self.assertIsNone(group.apply(joined(EVE, "Eve", secret="key")))
        self.assertEqual(group.apply(joined(EVE, "Eve")), 3)
        self.assertEqual((group.by_secret, group.by_address), ({"key": group.members[ALICE]}, {}))
        self.assertEqual(group.per_host, {"127.0.0.1": 3})
        for member in (ALICE, BOB, EVE):
            group.apply(Left(member, NAMES[member], 0.0))
        self.assertFalse(group.members or group.by_key or group.by_secret or group.per_host)
        self.assertEqual(group.apply(joined(BOB, "Bob", secret="key")), 7)

    def test_the_time_of_a_join_is_kept(self) -> None:
        group = group_of(joined(ALICE, "Alice", at=5.0), joined(BOB, "Bob", at=6.0), said(BOB, "Bob", "hi", 7.0))
        self.assertEqual(
            [(m.joined, m.since, m.logged) for m in group.members.values()], [(1, 5.0, 5.0), (2, 6.0, 7.0)]
        )


class GuestTests(TestCase):
    """Files that members and guests share, and what guests say."""

    def test_a_shared_file_is_hidden_to_its_author_like_a_text(self) -> None:
        group = group_of(*everybody())
        self.assertEqual(group.apply(Shared(BOB, "Bob", "", "x.txt", 5, 9.0)), 4)
        self.assertEqual(group.apply(said(BOB, "Bob", "see?")), 5)
        self.assertEqual((group.members[BOB].own, group.members[EVE].own), (2, 0))
        self.assertEqual(give(group, BOB), "Eve has joined")
        self.assertEqual(give(group, EVE), "Bob shared x.txt (5 B)\nBob: see?")
        self.assertEqual(group.apply(Shared(BOB, "Bob", "", "x.txt", 5, 10.0)), 6)
        self.assertEqual(group.members[BOB].logged, 10.0)
        self.assertEqual((group.behind(group.members[BOB]), group.behind(group.members[EVE])), (0, 1))

    def test_all_members_see_the_lines_of_a_guest(self) -> None:
        group = group_of(*everybody())
        for member in group.members:
            give(group, member)
        self.assertEqual(group.apply(GuestSaid("Door", "door", "ding", 1.0)), 4)
        self.assertEqual(group.apply(Shared(0, "Cam", "cam", "x.jpg", 5, 1.0)), 5)
        self.assertEqual((group.whispered, {m.own for m in group.members.values()}), (0, {0}))
        self.assertEqual((list(group.members), group.per_host), ([ALICE, BOB, EVE], {"127.0.0.1": 3}))
        for member in (ALICE, BOB, EVE):
            self.assertEqual(group.behind(group.members[member]), 2)
            self.assertEqual(give(group, member), "Door: ding\nCam shared x.jpg (5 B)")
        self.assertEqual(
            [line for _, line in group.history.last(2, 0, 100)], [b"Door: ding", b"Cam shared x.jpg (5 B)"]
        )

    def test_a_guest_cannot_have_the_name_of_a_member(self) -> None:
        group = group_of(*everybody())
        refused: list[Event] = [
            GuestSaid("ALICE", "alice", "I am not", 0.0),
            Shared(0, "Bob", "bob", "x", 1, 0.0),
            Shared(BOB, "Rob", "", "x", 1, 0.0),
            Shared(44, "Zoe", "", "x", 1, 0.0),
        ]
        for event in refused:
            self.assertIsNone(group.apply(event), event)
        self.assertEqual((group.history.head, group.members[BOB].own), (3, 0))
        group.apply(Left(ALICE, "Alice", 0.0))
        self.assertEqual(group.apply(GuestSaid("ALICE", "alice", "back as a guest", 0.0)), 5)
        self.assertEqual(group.apply(joined(44, "Alice")), 6)

    def test_a_resumed_session_is_given_the_lines_of_guests(self) -> None:
        group = group_of(*everybody(), GuestSaid("Door", "door", "ding", 0.0), said(BOB, "Bob", "hi"))
        runs, cursor, _ = group.runs(group.members[BOB], *group.place(group.members[BOB], 3), 1000)
        self.assertEqual((runs, cursor), ([(4, b"Door: ding")], 5))


class ClientIdTests(TestCase):
    """Commands that take effect once for each id of a client, even if two nodes store them."""

    def test_an_id_that_was_used_is_refused_for_any_command(self) -> None:
        group = group_of(joined(ALICE, "Alice"), joined(BOB, "Bob"))
        first: list[Event] = [
            said(BOB, "Bob", "one", client_id=1),
            whispered(BOB, ALICE, "two", 2),
            Renamed(BOB, "Bob", "Rob", "rob", 0.0, 3),
            Renamed(BOB, "Rob", "Bob", "bob", 0.0, 4),
        ]
        self.assertEqual([group.apply(event) for event in first], [3, 4, 5, 6])
        again: list[Event] = [
            *first,
            Renamed(BOB, "Bob", "Robert", "robert", 0.0, 1),
            said(BOB, "Bob", "another text", client_id=3),
            whispered(BOB, ALICE, "psst", 4),
        ]
        for event in again:
            self.assertIsNone(group.apply(event), event)
        self.assertEqual((group.history.head, group.members[BOB].name), (6, "Bob"))
        self.assertEqual(group.behind(group.members[ALICE]), 5)

    def test_each_member_has_ids_of_its_own(self) -> None:
        group = group_of(joined(ALICE, "Alice"), joined(BOB, "Bob"))
        self.assertEqual(group.apply(said(ALICE, "Alice", "x", client_id=1)), 3)
        self.assertEqual(group.apply(said(BOB, "Bob", "x", client_id=1)), 4)
        self.assertEqual([group.apply(said(BOB, "Bob", "x")) for _ in range(2)], [5, 6])

    def test_a_refused_event_uses_no_id(self) -> None:
        group = group_of(joined(ALICE, "Alice"), joined(BOB, "Bob"))
        refused: list[Event] = [
            said(BOB, "Rob", "x", client_id=1),
            whispered(BOB, EVE, "x", 1),
            whispered(BOB, BOB, "x", 1),
            Renamed(BOB, "Bob", "ALICE", "alice", 0.0, 1),
            Renamed(BOB, "Bob", "Bob", "bob", 0.0, 1),
        ]
        for event in refused:
            self.assertIsNone(group.apply(event), event)
        self.assertEqual(group.apply(said(BOB, "Bob", "x", client_id=1)), 3)

    def test_an_id_that_is_too_old_is_refused(self) -> None:
        group = group_of(joined(BOB, "Bob"), said(BOB, "Bob", "x", client_id=WINDOW + 1))
        self.assertIsNone(group.apply(said(BOB, "Bob", "x", client_id=1)))
        self.assertEqual(group.apply(said(BOB, "Bob", "x", client_id=2)), 3)


class WhisperTests(TestCase):
    def test_only_its_reader_is_given_a_whisper(self) -> None:
        group = group_of(*everybody())
        for member in NAMES:
            give(group, member)
        self.assertEqual(group.apply(whispered(ALICE, BOB, "psst")), 4)
        self.assertEqual([group.behind(group.members[member]) for member in NAMES], [0, 1, 0])
        self.assertEqual([give(group, member) for member in NAMES], ["", "Alice (private): psst", ""])
        self.assertEqual([group.members[member].cursor for member in NAMES], [4, 4, 4])

    def test_a_whisper_keeps_its_place_among_the_lines(self) -> None:
        group = group_of(
            *everybody(),
            said(ALICE, "Alice", "1"),
            whispered(ALICE, BOB, "2"),
            said(EVE, "Eve", "3"),
            whispered(BOB, ALICE, "4"),
            whispered(EVE, BOB, "5"),
        )
        self.assertEqual(give(group, ALICE), "Bob has joined\nEve has joined\nEve: 3\nBob (private): 4")
        self.assertEqual(give(group, BOB), "Eve has joined\nAlice: 1\nAlice (private): 2\nEve: 3\nEve (private): 5")
        self.assertEqual(give(group, EVE), "Alice: 1")
        self.assertEqual([give(group, member) for member in NAMES], [""] * 3)

    def test_the_loser_of_a_race_changes_nothing(self) -> None:
        group = group_of(*everybody(), Left(EVE, "Eve", 0.0))
        for member in (ALICE, BOB):
            give(group, member)
        races = [
            whispered(ALICE, EVE, "you have left"),
            whispered(EVE, ALICE, "I have left"),
            whispered(ALICE, ALICE, "I am you"),
            Whispered(ALICE, "Al", BOB, "Bob", "I am not Al", 0.0),
        ]
        for refused in races:
            self.assertIsNone(group.apply(refused), refused)
        self.assertEqual((group.whispered, group.history.head), (0, 4))
        self.assertEqual([group.behind(group.members[member]) for member in (ALICE, BOB)], [0, 0])

    def test_a_whisper_reaches_a_reader_that_was_renamed(self) -> None:
        group = group_of(*everybody(), Renamed(BOB, "Bob", "Rob", "rob", 0.0), whispered(ALICE, BOB, "psst"))
        self.assertTrue(give(group, BOB).endswith("Alice (private): psst"))

    def test_a_new_member_is_given_no_older_whisper(self) -> None:
        group = group_of(joined(ALICE, "Alice"), joined(BOB, "Bob"), whispered(ALICE, BOB, "psst"), joined(EVE, "Eve"))
        self.assertEqual(group.behind(group.members[EVE]), 0)
        group.apply(said(BOB, "Bob", "hi"))
        self.assertEqual((group.behind(group.members[EVE]), give(group, EVE)), (1, "Bob: hi"))

    def test_an_old_name_gives_a_new_member_no_old_whisper(self) -> None:
        group = group_of(*everybody(), whispered(ALICE, EVE, "psst"), Left(EVE, "Eve", 0.0), joined(44, "Eve"))
        self.assertEqual(give(group, 44), "")
        self.assertTrue(give(group, ALICE).endswith("Eve has left the group\nEve has joined"))

    def test_a_gap_counts_only_lines_that_were_not_hidden(self) -> None:
        group = group_of(
            *everybody(),
            whispered(ALICE, BOB, "1"),
            whispered(ALICE, EVE, "2"),
            said(EVE, "Eve", "3"),
            whispered(BOB, ALICE, "4"),
            whispered(EVE, BOB, "5"),
            keep=2,
        )
        self.assertEqual(give(group, ALICE), "* 3 lines are no longer kept\nBob (private): 4")
        self.assertEqual(give(group, BOB), "* 3 lines are no longer kept\nEve (private): 5")
        self.assertEqual(give(group, EVE), "* 1 line is no longer kept")
        self.assertEqual([group.behind(group.members[member]) for member in NAMES], [0, 0, 0])

    def test_a_gap_of_hidden_whispers_is_not_told(self) -> None:
        group = group_of(*everybody(), *(whispered(ALICE, BOB, "psst") for _ in range(20)), keep=3)
        self.assertEqual(give(group, EVE), "")
        group.apply(said(BOB, "Bob", "hi"))
        self.assertEqual(give(group, EVE), "Bob: hi")

    def test_passing_a_hidden_whisper_is_not_recorded(self) -> None:
        group = group_of(*everybody())
        for member in NAMES:
            give(group, member)
        group.moved.clear()
        group.apply(whispered(ALICE, BOB, "psst"))
        self.assertEqual((give(group, ALICE), give(group, EVE), group.moved), ("", "", set()))
        give(group, BOB)
        self.assertEqual(group.moved, {group.members[BOB]})

    def test_a_record_of_cursors_brings_no_whisper_back(self) -> None:
        events = [
            *everybody(),
            whispered(ALICE, BOB, "1"),
            whispered(BOB, ALICE, "2"),
            said(EVE, "Eve", "3"),
            whispered(EVE, BOB, "4"),
            whispered(ALICE, EVE, "5"),
        ]
        one = group_of(*events[:5])
        for member in NAMES:
            give(one, member)
        places = tuple([(m.id, m.cursor, m.skipped, 0, 1) for m in one.members.values()])
        other = group_of(*events)
        other.apply(Seen(0.0, places))
        for event in events[5:]:
            one.apply(event)
        for member, lines in [(ALICE, "Eve: 3"), (BOB, "Eve: 3\nEve (private): 4"), (EVE, "Alice (private): 5")]:
            self.assertEqual((give(one, member), give(other, member)), (lines, lines))


class PlaceTests(TestCase):
    """Places of members after a line that their connections name."""

    def setUp(self) -> None:
        self.group = group_of(
            *everybody(),
            said(ALICE, "Alice", "4"),
            said(BOB, "Bob", "5"),
            whispered(BOB, EVE, "6"),
            whispered(EVE, ALICE, "7"),
            said(EVE, "Eve", "8"),
            said(ALICE, "Alice", "9"),
        )

    def after(self, member: int, number: int, group: Group | None = None) -> list[tuple[int, str]]:
        """Return what a member is given after a line, with the numbers."""
        group = group or self.group
        place = group.place(group.members[member], number)
        runs, cursor, skipped = group.runs(group.members[member], *place, 1 << 20)
        self.assertEqual((cursor, group.hidden(group.members[member], skipped)), (group.history.head, 0))
        return [
            (first + index if first else 0, line.decode())
            for first, lines in runs
            for index, line in enumerate(bytes(lines).split(b"\n"))
        ]

    def test_a_place_gives_all_lines_after_it(self) -> None:
        alice = [(2, "Bob has joined"), (3, "Eve has joined"), (5, "Bob: 5"), (7, "Eve (private): 7"), (8, "Eve: 8")]
        for number in range(1, 10):
            self.assertEqual(self.after(ALICE, number), [line for line in alice if line[0] > number], number)
        self.assertEqual(self.after(EVE, 3), [(4, "Alice: 4"), (5, "Bob: 5"), (6, "Bob (private): 6"), (9, "Alice: 9")])
        self.assertEqual(self.after(BOB, 5), [(8, "Eve: 8"), (9, "Alice: 9")])

    def test_a_place_does_not_depend_on_the_cursor(self) -> None:
        give(self.group, ALICE)
        self.assertEqual(self.after(ALICE, 5), [(7, "Eve (private): 7"), (8, "Eve: 8")])
        self.assertEqual(self.group.members[ALICE].cursor, 9)

    def test_a_place_is_not_after_the_last_line(self) -> None:
        self.assertEqual(self.group.place(self.group.members[BOB], 1000), self.group.place(self.group.members[BOB], 9))
        self.assertEqual(self.after(BOB, 1000), [])

    def test_lines_no_longer_kept_count_as_not_hidden(self) -> None:
        group = group_of(*everybody(), *(said(ALICE, "Alice", str(number)) for number in range(4, 20)), keep=3)
        gap = (0, "* 13 lines are no longer kept")
        self.assertEqual(self.after(BOB, 3, group), [gap, *((number, f"Alice: {number}") for number in (17, 18, 19))])
        self.assertEqual(self.after(ALICE, 3, group), [gap])
        self.assertEqual(self.after(ALICE, 16, group), [])


class SeenTests(TestCase):
    def test_a_record_moves_cursors_forward_only(self) -> None:
        group = group_of(joined(ALICE, "Alice"), joined(BOB, "Bob"), said(BOB, "Bob", "1"), said(BOB, "Bob", "2"))
        group.apply(Seen(0.0, ((ALICE, 3, 0, 7, 2), (EVE, 9, 0, 9, 1))))
        self.assertEqual(group.members[ALICE].logged, 7 * 60)
        self.assertEqual(give(group, ALICE), "Bob: 2")
        group.apply(Seen(0.0, ((ALICE, 2, 0, 1, 1),)))
        self.assertEqual(group.members[ALICE].logged, 7 * 60)
        self.assertEqual(give(group, ALICE), "")

    def test_a_record_does_not_bring_own_lines_back(self) -> None:
        group = group_of(
            joined(ALICE, "Alice"),
            joined(BOB, "Bob"),
            said(ALICE, "Alice", "mine"),
            said(BOB, "Bob", "1"),
            said(ALICE, "Alice", "mine"),
            said(BOB, "Bob", "2"),
        )
        group.apply(Seen(0.0, ((ALICE, 3, 1, 0, 1),)))
        self.assertEqual(group.behind(group.members[ALICE]), 2)
        self.assertEqual(give(group, ALICE), "Bob: 1\nBob: 2")


class WaitingTests(TestCase):
    def conversation(self, keep: int = 1000) -> Group:
        return group_of(
            joined(ALICE, "Alice"),
            joined(BOB, "Bob"),
            *(said(*who, str(n)) for n, who in enumerate([(BOB, "Bob"), (ALICE, "Alice")] * 3)),
            keep=keep,
        )

    def test_own_lines_and_those_before_the_join_are_not_given(self) -> None:
        group = self.conversation()
        self.assertEqual(give(group, ALICE), "Bob has joined\nBob: 0\nBob: 2\nBob: 4")
        self.assertEqual(give(group, BOB), "Alice: 1\nAlice: 3\nAlice: 5")
        self.assertEqual((give(group, ALICE), give(group, BOB)), ("", ""))

    def test_only_whole_lines_that_fit_are_given(self) -> None:
        group = self.conversation()
        self.assertEqual(give(group, ALICE, 14 + 1 + 6), "Bob has joined\nBob: 0")
        self.assertEqual(give(group, ALICE, 12), "Bob: 2")
        self.assertEqual(give(group, ALICE, 13), "Bob: 4")

    def test_a_line_longer_than_the_limit_goes_alone(self) -> None:
        group = self.conversation()
        self.assertEqual(
            [give(group, ALICE, 1) for _ in range(5)], ["Bob has joined", "Bob: 0", "Bob: 2", "Bob: 4", ""]
        )

    def test_a_gap_does_not_count_own_lines(self) -> None:
        group = self.conversation(keep=2)  # Bob: 4 and Alice: 5
        self.assertEqual(give(group, ALICE), "* 3 lines are no longer kept\nBob: 4")
        self.assertEqual(give(group, BOB), "* 2 lines are no longer kept\nAlice: 5")
        self.assertEqual((give(group, ALICE), give(group, BOB)), ("", ""))

    def test_a_gap_of_one_line(self) -> None:
        group = group_of(joined(ALICE, "Alice"), joined(BOB, "Bob"), said(BOB, "Bob", "x"), keep=1)
        self.assertEqual(give(group, ALICE), "* 1 line is no longer kept\nBob: x")

    def test_a_gap_of_own_lines_is_not_told(self) -> None:
        group = group_of(joined(ALICE, "Alice"), joined(BOB, "Bob"), *(said(BOB, "Bob", "x") for _ in range(9)), keep=3)
        self.assertEqual(give(group, BOB), "")
        group.apply(said(ALICE, "Alice", "y"))
        self.assertEqual(give(group, BOB), "Alice: y")

    def test_a_gap_that_fits_alone_goes_alone(self) -> None:
        group = self.conversation(keep=2)
        self.assertEqual([give(group, ALICE, 30) for _ in range(3)], ["* 3 lines are no longer kept", "Bob: 4", ""])

    def test_waiting_does_not_move_the_cursor(self) -> None:
        group = self.conversation()
        self.assertEqual(waiting(group, ALICE, 100), waiting(group, ALICE, 100))

    def test_advance_notes_members_that_were_given_a_line(self) -> None:
        group = group_of(joined(ALICE, "Alice"), joined(BOB, "Bob"))
        for event, member, is_given in [
            (said(BOB, "Bob", "x"), ALICE, True),
            (said(ALICE, "Alice", "own"), ALICE, False),
            (said(ALICE, "Alice", "own"), BOB, True),
        ]:
            group.apply(event)
            _lines, cursor, number = waiting(group, member, 1000)
            group.moved.clear()
            group.advance(group.members[member], cursor, number)
            self.assertEqual(group.moved == {group.members[member]}, is_given)


class HistoryTests(TestCase):
    def test_lines_no_longer_kept_are_freed(self) -> None:
        self.patch(history_module, "BLOCK", 1_000)
        group = group_of(joined(ALICE, "Alice"), joined(BOB, "Bob"), keep=100)
        for number in range(10_000):
            group.apply(said(BOB, "Bob", f"{number:06}"))
        history = group.history
        self.assertLess(len(history._text) + sum(map(len, history._blocks)), 1_500 * len("Bob: 000000\n"))
        self.assertEqual(len(group.history._authors), len(group.history._bounds) - 1)
        lines = give(group, ALICE).split("\n")
        self.assertEqual(lines[0], "* 9901 lines are no longer kept")
        self.assertEqual(lines[1:], [f"Bob: {number:06}" for number in range(9_900, 10_000)])

    def test_lines_are_forgotten_by_age_if_a_clock_is_set_back(self) -> None:
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

    def conversation(self, keep: int = 1000) -> Group:
        """Return a group with three joins, and then three whispers among texts."""
        return group_of(
            *everybody(),
            whispered(ALICE, BOB, "4"),
            said(ALICE, "Alice", "5"),
            whispered(EVE, ALICE, "6"),
            said(BOB, "Bob", "7"),
            whispered(BOB, EVE, "8"),
            keep=keep,
        )

    def last(self, group: Group, count: int, reader: int, limit: int = 1000) -> list[str]:
        found = group.history.last(count, reader, limit)
        for number, line in found:
            self.assertTrue(line.endswith((b"joined", b"%d" % number)), (number, line))
        return [bytes(line).decode() for _, line in found]

    def test_a_whisper_is_for_its_author_and_its_reader(self) -> None:
        history = self.conversation().history
        found = {
            reader: [number for run in history.withheld(reader).shown(0, 8) for number in run] for reader in (0, *NAMES)
        }
        self.assertEqual(
            found,
            {0: [1, 2, 3, 5, 7], ALICE: [1, 2, 3, 4, 5, 6, 7], BOB: [1, 2, 3, 4, 5, 7, 8], EVE: [1, 2, 3, 5, 6, 7, 8]},
        )

    def test_the_last_lines_leave_out_withheld_whispers(self) -> None:
        group = self.conversation()
        self.assertEqual(self.last(group, 3, 0), ["Eve has joined", "Alice: 5", "Bob: 7"])
        self.assertEqual(self.last(group, 3, ALICE), ["Alice: 5", "Eve (private): 6", "Bob: 7"])
        self.assertEqual(self.last(group, 3, BOB), ["Alice: 5", "Bob: 7", "Bob (private): 8"])
        self.assertEqual(self.last(group, 0, BOB), [])
        self.assertEqual(len(self.last(group, 100, BOB)), 7)

    def test_the_last_lines_are_kept_ones_that_fit(self) -> None:
        group = self.conversation(keep=4)
        self.assertEqual(self.last(group, 100, EVE), ["Alice: 5", "Eve (private): 6", "Bob: 7", "Bob (private): 8"])
        self.assertEqual(self.last(group, 100, 0), ["Alice: 5", "Bob: 7"])
        self.assertEqual(self.last(group, 100, 0, limit=len("Bob: 7\nAlice: 5\n")), ["Alice: 5", "Bob: 7"])
        self.assertEqual(self.last(group, 100, 0, limit=len("Bob: 7\nAlice: 5\n") - 1), ["Bob: 7"])
        self.assertEqual(self.last(group, 100, 0, limit=5), [])
        self.assertEqual(Group(5).history.last(5, 0, 1000), [])

    def test_whispers_are_forgotten_with_their_lines(self) -> None:
        group = group_of(*everybody(), keep=100)
        for number in range(10_000):
            group.apply(whispered(ALICE, BOB, "psst") if number % 2 else said(ALICE, "Alice", "hi"))
        history = group.history
        index = history._visibility
        for found in (index.whispers, index.readers, index.own[ALICE], *index.readable.values()):
            self.assertLess(len(found), 1200)
        self.assertEqual(set(index.own), {ALICE})  # the lines of the joins are gone
        self.assertEqual(give(group, EVE).split("\n"), ["* 4950 lines are no longer kept", *["Alice: hi"] * 50])
        self.assertEqual(len(give(group, BOB).split("\n")), 101)
