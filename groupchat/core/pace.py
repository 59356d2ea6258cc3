"""Flood control: how much each member may say. A token bucket for each, which leaving and joining again does not fill.

A member's `spent` is how many tokens its bucket lacked at the time `paced`: one for each thing said, up to BURST; each
second gives back as many as the rate.
"""

from __future__ import annotations

from groupchat.core.errors import TooFast
from groupchat.core.group import Member
from groupchat.core.limits import BURST

EXACT = 0.01
"""Times are not exact enough for the very last token."""

MOST_DEBT = 2 * BURST
"""A debt is no greater. One as great locks others out, and only joining and leaving again and again leads to it: where
somebody said too much, who joins next is only slow to speak at first.
"""


class Pace:
    """The buckets of one group. A `rate` of 0 is no limit.

    What a member has spent when it leaves is a debt of its host until that much time has passed: whoever joins from
    there meanwhile has spent as much. Debts do not add up, but for the leavings themselves.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._debts: dict[str, tuple[float, float]] = {}  # by host: how much, and when it was so much

    def take(self, member: Member, now: float) -> None:
        """Count one more thing that a member says. Raises TooFast."""
        if self._rate:
            member.spent, member.paced = self._left_of(member.spent, member.paced, now), now
            if member.spent + 1 > BURST + EXACT:
                raise TooFast("Slow down: you say too much at once.")
            member.spent += 1

    def check(self, member: Member, now: float) -> None:
        """Whether a member may say one more thing. Raises TooFast."""
        if self._rate and self._left_of(member.spent, member.paced, now) + 1 > BURST + EXACT:
            raise TooFast("Slow down: you say too much at once.")

    def check_guest(self, host: str, now: float) -> None:
        """Whether a guest may say something from there. Raises TooFast."""
        if self._debt(host, now) + 1 > BURST + EXACT:
            raise TooFast("Slow down: too much was said from your address.")

    def take_from(self, host: str, now: float) -> None:
        """Count one more thing that a guest says: all guests of a host have one bucket. Raises TooFast.

        It is the debt of the host, up to BURST: who joins next is slow to speak for it, and is never locked out by it.
        """
        if self._rate:
            self.check_guest(host, now)
            self._owe(host, self._debt(host, now) + 1, now)

    def check_join(self, host: str, now: float) -> None:
        """Whether somebody may join from there. Raises TooFast."""
        if self._debt(host, now) > MOST_DEBT - 1:
            raise TooFast("Slow down: too much was said from your address by those who have just left.")

    def joined(self, member: Member, now: float) -> None:
        if self._rate:
            member.spent, member.paced = min(self._debt(member.host, now), BURST), now

    def left(self, member: Member, now: float) -> None:
        if self._rate:
            spent = self._left_of(member.spent, member.paced, now)
            debt = max(self._debt(member.host, now), spent) + 1  # the leaving is a line, too
            self._owe(member.host, min(debt, MOST_DEBT), now)

    def forget(self, now: float) -> None:
        """Let go of the debts that are paid by now."""
        for host in list(self._debts):
            self._owe(host, self._debt(host, now), now)

    def _debt(self, host: str, now: float) -> float:
        return self._left_of(*self._debts.get(host, (0.0, now)), now)

    def _owe(self, host: str, debt: float, now: float) -> None:
        if debt > EXACT:
            self._debts[host] = debt, now
        else:
            self._debts.pop(host, None)

    def _left_of(self, spent: float, at: float, now: float) -> float:
        return max(0.0, spent - max(0.0, now - at) * self._rate)  # a clock may be set back
