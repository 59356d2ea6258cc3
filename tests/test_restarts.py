"""Restarts that nobody loses anything by. See tests/restarts.py."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from tests.restarts import STAYERS, restart
from tests.slow import slow

RESTARTS = 5

TO_RESUME = 1.5
"""Seconds within which all doors go on once the daemon is ready: the page waits for one second before it connects."""


class RestartsTests(TestCase):
    @slow
    def test_nobody_is_refused_and_nothing_lost_or_doubled(self) -> None:
        result = restart(RESTARTS)
        self.assertEqual((result.refusals, result.lost, result.doubled), ([], 0, []))
        self.assertGreater(len(result.doors["plain"].pauses), RESTARTS)  # it came back each time
        for name in (*STAYERS, "cron", "files"):
            self.assertGreater(len(result.doors[name].acknowledged), RESTARTS, name)
        for name in STAYERS:
            absence = max(map(sum, zip(result.stops, result.starts, strict=True)))
            self.assertLess(result.doors[name].longest_pause(), absence + TO_RESUME, f"{name}: {result}")
