"""What operators decided: who is banned or muted, the topic, and the facts of the group. It is a part of the fold.

A *subject* says whom a ban or a mute concerns, in a form that can be stored:

    net 192.0.2.0/24          an address, or a network
    name KEY                  every name that looks like the one with this key
    key HASH                  whoever has the key of a session with this hash
    udp 192.0.2.7 50000       one address of datagrams

A ban ends at the time `until` of its event, which is compared when a command is submitted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from math import ceil
from typing import Any

from groupchat.core.errors import BadName, Excluded, ReadOnly
from groupchat.core.events import FOREVER, Banned, Changed, Muted, Removed, Topic, Unbanned, Unmuted
from groupchat.core.networks import network_of, parsed
from groupchat.core.skeletons import skeletons

Decision = Banned | Unbanned | Muted | Unmuted | Changed | Topic

REFUSED_SECONDS = 600
"""How long somebody who was removed cannot join again."""

CACHED = 4096
"""Hosts of which it is remembered which ban concerns them."""


def of_network(network: str) -> str:
    """Return the subject for an address or a network. Raise ValueError if it is none."""
    return f"net {parsed(network)}"


def is_in(host: str, network: IPv4Network | IPv6Network) -> bool:
    """Return True if a host is in a network."""
    try:
        return parsed(host).network_address in network
    except ValueError:  # the host of a Unix socket
        return False


def of_seat(secret: str | None, host: str, port: int | None) -> str:
    """Return the subject for somebody with a seat: its key or, without one, its address of datagrams."""
    return f"key {secret}" if secret is not None else f"udp {host} {port}"


def of_mute(secret: str | None, host: str) -> str:
    """Return the subject by which a mute outlives leaving and joining again: a key, or else a host."""
    return f"key {secret}" if secret is not None else f"net {network_of(host)}"


class Moderation:
    """The decisions of one group. `bans` and `mutes` are the events that decided them, by subject."""

    def __init__(self) -> None:
        self.bans: dict[str, Banned] = {}
        self.mutes: dict[str, Muted] = {}
        self.topic = ""
        self.facts: dict[str, str] = {}
        self.only_operators_post = False  # as a fact says
        self._looks: dict[str, dict[str, None]] = {}  # the subjects of banned names, by skeleton
        self._networks: dict[
            tuple[int, int], dict[int, str]
        ] = {}  # those of networks: by version and length, then bits
        self._hosts: dict[str, list[str]] = {}  # the subjects that concern a host, as looked up before

    def apply(self, event: Decision) -> None:
        """Fold one event."""
        match event:
            case Banned():
                self.ban(event)
            case Unbanned(subject):
                ban = self.bans.pop(subject, None)
                if ban is not None:
                    self._index(subject, ban.shown, added=False)
            case Muted(subject):
                self.mutes[subject] = event
            case Unmuted(subject):
                self.mutes.pop(subject, None)
            case Changed(fact, value):
                self._change(fact, value)
            case Topic(text):
                self.topic = text

    def _change(self, fact: str, value: str) -> None:
        if value:
            self.facts[fact] = value
        else:
            self.facts.pop(fact, None)
        self.only_operators_post = self.facts.get("post") == "operators"

    def ban(self, event: Banned) -> None:
        """Put a ban in force, unless there is a longer one."""
        before = self.bans.get(event.subject)
        if before is None or before.until <= event.until:
            if before is not None:
                self._index(before.subject, before.shown, added=False)
            self._index(event.subject, event.shown, added=True)
            self.bans[event.subject] = event

    def removed(self, event: Removed, secret: str | None, host: str, port: int | None) -> None:
        """Refuse somebody who was removed for a while. Without a key or an address of datagrams it cannot be known."""
        if secret is not None or port is not None:
            until = int(event.at + REFUSED_SECONDS)
            self.ban(Banned(of_seat(secret, host, port), event.name, until, event.by, event.why, event.at))

    def dump(self) -> dict[str, Any]:
        """Return all decisions, in a form for JSON."""
        return {
            "bans": [(b.subject, b.shown, b.until, b.by, b.why, b.at) for b in self.bans.values()],
            "mutes": [(m.subject, m.shown, m.host, m.by, m.why, m.at) for m in self.mutes.values()],
            "facts": dict(self.facts),
            "topic": self.topic,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over what `dump` returned. Raise ValueError or TypeError for what it cannot have returned."""
        for fields in state.get("bans", ()):
            self.ban(Banned(*_of_types((str, str, int, str, str, float), fields)))
        for fields in state.get("mutes", ()):
            self.apply(Muted(*_of_types((str, str, str, str, str, float), fields)))
        for fact in state.get("facts", {}).items():
            self._change(*_of_types((str, str), fact))
        (self.topic,) = _of_types((str,), [state.get("topic", "")])

    def forget(self, now: float) -> None:
        """Forget the bans that are over. No answer depends on them."""
        for subject in [subject for subject, ban in self.bans.items() if ban.until <= now]:
            self._index(subject, self.bans.pop(subject).shown, added=False)

    # What the rules ask

    @property
    def is_restricting(self) -> bool:
        """True if some members may not say everything."""
        return bool(self.mutes) or self.only_operators_post

    def ban_of(self, host: str, port: int | None, secret: str | None, now: float) -> Banned | None:
        """Return the ban, if any, of whoever comes from this host, with this port of datagrams or this key."""
        subjects = [*self._of_host(host), f"udp {host} {port}", f"key {secret}"]
        return next(self._in_force(subjects, now), None)

    def check(self, host: str, port: int | None, secret: str | None, now: float) -> None:
        """Raise Excluded for somebody who is banned."""
        if self.bans and (ban := self.ban_of(host, port, secret, now)):
            raise Excluded(_because(f"You may not be in this group{_for(ban.until - now)}", ban.why))

    def check_name(self, shown: str, key: str, now: float) -> None:
        """Raise IllegalMessage for a name that is banned."""
        if ban := self.ban_of_name(shown, key, now):
            raise BadName(_because(f"The name {shown} is banned{_for(ban.until - now)}", ban.why))

    def check_writing(self, secret: str | None, host: str) -> None:
        """Raise IllegalMessage for a member that is muted."""
        if mute := self.mute(secret, host):
            raise ReadOnly(_because("You are muted: you may read, and not write", mute.why))

    def check_guest(self, host: str) -> None:
        """Raise IllegalMessage for a guest from the host of a member that is muted."""
        if self.mutes and network_of(host) in {network_of(mute.host) for mute in self.mutes.values()}:
            raise ReadOnly("Somebody with your address is muted.")

    def ban_of_name(self, shown: str, key: str, now: float) -> Banned | None:
        """Return the ban of a name, if any."""
        looks = skeletons(shown, key) if self._looks else ()
        subjects = [subject for skeleton in looks for subject in self._looks.get(skeleton, ())]
        return next(self._in_force(subjects, now), None)

    def mute(self, secret: str | None, host: str) -> Muted | None:
        """Return the mute, if any, of a member with this key, or else of this host."""
        return self.mutes.get(of_mute(secret, host)) if self.mutes else None

    def _in_force(self, subjects: list[str], now: float) -> Iterator[Banned]:
        return (ban for subject in subjects if (ban := self.bans.get(subject)) and ban.until > now)

    def _of_host(self, host: str) -> list[str]:
        found = self._hosts.get(host)
        if found is None:
            if len(self._hosts) >= CACHED:
                self._hosts.clear()
            found = self._hosts[host] = list(self._search(host))
        return found

    def _search(self, host: str) -> Iterator[str]:
        """Yield the subjects of all banned networks that a host is in: one look-up for each length of a prefix."""
        try:
            address = parsed(host).network_address
        except ValueError:  # the host of a Unix socket
            return
        for (version, length), subjects in self._networks.items():
            bits = int(address) >> (address.max_prefixlen - length)
            if version == address.version and bits in subjects:
                yield subjects[bits]

    def _index(self, subject: str, shown: str, *, added: bool) -> None:
        """Make a ban found, or no longer found."""
        kind, _, value = subject.partition(" ")
        if kind == "net":
            network = ip_network(value)
            place = network.version, network.prefixlen
            bits = int(network.network_address) >> (network.max_prefixlen - network.prefixlen)
            if added:
                self._networks.setdefault(place, {})[bits] = subject
            elif self._networks[place].pop(bits) and not self._networks[place]:
                del self._networks[place]
            self._hosts.clear()
        elif kind == "name":
            for skeleton in skeletons(shown, value):
                if added:
                    self._looks.setdefault(skeleton, {})[subject] = None
                else:
                    del self._looks[skeleton][subject]
                    if not self._looks[skeleton]:
                        del self._looks[skeleton]


_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"))


def _of_types(types: Sequence[type], values: Sequence[Any]) -> Sequence[Any]:
    """Return these values. Raise ValueError if they are not of these types."""
    if [type(value) for value in values] != list(types):
        raise ValueError("not the fields of a decision")
    return values


def _for(seconds: float) -> str:
    """Return for how long something is still to last, in words."""
    if seconds > FOREVER / 2:
        return ""
    size, unit = next((size, unit) for size, unit in _UNITS if seconds >= size or size == 60)
    count = ceil(seconds / size)
    return f" for {count} {unit}{'s' if count > 1 else ''} more"


def _because(what: str, why: str) -> str:
    return f"{what}: {why}" if why else f"{what}."
