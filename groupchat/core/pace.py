"""Flood control: each member has a token bucket, which is not refilled by leaving and joining again.

A bucket holds BURST tokens. Each command that says something takes one, and each second gives back as many as the rate.
A member's `spent` is how many tokens its bucket lacked at the time `paced`.
"""

from __future__ import annotations

from groupchat.core.errors import TooFast
from groupchat.core.group import Member
from groupchat.core.limits import BURST
from groupchat.core.networks import network_of

TOLERANCE = 0.01
"""The part of a token that may be missing, since times are not exact."""

MAX_DEBT = 2 * BURST
"""The greatest debt of a host, at which nobody can join from there. Only joining and leaving again and again leads to
it: after one member that said too much, the next one is only slow to speak at first.
"""


class Bucket:
    """A bucket of `size` tokens, which is full at first and refilled at `rate` tokens a second. 0 is no limit."""

    def __init__(self, size: int, rate: int) -> None:
        self._size = size
        self.rate = rate
        self._spent = 0.0
        self._at = 0.0

    def take(self, now: float) -> bool:
        """Take one token. Return False if there is none."""
        if self.wait(now):
            return False
        self._spent += bool(self.rate)
        return True

    def wait(self, now: float) -> float:
        """Return the seconds until there is a token; 0 if there is one."""
        self._spent = max(0.0, self._spent - max(0.0, now - self._at) * self.rate)  # a clock may be set back
        self._at = now
        missing = self._spent + 1 - self._size
        return missing / self.rate if self.rate and missing > TOLERANCE else 0.0

    def is_full(self, now: float) -> bool:
        self.wait(now)
        return not self._spent


class Pace:
    """The buckets of one group. A `rate` of 0 is no limit.

    When a member leaves, the tokens that it has spent become a debt of its host, which shrinks at the same rate. A
    member that joins from there has spent as much as the debt, up to BURST. Debts of several members do not add up,
    except that each leave adds 1.
    """

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._debts: dict[str, tuple[float, float]] = {}  # by network: how much, and when it was so much

    def take(self, member: Member, now: float) -> None:
        """Take one token from a member. Raises TooFast."""
        if self.rate:
            member.spent, member.paced = self._remaining(member.spent, member.paced, now), now
            self.check(member, now)
            member.spent += 1

    def check(self, member: Member, now: float) -> None:
        """Raise TooFast if `take` would."""
        if self.wait(member, 1, now):
            raise TooFast("Slow down: you say too much at once.")

    def wait(self, member: Member, count: int, now: float) -> float:
        """Return the seconds until so many tokens can be taken from a member; 0 if they can be taken now."""
        return self._until(self._remaining(member.spent, member.paced, now) + count - BURST)

    def check_guest(self, host: str, now: float) -> None:
        """Raise TooFast if `take_from` would."""
        if self._debt(host, now) + 1 > BURST + TOLERANCE:
            raise TooFast("Slow down: too much was said from your address.")

    def take_from(self, host: str, now: float) -> None:
        """Take one token from the guests of a host, who share one bucket: the debt of the host. Raises TooFast.

        Guests cannot raise the debt above BURST, so they cannot keep anybody from joining.
        """
        if self.rate:
            self.check_guest(host, now)
            self._owe(host, self._debt(host, now) + 1, now)

    def check_join(self, host: str, now: float) -> None:
        """Raise TooFast if nobody may join from this host now."""
        if self.wait_to_join(host, now):
            raise TooFast("Slow down: too much was said from your address by those who have just left.")

    def wait_to_join(self, host: str, now: float) -> float:
        """Return the seconds until somebody may join from this host; 0 if somebody may now."""
        return self._until(self._debt(host, now) - MAX_DEBT + 1)

    def joined(self, member: Member, now: float) -> None:
        if self.rate:
            member.spent, member.paced = min(self._debt(member.host, now), BURST), now

    def left(self, member: Member, now: float) -> None:
        if self.rate:
            spent = self._remaining(member.spent, member.paced, now)
            debt = max(self._debt(member.host, now), spent) + 1  # the notice of the leave is a line, too
            self._owe(member.host, min(debt, MAX_DEBT), now)

    def forget(self, now: float) -> None:
        """Forget the debts that are paid by now."""
        for network in list(self._debts):
            self._owe(network, self._debt(network, now), now)

    def _debt(self, host: str, now: float) -> float:
        return self._remaining(*self._debts.get(network_of(host), (0.0, now)), now)

    def _owe(self, host: str, debt: float, now: float) -> None:
        if debt > TOLERANCE:
            self._debts[network_of(host)] = debt, now
        else:
            self._debts.pop(network_of(host), None)

    def _until(self, missing: float) -> float:
        return missing / self.rate if self.rate and missing > TOLERANCE else 0.0

    def _remaining(self, spent: float, at: float, now: float) -> float:
        return max(0.0, spent - max(0.0, now - at) * self.rate)  # a clock may be set back
