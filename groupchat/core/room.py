"""Room: who may have a seat in the group, and whose seat a new member takes if none is free.

No datagram proves its address: whoever forges one can forge ten thousand. So members over UDP hold at most three
quarters of the seats, and what they leave is for all others. When their seats are taken, a new one takes the seat of
the member over UDP that was heard in the fewest different minutes and, of several, that was silent for longest.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Sequence
from heapq import nsmallest

from groupchat.core.errors import Full, Unanswered
from groupchat.core.events import Joined, Left
from groupchat.core.group import Group, Member
from groupchat.core.limits import JOIN_BURST, Settings
from groupchat.core.networks import network_of
from groupchat.core.pace import Bucket

AT_ONCE = 64
"""The number of members that are searched for at once: then that many can lose their seats before the next search."""

_Rank = tuple[int, float, int, int]
"""How many minutes a member was heard in, its last contact, the number of its join, and its id. It only grows."""

NOBODY: _Rank = (0, 0.0, 0, 0)


class Room:
    """The seats of one group. Joins that are under way have a seat already, and leaves under way have none."""

    def __init__(self, group: Group, settings: Settings) -> None:
        self._group = group
        self._bucket = Bucket(JOIN_BURST, settings.join_rate)
        self.configure(settings)
        self._joining: Counter[str] = Counter()  # by network
        self._joins = 0
        self._joins_over_udp = 0
        self._leaving: set[int] = set()  # the members that give their seats up to those; all of them are over UDP
        self._least: list[_Rank] = []  # of all members, those with the least ranks, in this order
        self._most: _Rank = NOBODY  # all members with a lesser rank are among them
        self._searched = 0  # the number of the last line when members were added to these

    def configure(self, settings: Settings) -> None:
        """Use other settings from now on. If there are more members than they allow, no one has to leave."""
        self._max_members = settings.max_members
        self._max_udp = max(1, settings.max_members * 3 // 4)
        self._max_per_host = settings.max_per_host
        self._bucket.rate = settings.join_rate

    def admit(self, host: str, over_udp: bool, leaving: int, now: float) -> Member | None:
        """Return the member whose seat a new one takes after `leaving` have left; None if there is a free seat.

        Raises IllegalMessage if there is no room, and Unanswered if too many join over UDP at once.
        """
        network = network_of(host)
        of_network = self._group.per_host[network] + self._joining[network] - leaving
        if self._max_per_host and of_network >= self._max_per_host:
            raise Full("Too many members have your address.")
        leaving += len(self._leaving & self._group.members.keys())
        of_udp = len(self._group.by_address) + self._joins_over_udp - leaving
        is_full = len(self._group.members) + self._joins - leaving >= self._max_members
        # More than their part are there after --max-members was lowered: then their seats are for all.
        is_taken = of_udp >= self._max_udp if over_udp else is_full and of_udp > self._max_udp
        if is_full and not is_taken:
            raise Full("The group is full.")
        if over_udp and not self._bucket.take(now):
            raise Unanswered
        moved = self._least_heard() if is_taken else None
        if is_taken and (moved is None or (self._joins_over_udp and moved.heard() > 1)):
            raise Unanswered  # it is the turn of one whose join is under way
        return moved

    def joining(self, events: Sequence[Joined | Left]) -> None:
        """Note that a join is under way, and the leaves before it."""
        self._count(events, 1)
        self._leaving.update(event.member for event in events if isinstance(event, Left))

    def joined(self, events: Sequence[Joined | Left]) -> None:
        """Note that they are not under way any more: they took effect, or never will."""
        self._count(events, -1)
        self._leaving.difference_update(event.member for event in events if isinstance(event, Left))

    def _count(self, events: Sequence[Joined | Left], change: int) -> None:
        for event in events:
            if isinstance(event, Joined):
                self._joins += change
                self._joins_over_udp += change if event.port is not None else 0
                network = network_of(event.host)
                self._joining[network] += change
                if not self._joining[network]:
                    del self._joining[network]

    def _least_heard(self) -> Member | None:
        """Return the member over UDP with the least rank that does not leave already."""
        self._add_new()
        for search in (False, True):
            if search:
                self._search()
            while self._least:
                rank = self._least[0]
                member = self._group.members.get(rank[-1])
                current = rank if member is None else _rank(member)
                if member is not None and member.id not in self._leaving and current == rank:
                    return member
                del self._least[0]
                if current != rank:
                    self._add(current)
        return None

    def _add_new(self) -> None:
        """Add the members that joined since the last search. They are the last of all."""
        for member in reversed(self._group.by_address.values()):
            if member.joined <= self._searched:
                break
            self._add(_rank(member))
        self._searched = self._group.history.head

    def _add(self, rank: _Rank) -> None:
        if rank <= self._most:
            insort(self._least, rank)
            del self._least[AT_ONCE:]
            self._most = self._least[-1]

    def _search(self) -> None:
        ranks = map(_rank, self._group.by_address.values())
        self._least = nsmallest(AT_ONCE, (rank for rank in ranks if rank[-1] not in self._leaving))
        self._most = self._least[-1] if self._least else NOBODY
        self._searched = self._group.history.head


def _rank(member: Member) -> _Rank:
    return member.heard(), max(member.contact, member.logged), member.joined, member.id
