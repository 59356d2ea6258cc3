"""The group compared with an oracle that keeps one mailbox per member, over random commands of several members."""

from __future__ import annotations

import os

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from twisted.trial.unittest import TestCase

from groupchat.core.events import GuestSaid, Joined, Left, Renamed, Said, Shared, Whispered
from groupchat.core.group import Group
from groupchat.core.history import History
from groupchat.core.notices import size_in_words

ANYBODY = st.integers(0, 4)
NAMES = st.sampled_from(["Al", "Bo", "AL", "Cy", "Dee", "Eve", "Frederic"])


class Oracle:
    """The obvious design: every line is copied into the mailbox of every member that is to see it."""

    def __init__(self, keep: int) -> None:
        self.keep = keep
        self.lines = 0
        self.names: dict[int, str] = {}
        self.boxes: dict[int, list[tuple[int, str]]] = {}
        self.given: dict[int, list[tuple[int, str]]] = {}  # nothing is removed from these

    def tell(self, author: int, line: str, reader: int | None = None) -> None:
        self.lines += 1
        for member, box in self.boxes.items():
            if member != author and reader in (None, member):
                box.append((self.lines, line))
                self.given[member].append((self.lines, line))

    def is_free(self, name: str, but: int) -> bool:
        return all(member == but or other.lower() != name.lower() for member, other in self.names.items())

    def give(self, member: int, limit: int) -> str:
        """Take the first lines that fit out of a mailbox. Those that are too old are counted instead."""
        box = self.boxes[member]
        old = [number for number, _ in box if number <= self.lines - self.keep]
        del box[: len(old)]
        given = []
        if old:
            given.append(f"* {len(old)} line{' is' if len(old) == 1 else 's are'} no longer kept")
        while box and (not given or len("\n".join([*given, box[0][1]]).encode()) <= limit):
            given.append(box.pop(0)[1])
        return "\n".join(given)


