"""Acknowledged requests survive `kill -9`, and the checker finds every kind of error. See tests/crash.py."""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.crash import Outcome, Plan, RunError, crash, options
from tests.crash_judge import AGAIN_SECONDS, Reader, Record, Request, judge, reading
from tests.slow import slow

KILLS = 20
FEW_KILLS = 3


class CrashTests(TestCase):
    def crash(self, kills: int, daemon_options: list[str]) -> Outcome:
        directory = tempfile.TemporaryDirectory(prefix="groupchat-crash-")
        self.addCleanup(directory.cleanup)
        self.plan = Plan(secrets.randbits(32), kills, options=daemon_options)
        try:
            return crash(self.plan, Path(directory.name))
        except RunError as error:
            self.fail(f"{self.plan}: {error}")

    def check_kills(self, kills: int) -> Outcome:
        outcome = self.crash(kills, options("full"))
        self.assertFalse(outcome.verdict.errors, "\n".join([str(self.plan), *outcome.verdict.described]))
        self.assertEqual(outcome.kills, kills)
        self.assertGreater(outcome.verdict.acknowledged, 10)
        return outcome

    def test_nothing_is_lost_or_doubled_by_a_few_kills(self) -> None:
        self.check_kills(FEW_KILLS)

    @slow
    def test_nothing_is_lost_or_doubled_by_kills(self) -> None:
        outcome = self.check_kills(KILLS)
        self.assertGreater(outcome.verdict.acknowledged, 500)
        self.assertGreater(outcome.verdict.again, 0)
        self.assertGreater(outcome.cut_off, 0)  # or else no request was under way at any kill

    def test_without_kills_nothing_comes_again(self) -> None:
        outcome = self.crash(0, ["--db", ":memory:", "--rate", "0"])
        self.assertFalse(outcome.verdict.errors, outcome.verdict.described)
        self.assertGreater(outcome.verdict.acknowledged, 100)
        self.assertEqual((outcome.verdict.again, outcome.verdict.stored, outcome.cut_off), (0, 0, 0))

    def test_a_log_in_memory_fails_the_check(self) -> None:
        outcome = self.crash(KILLS, ["--db", ":memory:", "--rate", "0"])
        self.assertGreater(outcome.verdict.errors["refused"], 0)
        self.assertLess(outcome.kills, KILLS)


class ReadingTests(TestCase):
    def test_a_line_is_split_into_key_and_shown_name(self) -> None:
        for line, key, shown in [
            ("Al: hi: there", ": hi: there", "Al"),
            ("Al: B has joined", ": B has joined", "Al"),
            ("Al changed his name to B", " changed his name to B", "Al"),
            ("Al has joined", "Al has joined", ""),
            ("Al has left the group", "Al has left the group", ""),
            ("* 5 lines are no longer kept", "* 5 lines are no longer kept", ""),
        ]:
            self.assertEqual(reading(line, 1.5, 3), (key, shown, 1.5, 3))


