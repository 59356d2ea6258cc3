"""Subscriptions to all lines, the member's own included: each visible line once, in whatever pieces."""

from __future__ import annotations

import random
from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from groupchat.core.commands import Say, Whisper
from groupchat.core.events import Joined, Said, Whispered
from groupchat.core.group import Group
from tests.connections import SessionTestCase
from tests.readers import Reader, may_read


def _numbers(lost: range, runs: Sequence[range]) -> bytes:
    return b"".join([b"%d\n" % number for run in ([lost] if lost else []) + list(runs) for number in run])


class SeenByTests(SynchronousTestCase):
    def test_seen_by_gives_all_visible_lines_in_any_pieces(self) -> None:
        chance = random.Random(11)
        for _ in range(60):
            group = self.group(chance, keep=chance.choice([20, 1000]))
            kept = range(group.history.first, group.history.head + 1)
            for member in group.members.values():
                cursor = chance.randrange(group.history.head + 1)
                wanted = [n for n in kept if n > cursor and may_read(group.history, member.id, n)]
                gap = range(cursor + 1, group.history.first)
                seen: list[int] = []
                while cursor < group.history.head:
                    limit, most = chance.randrange(1, 200), chance.randrange(1, 9)
                    lost, runs, after = group.seen_by(member, cursor, limit, most)
                    self.assertEqual(lost, gap)
                    self.assertGreater(after, cursor)
                    self.assertLessEqual(sum(map(len, runs)), most)
                    seen += [number for run in runs for number in run]
                    gap, cursor = range(after + 1, group.history.first), after
                self.assertEqual(seen, wanted)
                self.assertEqual(group.seen_by(member, cursor, 100, 5), (gap, [], cursor))

    def group(self, chance: random.Random, keep: int) -> Group:
        group = Group(keep)
        for who in range(1, 5):
            group.apply(Joined(who, f"M{who}", f"m{who}", 1.0, "h", None, f"{who}"))
        for _ in range(chance.randrange(80)):
            author, reader = chance.sample(range(1, 5), 2)
            if chance.random() < 0.4:
                group.apply(Whispered(author, f"M{author}", reader, f"M{reader}", "x" * chance.randrange(1, 60), 1.0))
            else:
                group.apply(Said(author, f"M{author}", "y" * chance.randrange(1, 60), 1.0))
        return group


class WatchTests(SessionTestCase):
    def test_a_member_watching_from_the_end_is_not_behind(self) -> None:
        alice, bob = self.connection("Alice", "aa" * 32), self.connection("Bob", "bb" * 32)
        alice.ask(Say("one"))
        self.settle()
        self.assertEqual(self.group.behind(bob.member), 1)
        self.node.service.subscriptions.watch(bob.member, self.group.history.head, Reader(), _numbers)
        self.settle()
        self.assertEqual(self.group.behind(bob.member), 0)

    def test_watching_moves_the_cursor_of_the_member(self) -> None:
        alice, bob = self.connection("Alice", "aa" * 32), self.connection("Bob", "bb" * 32)
        readers = [Reader(), Reader()]
        for reader in readers:
            self.node.service.subscriptions.watch(alice.member, self.group.history.head, reader, _numbers)
        alice.ask(Say("one"))
        bob.ask(Say("two"), Whisper("Alice: three"))
        self.settle()
        head = self.group.history.head
        for reader in readers:
            numbers = b"".join(reader.pieces).split()
            self.assertEqual(numbers, [b"%d" % number for number in range(head - 2, head + 1)])
        self.assertEqual((alice.member.cursor, self.group.behind(alice.member)), (head, 0))
        self.assertEqual(self.group.behind(bob.member), 1)
        self.assertEqual(self.group.place(alice.member, head), (alice.member.cursor, alice.member.skipped))
