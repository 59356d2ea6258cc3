"""A group that is loaded from a snapshot equals the dumped one, and stays equal."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

from twisted.trial.unittest import TestCase

from groupchat.core.errors import CannotOpen
from groupchat.core.events import Event, GuestSaid, Joined, Left, Raised, Record, Renamed, Said, Seen, Shared, Whispered
from groupchat.core.group import Group, Member
from groupchat.core.history import History
from groupchat.log import Entry, Snapshot
from groupchat.service.snapshots import VERSION, Snapshots

FOLDED = [name for name in Member.__slots__ if name not in {"contact", "paced", "spent", "ids"}]
"""The attributes of a member that are part of the fold, without its ids."""


class Node:
    """A group and its snapshots."""

    def __init__(self, keep: int = 1000) -> None:
        self.group = Group(keep)
        self.snapshots = Snapshots(self.group)

    def fold(self, entry: Entry) -> list[int | None]:
        outcomes = []
        for event in self.snapshots.begin(entry):
            outcome = self.group.apply(event)
            if outcome is None and not isinstance(event, Record):
                self.snapshots.refused(entry, event)
            outcomes.append(outcome)
        return outcomes

    def saved(self) -> Snapshot:
        return Snapshot(self.snapshots.position, VERSION, self.snapshots.dump().state())

    def state(self) -> dict[str, object]:
        """Return the state of the fold, and what each member can see of it."""
        group, history = self.group, self.group.history
        everything = range(history.first, history.head + 1)
        return {
            "members": [
                [*(getattr(m, name) for name in FOLDED), m.ids and (m.ids.last, m.ids.mask)]
                for m in group.members.values()
            ],
            "skeletons": dict(group.skeletons),
            "by": (set(group.by_key), set(group.by_address), set(group.by_secret), dict(group.per_host)),
            "whispered": group.whispered,
            "raised": group.numbering.raises(),
            "kept": (history.first, history.head, history.first_entry(), self.snapshots.position),
            "lines": bytes(history.read(history.first - 1, history.head, 1 << 30)[0]),
            "waiting": [(group.behind(m), group.runs(m, m.cursor, m.skipped, 1 << 30)) for m in group.members.values()],
            "last": [history.last(len(everything), reader, 1 << 30) for reader in (0, *group.members)],
        }


class Entries:
    """Random entries, as several nodes in a race might store them: many events are refused."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.group = Group(5)  # folded along, so that not all events are refused
        self.position = 0

    def next(self) -> Entry:
        self.position += 1
        events: list[Event] = []
        for _ in range(self.dice.choice([1, 1, 1, 2, 5])):
            events.append(self.event())
            if self.dice.random() < 0.7:
                self.group.apply(events[-1])
        return Entry(self.position, f"e{self.position}", events)

    def event(self) -> Event:
        dice, at = self.dice, float(self.position)
        member, reader = self.somebody(), self.somebody()
        name = self.group.members[member].name if member in self.group.members else "Al"
        client_id = dice.choice([0, 0, 1, 2, 3, dice.randrange(1, 300)])
        new = dice.choice(["Al", "Bo", "Cy", "AL", "Zoë 🦊"])
        match dice.randrange(17):
            case 0 | 1:
                port = dice.choice([None, dice.randrange(1, 9)])
                secret = None if port or dice.random() < 0.3 else f"key{dice.randrange(5)}"
                return Joined(dice.getrandbits(63), new, new.lower(), at, f"host{dice.randrange(2)}", port, secret)
            case 2:
                return Renamed(member, name, new, new.lower(), at, client_id)
            case 3:
                return Left(member, name, at)
            case 4 | 5 | 6:
                return Whispered(member, name, reader, "somebody", f"psst {at}", at, client_id)
            case 7 | 8:
                return self.seen(at)
        guest = new, new.lower()
        others: list[Event] = [
            Said(member, name, f"at {at}", at, client_id),
            Shared(member, name, "", f"{at}.txt", 5, at),
            Shared(0, *guest, f"{at}.txt", 5, at),
            GuestSaid(*guest, f"at {at}", at),
            Raised(at, dice.choice([3, 1_000_000 * self.position])),
        ]
        return dice.choice([others[0], *others])

    def somebody(self) -> int:
        members = list(self.group.members)
        return self.dice.choice(members) if members and self.dice.random() < 0.95 else 1

    def seen(self, at: float) -> Seen:
        """Return the cursors of members that were just given some or all waiting lines."""
        places = []
        for m in self.group.members.values():
            _, cursor, skipped = self.group.waiting(m, m.cursor, m.skipped, self.dice.choice([1, 30, 1000]))
            places.append((m.id, cursor, skipped, int(at), self.dice.randrange(5)))
        return Seen(at, tuple(places))