class Conversation(RuleBasedStateMachine):
    """Every rule does the same to both, and compares what they give byte for byte."""

    @initialize(keep=st.sampled_from([1, 2, 5, 1000]), surplus=st.sampled_from([0, 3]))
    def begin(self, keep: int, surplus: int) -> None:
        self.group = Group(keep)
        self.oracle = Oracle(keep)
        self.ids: dict[int, int] = {}
        self.count = 0
        # Free old lines at once: otherwise a thousand would have to be said first.
        self.surplus, History.least_surplus = History.least_surplus, surplus

    def teardown(self) -> None:
        if hasattr(self, "surplus"):
            History.least_surplus = self.surplus

    @rule(who=ANYBODY, name=NAMES)
    def join(self, who: int, name: str) -> None:
        self.count += 1
        allowed = who not in self.ids and self.oracle.is_free(name, but=-1)
        outcome = self.group.apply(Joined(self.count, name, name.lower(), 0.0, "10.0.0.1", who))
        assert (outcome is not None) == allowed
        if allowed:
            self.ids[who] = self.count
            others = list(self.group.names(but=self.group.members[self.count]))
            assert others == list(reversed(self.oracle.names.values()))
            self.oracle.tell(self.count, f"{name} has joined")
            self.oracle.names[self.count] = name
            self.oracle.boxes[self.count] = []
            self.oracle.given[self.count] = []

    @rule(who=ANYBODY, text=st.sampled_from(["a", "bb", "x" * 30, "é"]), times=st.integers(1, 3))
    def say(self, who: int, text: str, times: int) -> None:
        for _ in range(times):
            if who in self.ids:
                member = self.ids[who]
                name = self.oracle.names[member]
                self.oracle.tell(member, f"{name}: {text}")
                assert self.group.apply(Said(member, name, text, 0.0)) == self.oracle.lines
            else:
                assert self.group.apply(Said(0, "nobody", text, 0.0)) is None

    @rule(who=ANYBODY, size=st.sampled_from([0, 5, 2_100_000]))
    def share(self, who: int, size: int) -> None:
        member = self.ids.get(who)
        if member is not None:
            name = self.oracle.names[member]
            self.oracle.tell(member, f"{name} shared x ({size_in_words(size)})")
            assert self.group.apply(Shared(member, name, "", "x", size, 0.0)) == self.oracle.lines
        else:
            assert self.group.apply(Shared(1 << 40, "nobody", "", "x", size, 0.0)) is None

    @rule(name=NAMES, shares=st.booleans(), times=st.integers(1, 3))
    def visit(self, name: str, shares: bool, times: int) -> None:
        """A guest says or shares something, if no member has its name."""
        key = name.lower()
        event = Shared(0, name, key, "x", 5, 0.0) if shares else GuestSaid(name, key, "hi", 0.0)
        for _ in range(times):
            outcome = self.group.apply(event)
            if self.oracle.is_free(name, but=-1):
                self.oracle.tell(0, f"{name} shared x (5 B)" if shares else f"{name}: hi")
                assert outcome == self.oracle.lines
            else:
                assert outcome is None

    @rule(who=ANYBODY, whom=ANYBODY, times=st.integers(1, 3))
    def whisper(self, who: int, whom: int, times: int) -> None:
        member, reader = self.ids.get(who, 0), self.ids.get(whom, 0)
        names = self.oracle.names
        for _ in range(times):
            event = Whispered(member, names.get(member, "nobody"), reader, names.get(reader, "nobody"), "psst", 0.0)
            outcome = self.group.apply(event)
            if member and reader and member != reader:
                self.oracle.tell(member, f"{names[member]} (private): psst", reader)
                assert outcome == self.oracle.lines
            else:
                assert outcome is None

    @rule(who=ANYBODY, back=st.integers(0, 40))
    def resume(self, who: int, back: int) -> None:
        """A member that resumes at any place that is still kept is given the same lines as the first time."""
        if who in self.ids:
            member = self.group.members[self.ids[who]]
            number = max(member.joined, self.group.history.first - 1, self.oracle.lines - back)
            cursor, skipped = self.group.place(member, number)
            runs, cursor, skipped = self.group.runs(member, cursor, skipped, 1 << 20)
            found = [
                (first + index, line.decode())
                for first, lines in runs
                for index, line in enumerate(bytes(lines).split(b"\n"))
            ]
            assert found == [(n, line) for n, line in self.oracle.given[member.id] if n > number]
            assert cursor == self.oracle.lines
            assert self.group.hidden(member, skipped) == 0

    @rule(who=ANYBODY, name=NAMES)
    def rename(self, who: int, name: str) -> None:
        if who in self.ids:
            member = self.ids[who]
            old = self.oracle.names[member]
            allowed = name != old and self.oracle.is_free(name, but=member)
            outcome = self.group.apply(Renamed(member, old, name, name.lower(), 0.0))
            assert (outcome is not None) == allowed
            if allowed:
                self.oracle.tell(member, f"{old} changed his name to {name}")
                self.oracle.names[member] = name

    @rule(who=ANYBODY)
    def leave(self, who: int) -> None:
        if who in self.ids:
            member = self.ids.pop(who)
            name = self.oracle.names.pop(member)
            self.oracle.tell(member, f"{name} has left the group")
            del self.oracle.boxes[member]
            assert self.group.apply(Left(member, name, 0.0)) == self.oracle.lines

    @rule(who=ANYBODY, limit=st.sampled_from([1, 8, 20, 40, 100, 65_507]), delivered=st.booleans())
    def poll(self, who: int, limit: int, delivered: bool) -> None:
        if who in self.ids:
            member = self.group.members[self.ids[who]]
            lines, cursor, skipped = self.group.waiting(member, member.cursor, member.skipped, limit)
            if delivered:
                self.group.advance(member, cursor, skipped)
                assert bytes(lines) == self.oracle.give(member.id, limit).encode()

    @invariant()
    def own_lines_are_counted_right(self) -> None:
        for member in getattr(self, "ids", {}).values():
            state = self.group.members[member]
            assert self.group.behind(state) == len(self.oracle.boxes[member])
        if hasattr(self, "ids"):
            assert self.group.all_behind() == sum(map(len, self.oracle.boxes.values()))


class OracleTests(TestCase):
    def test_the_group_gives_what_mailboxes_would(self) -> None:
        case = Conversation.TestCase
        examples = 1000 if os.environ.get("GROUPCHAT_SLOW") == "1" else 100
        case.settings = settings(max_examples=examples, stateful_step_count=60, deadline=None)
        case().runTest()
