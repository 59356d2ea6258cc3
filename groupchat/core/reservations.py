"""Reservations: the names, and the places in the log, of members who left and may come back. It is a part of the fold.

A member with the key of a session, whose seat ended because nobody came back to it in time, keeps its name and its
place until a time that is in the event of its leaving. Who joins with that key is the same member again, with the same
id: so its own lines, and the whispers to it, are what they were to it.

A reservation is over at the time `until`, which is compared with the time of a command, or of an event.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

from groupchat.core.ids import MAX_ID
from groupchat.core.networks import network_of
from groupchat.core.skeletons import skeletons


@dataclass(frozen=True, slots=True)
class Reservation:
    """What is kept for a key, whose hash is `secret`. For `cursor`, `skipped` and `own` see Member in group.py."""

    secret: str
    name: str
    key: str
    host: str
    member: int
    joined: int
    cursor: int
    skipped: int
    own: int
    until: int


class Reservations:
    """The reservations of one group, in the order in which they were made: one for each key and each name at most."""

    def __init__(self) -> None:
        self.by_secret: dict[str, Reservation] = {}
        self.per_host: Counter[str] = Counter()  # how many each network has
        self._by_key: dict[str, Reservation] = {}
        self._looks: dict[str, Reservation] = {}  # by skeleton, for the rules: the fold does not ask it

    def __len__(self) -> int:
        return len(self.by_secret)

    def add(self, made: Reservation) -> None:
        """Make a reservation, in place of another one for this key or this name."""
        self.end(made.secret)
        if made.key in self._by_key:
            self.end(self._by_key[made.key].secret)
        self.by_secret[made.secret] = self._by_key[made.key] = made
        self._looks.update(dict.fromkeys(skeletons(made.name, made.key), made))
        self.per_host[network_of(made.host)] += 1

    def end(self, secret: str | None) -> Reservation | None:
        """End the reservation for a key, and return it; None if there is none."""
        ended = self.by_secret.pop(secret, None) if secret is not None else None
        if ended is not None:
            del self._by_key[ended.key]
            for skeleton in skeletons(ended.name, ended.key):
                if self._looks.get(skeleton) is ended:
                    del self._looks[skeleton]
            network = network_of(ended.host)
            self.per_host[network] -= 1
            if not self.per_host[network]:
                del self.per_host[network]
        return ended

    def of(self, secret: str | None, at: float) -> Reservation | None:
        """Return what is reserved for a key at this time."""
        return _in_force(self.by_secret.get(secret) if secret is not None else None, at)

    def named(self, key: str, at: float) -> Reservation | None:
        """Return the reservation of the name with this key at this time."""
        return _in_force(self._by_key.get(key), at)

    def is_taken(self, key: str, secret: str | None, at: float) -> bool:
        """Return True if the name with this key is reserved for another key of a session at this time."""
        made = self.named(key, at)
        return made is not None and made.secret != secret

    def alike(self, shown: str, key: str, secret: str | None, at: float) -> Reservation | None:
        """Return a reservation, for another key, of a name that looks like this one at this time."""
        if self._looks:
            for skeleton in skeletons(shown, key):
                made = _in_force(self._looks.get(skeleton), at)
                if made is not None and made.secret != secret:
                    return made
        return None

    def forget(self, at: float) -> None:
        """Forget the oldest reservations as far as they are over at this time. No answer depends on them."""
        while (oldest := next(iter(self.by_secret.values()), None)) is not None and oldest.until <= at:
            self.end(oldest.secret)

    def dump(self) -> list[tuple[Any, ...]]:
        """Return all reservations, in a form for JSON."""
        return [astuple(made) for made in self.by_secret.values()]

    def load(self, state: Sequence[Sequence[Any]]) -> None:
        """Take over what `dump` returned. Raise ValueError or TypeError for what it cannot have returned."""
        for values in state:
            made = Reservation(*values)
            if [type(value).__name__ for value in values] != [field.type for field in fields(made)]:
                raise ValueError("not the fields of a reservation")
            if not all(-MAX_ID <= number <= MAX_ID for number in values[4:]):
                raise ValueError("not a number of a reservation")
            "".join([made.name, made.key, made.host, made.secret]).encode()  # fails for half a character
            self.add(made)


def _in_force(made: Reservation | None, at: float) -> Reservation | None:
    return made if made is not None and made.until > at else None