class RoundTripTests(TestCase):
    def entries(self, seed: int, count: int) -> list[Entry]:
        made = Entries(seed)
        return [made.next() for _ in range(count)]

    def loaded(self, snapshot: Snapshot, entries: Sequence[Entry], keep: int) -> Node:
        """Return a node that starts from a snapshot on what is left of the log."""
        node = Node(keep)
        after = node.snapshots.load(snapshot)
        for entry in entries[after:]:
            if entry.position <= snapshot.position:
                # The log may delete the Seens of old entries.
                events = [event for event in entry.events if not isinstance(event, Seen)]
                node.fold(Entry(entry.position, entry.entry_id, events))
            else:
                node.fold(entry)
        node.snapshots.caught_up()
        return node

    def test_a_loaded_group_equals_the_dumped_one_from_then_on(self) -> None:
        self.patch(History, "least_surplus", 3)
        seen = {"refused": 0, "guests": 0, "whispered": 0, "ids": 0, "secrets": 0, "forgotten": 0}
        for seed in range(40):
            keep = random.Random(seed).choice([1, 7, 30, 1000])
            entries = self.entries(seed, 160)
            one = Node(keep)
            for entry in entries[:100]:
                one.fold(entry)
            snapshot = one.saved()
            two = self.loaded(snapshot, entries[:100], keep)
            self.assertEqual(two.state(), one.state(), f"seed {seed}")
            three = self.loaded(two.saved(), entries, keep)
            for entry in entries[100:]:
                self.assertEqual(two.fold(entry), one.fold(entry), f"seed {seed}")
            self.assertEqual(two.state(), one.state(), f"seed {seed}")
            self.assertEqual(three.state(), one.state(), f"seed {seed}")
            state = json.loads(snapshot.state)
            seen["refused"] += len(state["refused"])
            seen["guests"] += one.group.history._authors.count(0)
            seen["whispered"] += state["whispered"]
            seen["ids"] += sum(m.ids is not None for m in one.group.members.values())
            seen["secrets"] += len(one.group.by_secret)
            seen["forgotten"] += one.group.history.first > 1
        self.assertTrue(all(count > 10 for count in seen.values()), seen)

    def test_a_dump_in_slices_is_of_one_position(self) -> None:
        for seed in range(40):
            dice = random.Random(seed)
            one, whole = Node(dice.choice([1, 7, 1000])), Node()
            whole.group.history._keep = one.group.history._keep
            entries = self.entries(seed, 160)
            for entry in entries[:100]:
                one.fold(entry)
                whole.fold(entry)
            dump = one.snapshots.dump()
            for entry in entries[100:]:
                if dice.random() < 0.1:
                    dump.write(1)
                one.fold(entry)
                for m in one.group.members.values():
                    one.group.advance(m, *one.group.place(m, one.group.history.head))
            self.assertEqual(dump.position, 100)
            self.assertEqual(json.loads(dump.state()), json.loads(whole.snapshots.dump().state()), f"seed {seed}")

    def test_a_newer_snapshot_is_refused(self) -> None:
        with self.assertRaises(CannotOpen):
            Node().snapshots.load(Snapshot(1, VERSION + 1, b"{}"))

    def test_a_damaged_snapshot_is_refused_in_one_line(self) -> None:
        sound: dict[str, Any] = json.loads(FirstVersionTests.STATE)
        member = sound["members"][0]
        for state in [
            *(b"", b"{", b"\xff", b"7", b"null", b"[]", b"[" * 100_000),
            *(json.dumps({key: sound[key] for key in sound if key != left}).encode() for left in sound),
            *(json.dumps({**sound, "head": head}).encode() for head in (-1, 2**63, 1.5, "7", None)),
            *(json.dumps({**sound, "first": first}).encode() for first in (0, 7, "1")),
            *(json.dumps({**sound, "refused": refused}).encode() for refused in ([1], [[1]], [[1, None]], 1)),
            *(json.dumps({**sound, "members": them}).encode() for them in list[Any](([member, member], [[]], [7]))),
            *(
                json.dumps({**sound, "members": [[*member[:at], value, *member[at + 1 :]]]}).encode()
                for at in range(len(member))
                for value in list[Any](("\ud800" if at in (1, 2) else float("nan"), [1], 2**70))
            ),
        ]:
            with self.assertRaises(CannotOpen, msg=state) as caught:
                Node().snapshots.load(Snapshot(5, 1, state))
            self.assertNotIn("\n", str(caught.exception))

    def test_a_snapshot_before_its_own_lines_is_refused(self) -> None:
        state = FirstVersionTests.STATE.replace('"head":7', '"head":4')
        node = Node()
        node.snapshots.load(Snapshot(5, 1, state.encode()))
        for entry in FirstVersionTests.ENTRIES:
            node.fold(entry)
        with self.assertRaises(CannotOpen):
            node.snapshots.caught_up()