class JudgeTests(TestCase):
    """a and b talk, c and d listen. A text is sent each second, and acknowledged 0.5 s later; all read at 50."""

    def setUp(self) -> None:
        self.record = Record()
        self.a, self.b, self.c, self.d = (self.reader(author) for author in "abcd")
        for second, line in enumerate(["a: a-1", "b: b-1", "a: a-2", "b: b-2", "a: a-3"]):
            self.request(line, second)
        self.receive(self.a, "b: b-1", "b: b-2")
        self.receive(self.b, "a: a-1", "a: a-2", "a: a-3")
        self.receive(self.c, "a: a-1", "b: b-1", "a: a-2", "b: b-2", "a: a-3")
        self.receive(self.d, "a: a-1", "b: b-1", "a: a-2", "b: b-2", "a: a-3")

    def reader(self, author: str) -> Reader:
        reader = Reader(author, since=0, until=40)
        self.record.readers.append(reader)
        return reader

    def request(self, line: str, sent: float, acknowledged: bool = True) -> Request:
        """Add the request that makes others receive this line. Its first letter is the author."""
        key = reading(line, 0, 0).key
        self.record.requests[key] = Request(line[0], key, sent, sent + 0.5, acknowledged)
        return self.record.requests[key]

    def receive(self, reader: Reader, *lines: str, at: float = 50, life: int = 0) -> None:
        reader.readings += [reading(line, at, life) for line in lines]

    def rearrange(self, reader: Reader, *lines: str) -> None:
        reader.readings.clear()
        self.receive(reader, *lines)

    def errors(self) -> dict[str, int]:
        return dict(judge(self.record).errors)

    def test_a_correct_run_has_no_errors(self) -> None:
        verdict = judge(self.record)
        self.assertFalse(verdict.described)
        self.assertEqual((verdict.acknowledged, verdict.stored, verdict.again), (5, 0, 0))

    def test_a_lost_text_is_an_error(self) -> None:
        self.rearrange(self.c, "a: a-1", "b: b-1", "b: b-2", "a: a-3")
        verdict = judge(self.record)
        self.assertEqual(verdict.errors, {"lost": 1})
        self.assertIn("c never received", verdict.described[0])
        self.assertIn("a-2", verdict.described[0])

    def test_a_text_that_nobody_received_is_lost(self) -> None:
        self.request("a: a-4", 5)
        self.assertEqual(self.errors(), {"lost": 3})

    def test_a_reader_misses_nothing_outside_its_time(self) -> None:
        self.request("a: a-4", 5)
        for reader in self.record.readers:
            reader.until = 5.4
        self.assertEqual(self.errors(), {})
        for reader in self.record.readers:
            reader.until = 5.5
        self.assertEqual(self.errors(), {"lost": 3})
        for reader in self.record.readers:
            reader.since = 5.1
        self.assertEqual(self.errors(), {})

    def test_many_errors_are_counted_and_a_few_described(self) -> None:
        for number in range(4, 34):
            self.request(f"a: a-{number}", number)
        verdict = judge(self.record)
        self.assertEqual(verdict.errors, {"lost": 90})
        self.assertEqual(len(verdict.described), 10)

    def test_a_text_given_just_before_a_kill_may_come_again(self) -> None:
        self.record.kills = [50 + AGAIN_SECONDS, 60, 70]
        self.receive(self.c, "b: b-2", "a: a-3", at=59.5, life=1)
        self.receive(self.c, "a: a-3", at=69, life=2)
        self.receive(self.d, "a: a-3", at=69, life=2)
        verdict = judge(self.record)
        self.assertFalse(verdict.described)
        self.assertEqual((verdict.again, verdict.oldest_again), (4, AGAIN_SECONDS))

    def test_a_doubled_text_is_an_error(self) -> None:
        self.record.kills = [50 + AGAIN_SECONDS + 0.1]
        self.receive(self.c, "a: a-3", at=60, life=1)
        self.assertEqual(self.errors(), {"doubled": 1})

    def test_a_text_doubled_without_a_kill_is_an_error(self) -> None:
        self.record.kills = [51]
        self.receive(self.c, "a: a-3", at=50.1)
        self.assertEqual(self.errors(), {"doubled": 1})

    def test_a_text_doubled_over_two_kills_is_an_error(self) -> None:
        self.record.kills = [51, 60]
        self.receive(self.c, "a: a-3", at=52, life=1)
        self.assertEqual(self.errors(), {})
        self.receive(self.c, "a: a-3", at=61, life=2)
        self.assertEqual(self.errors(), {"doubled": 1})

    def test_a_doubled_unacknowledged_text_is_an_error(self) -> None:
        self.request("a: a-4", 5, acknowledged=False)
        for reader in (self.b, self.c, self.d):
            self.receive(reader, "a: a-4")
        self.receive(self.c, "a: a-4")
        self.assertEqual(self.errors(), {"doubled": 1})

    def test_disorder_between_authors_is_an_error(self) -> None:
        self.rearrange(self.c, "b: b-1", "a: a-1", "a: a-2", "b: b-2", "a: a-3")
        verdict = judge(self.record)
        self.assertEqual(verdict.errors, {"out of order": 1})
        self.assertIn("': a-1'", verdict.described[0])

    def test_disorder_of_one_author_is_an_error(self) -> None:
        for reader in (self.c, self.d):
            self.rearrange(reader, "b: b-1", "a: a-2", "a: a-1", "b: b-2", "a: a-3")
        self.rearrange(self.b, "a: a-2", "a: a-1", "a: a-3")
        self.assertEqual(self.errors(), {"out of order": 3})

    def test_lines_that_come_again_are_not_out_of_order(self) -> None:
        self.record.kills = [51]
        self.receive(self.c, "b: b-1", "a: a-2", "b: b-2", "a: a-3", at=52, life=1)
        self.assertEqual(self.errors(), {})

    def test_an_unacknowledged_text_may_reach_everybody(self) -> None:
        self.request("a: a-4", 5, acknowledged=False)
        for reader in (self.b, self.c, self.d):
            self.receive(reader, "a: a-4")
        verdict = judge(self.record)
        self.assertFalse(verdict.described)
        self.assertEqual((verdict.acknowledged, verdict.stored), (5, 1))

    def test_an_unacknowledged_text_may_reach_nobody(self) -> None:
        self.request("a: a-4", 5, acknowledged=False)
        verdict = judge(self.record)
        self.assertFalse(verdict.described)
        self.assertEqual((verdict.acknowledged, verdict.stored), (5, 0))

    def test_a_half_seen_unacknowledged_text_is_an_error(self) -> None:
        self.request("a: a-4", 5, acknowledged=False)
        self.receive(self.c, "a: a-4")
        verdict = judge(self.record)
        self.assertEqual(verdict.errors, {"half seen": 2})
        self.assertIn("b never received", verdict.described[0])

    def test_an_unsettled_text_may_still_come(self) -> None:
        self.request("a: a-4", 5, acknowledged=False).settled = 41
        self.receive(self.c, "a: a-4")
        self.assertEqual(self.errors(), {})

    def test_own_lines_and_unknown_lines_are_errors(self) -> None:
        self.receive(self.a, "a: a-3")
        self.receive(self.b, "a: a-99", "* 5 lines are no longer kept")
        self.assertEqual(self.errors(), {"foreign": 3})

    def test_a_new_name_is_followed(self) -> None:
        self.request("a changed his name to a.1", 5)
        self.request("a.1: a-4", 6)
        for reader in (self.b, self.c, self.d):
            self.receive(reader, "a changed his name to a.1", "a.1: a-4")
        self.assertEqual(self.errors(), {})

    def test_a_former_name_is_an_error(self) -> None:
        self.request("a changed his name to a.1", 5)
        self.request("a: a-4", 6)
        for reader in (self.b, self.c, self.d):
            self.receive(reader, "a changed his name to a.1", "a: a-4")
        self.assertEqual(self.errors(), {"misnamed": 3})

    def test_the_name_of_somebody_else_is_an_error(self) -> None:
        self.rearrange(self.c, "a: a-1", "b: b-1", "a: a-2", "b: b-2", "b: a-3")
        self.assertEqual(self.errors(), {"misnamed": 1})
        self.rearrange(self.a, "x: b-1", "x: b-2")
        self.assertEqual(self.errors(), {"misnamed": 3})

    def test_the_list_of_names_is_checked(self) -> None:
        self.request("g.1 has joined", 5).author = "g"
        self.request("g.1 has left the group", 6).author = "g"
        self.request("g.2 has joined", 7).author = "g"
        for reader in (self.a, self.b, self.c, self.d):
            self.receive(reader, "g.1 has joined", "g.1 has left the group", "g.2 has joined")
        self.d.listed = ["g.2", "b", "a"]
        self.assertEqual(self.errors(), {})
        for wrong in (["g.2", "a", "b"], ["b", "a"], ["g.2", "g.1", "b", "a"]):
            self.d.listed = wrong
            self.assertEqual(self.errors(), {"misnamed": 1}, wrong)

    def test_a_refused_request_is_an_error(self) -> None:
        self.record.refusals.append("'5' of c")
        verdict = judge(self.record)
        self.assertEqual(verdict.errors, {"refused": 1})
        self.assertEqual(verdict.described, ["refused: '5' of c"])

    def test_an_outcome_is_one_line(self) -> None:
        self.record.refusals.append("'5' of c")
        self.assertEqual(
            str(Outcome(judge(self.record), 20, 3, 1.25)),
            "20 kills, 5 acknowledged, 0 lost, 0 doubled, 0 out of order, 1 refused, "
            "0 again (from 0.00 s before a kill), 0 unacknowledged but stored, 3 cut off, 1.2 seconds",
        )
