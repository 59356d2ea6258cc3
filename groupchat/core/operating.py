"""The rules for what operators do: each of their commands becomes events, or is refused. Pure, as rules.py is."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

from groupchat.core import facts, moderation
from groupchat.core.commands import (
    Announce,
    Ban,
    Change,
    Demote,
    Erase,
    Mute,
    OperatorCommand,
    Promote,
    Release,
    Remove,
    SetTopic,
    Unban,
    Unmute,
)
from groupchat.core.errors import IllegalMessage
from groupchat.core.events import (
    FOREVER,
    Banned,
    Changed,
    Demoted,
    Erased,
    Event,
    Muted,
    Noticed,
    Promoted,
    Released,
    Removed,
    Topic,
    Unbanned,
    Unmuted,
)
from groupchat.core.group import Group, Member
from groupchat.core.limits import MAX_BANS, MAX_ERASED, MAX_TOPIC
from groupchat.core.names import normalised
from groupchat.core.texts import check_text


class OperatorRules:
    """The rules of one group for its operators. `by` is who gives a command: a member's name, or a user's."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._moderation = group.moderation

    def events(self, command: OperatorCommand, by: str, now: float) -> list[Event]:  # noqa: C901, PLR0911 - one for each
        """Return the events that a command asks to append, at least one. Raise IllegalMessage."""
        match command:
            case Remove():
                member = self.member(command.name)
                return [Removed(member.id, member.name, by, _reason(command.why), now)]
            case Mute():
                return [self._mute(command, by, now)]
            case Unmute():
                return [Unmuted(self._muted(command.name), by, now)]
            case Ban():
                return list(self._ban(command, by, now))
            case Unban():
                return [Unbanned(subject, by, now) for subject in self._banned(command.whom)]
            case Release():
                return [self._release(command.name, by, now)]
            case Erase():
                return [self._erase(command, by, now)]
            case SetTopic():
                return [self._topic(command.text, by, now)]
            case Announce():
                return [Noticed(check_text(command.text), by, now)]
            case Change():
                return [self._change(command, by, now)]
        raise TypeError(f"not a command of an operator: {command!r}")

    def promote(self, member: Member, command: Promote | Demote, now: float) -> Promoted | Demoted | None:
        """Return the event that makes a member an operator, or ends that; None if nothing changes."""
        wanted = type(command) is Promote
        if member.operator == wanted:
            return None
        return (Promoted if wanted else Demoted)(member.id, member.name, now)

    def member(self, name: str) -> Member:
        """Return the member with this name. Raise IllegalMessage."""
        found = self._group.by_key.get(normalised(name).key)
        if found is None:
            raise IllegalMessage(f"Nobody here is called {name.strip()}.")
        return found

    def _mute(self, command: Mute, by: str, now: float) -> Muted:
        member = self.member(command.name)
        if self._moderation.mute(member.secret, member.host):
            raise IllegalMessage(f"{member.name} is muted already.")
        if len(self._moderation.mutes) >= MAX_BANS:
            raise IllegalMessage(f"There are {MAX_BANS} mutes already: end some of them first.")
        subject = moderation.of_mute(member.secret, member.host)
        return Muted(subject, member.name, member.host, by, _reason(command.why), now)

    def _muted(self, name: str) -> str:
        """Return the subject of the mute of a member, who may have left."""
        wanted = normalised(name).key
        member = self._group.by_key.get(wanted)
        if member is not None and (mute := self._moderation.mute(member.secret, member.host)):
            return mute.subject
        for mute in self._moderation.mutes.values():
            if normalised(mute.shown).key == wanted:
                return mute.subject
        raise IllegalMessage(f"{name.strip()} is not muted.")

    def _ban(self, command: Ban, by: str, now: float) -> Iterator[Banned]:
        """Yield the bans of a network, or of a name and of the key of who has it, or left and may come back."""
        until = FOREVER if command.seconds is None else int(now + command.seconds)
        if sum(ban.until > now for ban in self._moderation.bans.values()) >= MAX_BANS:
            raise IllegalMessage(f"There are {MAX_BANS} bans already: end some of them first.")
        why = _reason(command.why)
        try:
            subject = moderation.of_network(command.whom)
        except ValueError:
            name = normalised(command.whom)
            yield Banned(f"name {name.key}", name.shown, until, by, why, now)
            holder = self._group.by_key.get(name.key) or self._group.reservations.named(name.key, now)
            if holder is not None and holder.secret is not None:
                yield Banned(f"key {holder.secret}", name.shown, until, by, why, now)
        else:
            if not command.sure and self._concerns_all(subject):
                raise IllegalMessage("That would ban everybody.")
            yield Banned(subject, "", until, by, why, now)

    def _concerns_all(self, subject: str) -> bool:
        network = ip_network(subject.partition(" ")[2])
        if not network.prefixlen:
            return True
        hosts = {member.host for member in self._group.members.values()}
        return len(hosts) > 1 and all(moderation.is_in(host, network) for host in hosts)

    def _banned(self, whom: str) -> list[str]:
        """Return the subjects that a ban of this name, address or network has."""
        try:
            subjects = [moderation.of_network(whom)]
        except ValueError:
            wanted = normalised(whom)
            bans = self._moderation.bans.values()
            subjects = [ban.subject for ban in bans if ban.shown and normalised(ban.shown).key == wanted.key]
        found = [subject for subject in subjects if subject in self._moderation.bans]
        if not found:
            raise IllegalMessage(f"{whom.strip()} is not banned.")
        return found

    def _release(self, name: str, by: str, now: float) -> Released:
        wanted = normalised(name)
        kept = self._group.reservations.named(wanted.key, now)
        if kept is None:
            raise IllegalMessage(f"The name {wanted.shown} is not reserved.")
        return Released(kept.secret, kept.name, by, now)

    def _erase(self, command: Erase, by: str, now: float) -> Erased:
        history = self._group.history
        numbering = self._group.numbering
        lines = range(numbering.line(command.first - 1) + 1, numbering.line(command.last) + 1)
        lines = range(max(lines.start, history.first), min(lines.stop, history.head + 1))
        if not lines:
            kept = f"{numbering.of(history.first)} to {numbering.of(history.head)} are kept"
            raise IllegalMessage(f"There is no such line: {kept if history.head else 'nothing was said yet'}.")
        member = self.author(command.member) if command.member else 0
        looked_at = (history.by(member, lines) if member else lines)[:MAX_ERASED]
        command.upto = numbering.of(looked_at[-1]) if looked_at else command.last
        found = self._group.texts(looked_at)
        command.count = len(found)
        if not found:
            raise IllegalMessage("There is no text, and no file, to erase.")
        return Erased(found[0], found[-1], member, by, _reason(command.why), now)

    def author(self, name: str) -> int:
        """Return the id of the member with this name, or of the last one that had it. Raise IllegalMessage."""
        wanted = normalised(name)
        member = self._group.by_key.get(wanted.key)
        found = self._group.last_author(wanted.shown) if member is None else member.id
        if not found:
            raise IllegalMessage(f"No line that is kept is by {wanted.shown}.")
        return found

    def _topic(self, text: str, by: str, now: float) -> Topic:
        if text and len(check_text(text)) > MAX_TOPIC:
            raise IllegalMessage(f"A topic has at most {MAX_TOPIC} characters.")
        if text == self._moderation.topic:
            raise IllegalMessage("That is the topic already." if text else "There is no topic.")
        return Topic(text, by, now)

    def _change(self, command: Change, by: str, now: float) -> Changed:
        return Changed(command.fact, facts.check(command.fact, command.value), by, now)


def _reason(why: str) -> str:
    return check_text(why) if why else ""