class FirstVersionTests(TestCase):
    """Snapshots of version 1: all had an address; `own` counted own lines after the cursor, `said` all own lines."""

    STATE = (
        '{"first":1,"head":7,"members":'
        '[[11,"Alice","alice",["127.0.0.1",4000],3,1,2,60.0],[22,"Zoë 🦊","zoë 🦊",["fe80::1%2",4001],7,0,1,120.5]],'
        '"refused":[[4,1]]}'
    )
    ENTRIES = (
        Entry(1, "e1", [Joined(11, "Alice", "alice", 1.0, "127.0.0.1", 4000)]),
        Entry(2, "e2", [Joined(22, "Zoë 🦊", "zoë 🦊", 2.0, "fe80::1%2", 4001)]),
        Entry(3, "e3", [Said(11, "Alice", "three", 3.0), Said(22, "Zoë 🦊", "four", 4.0)]),
        Entry(4, "e4", [Said(11, "Alice", "five", 5.0), Said(99, "Nobody", "refused", 5.0)]),
        Entry(5, "e5", [Joined(33, "Eve", "eve", 6.0, "::1", 4002), Left(33, "Eve", 7.0)]),
    )

    def loaded(self) -> Node:
        node = Node()
        self.assertEqual(node.snapshots.load(Snapshot(5, 1, self.STATE.encode())), 0)
        for entry in self.ENTRIES:
            self.assertEqual(node.fold(entry), [])
        node.snapshots.caught_up()
        return node

    def test_members_are_loaded_from_version_1(self) -> None:
        group = self.loaded().group
        alice, zoe = group.members.values()
        self.assertEqual((alice.name, alice.address, alice.host), ("Alice", ("127.0.0.1", 4000), "127.0.0.1"))
        self.assertEqual((zoe.name, zoe.address, zoe.host), ("Zoë 🦊", ("fe80::1%2", 4001), "fe80::1%2"))
        self.assertEqual([(m.logged, m.secret, m.ids) for m in (alice, zoe)], [(60.0, None, None), (120.5, None, None)])
        self.assertEqual(group.per_host, {"127.0.0.1": 1, "fe80::/64%2": 1})
        self.assertEqual((group.history.head, group.behind(alice), group.behind(zoe)), (7, 3, 0))
        lines, _, _ = group.waiting(alice, alice.cursor, alice.skipped, 1000)
        self.assertEqual(bytes(lines).decode(), "Zoë 🦊: four\nEve has joined\nEve has left the group")

    def test_a_group_from_version_1_goes_on(self) -> None:
        node = self.loaded()
        more: list[Event] = [
            Said(11, "Alice", "eight", 8.0, 1),
            Whispered(11, "Alice", 22, "Zoë 🦊", "nine", 9.0, 2),
            Said(11, "Alice", "eight", 8.0, 1),
            Whispered(22, "Zoë 🦊", 11, "Alice", "ten", 10.0),
            # A record as in version 1: Alice was given all up to line 6, with two lines of hers among them.
            Seen(11.0, ((11, 6, 2, 1, 0),)),
        ]
        self.assertEqual(node.fold(Entry(6, "e6", more)), [8, 9, None, 10, None])
        alice, zoe = node.group.members.values()
        for member, expected in [
            (alice, "Eve has left the group\nZoë 🦊 (private): ten"),
            (zoe, "Alice: eight\nAlice (private): nine"),
        ]:
            lines, _, _ = node.group.waiting(member, member.cursor, member.skipped, 1000)
            self.assertEqual(bytes(lines).decode(), expected)
        again = Node()
        again.snapshots.load(node.saved())
        for entry in [*self.ENTRIES, Entry(6, "e6", more)]:
            again.fold(entry)
        again.snapshots.caught_up()
        self.assertEqual(again.state(), node.state())
