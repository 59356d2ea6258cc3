"""The rules that turn a command into the events to append, or refuse it.

They are pure, like the group: the time is an argument. All limits are checked here, before an event is appended, and
none when it is applied, so that nodes with different settings come to the same state.
"""

from __future__ import annotations

import secrets

from groupchat.core.commands import Command, Join, Rename, Say, SayAsGuest, Share, Whisper
from groupchat.core.errors import BadName, IllegalMessage, ReadOnly
from groupchat.core.events import Banned, GuestSaid, Joined, Left, Renamed, Said, Shared, Whispered
from groupchat.core.filenames import check_name
from groupchat.core.group import Group, Member
from groupchat.core.limits import MAX_CHARACTERS, MAX_RESERVED, MAX_RESERVED_HOST, MAX_SIZE, Settings
from groupchat.core.names import Nickname, looks_like, nickname, normalised
from groupchat.core.networks import network_of
from groupchat.core.operating import OperatorRules
from groupchat.core.pace import Pace
from groupchat.core.room import Room
from groupchat.core.skeletons import skeletons
from groupchat.core.texts import check_text

DAY = 86_400.0

GRACE = 3_600.0
"""Seconds after `Rules.listening` in which no member leaves for being silent, and no line is forgotten for its age."""


class Rules:
    """The rules of one group. A method raises IllegalMessage, saying why, for a command that is not allowed now.

    `listening` is the time since when this node could have heard of members: a silence never began earlier. It is when
    the node started, or when its clock was last set, which can make any contact before look long ago.
    """

    def __init__(self, group: Group, settings: Settings) -> None:
        self.listening = 0.0
        self.pace = Pace(settings.rate)
        self.room = Room(group, settings)
        self._naming: dict[object, tuple[str, str]] = {}  # the skeletons of names that are being taken, by who asks
        self._wanted: dict[str, str] = {}  # the key of the name, for each of them
        self.operating = OperatorRules(group)
        self._group = group
        self._moderation = group.moderation
        self.settings = settings

    def configure(self, settings: Settings) -> None:
        """Use other settings from now on."""
        self.settings = settings
        self.pace.rate = settings.rate
        self.room.configure(settings)

    def join(self, host: str, port: int | None, command: Join, now: float) -> list[Joined | Left]:
        """Return the join of a new member, after the leave of the one that had its name, or its seat, before.

        Whoever has the key of a reservation is the same member again, under whatever name. Raises Unanswered, too.
        """
        self._moderation.check(host, port, command.secret, now)
        wanted = self._free(command.name, command.secret, now)
        kept = self._group.reservations.of(command.secret, now)
        holder = self._group.by_key.get(wanted.key)
        leaves = [] if holder is None else [self._release(holder, host, now)]
        self._check_looks(wanted, holder)
        self.pace.check_join(host, now)
        moved = self.room.admit(host, port is not None, len(leaves), now)
        if moved is not None:
            leaves.append(self.leave(moved, now))
        member = secrets.randbits(63) if kept is None else kept.member
        return [*leaves, Joined(member, wanted.shown, wanted.key, now, host, port, command.secret)]

    def naming(self, asker: object, event: Joined | Renamed) -> None:
        """Record that a name is being taken: until `named` is called, no name of another key may look like it."""
        self._naming[asker] = skeletons(event.name if isinstance(event, Joined) else event.new, event.key)
        self._wanted.update(dict.fromkeys(self._naming[asker], event.key))

    def named(self, asker: object) -> None:
        """Record that the name is settled: it is in the group's index by now, or was refused."""
        for skeleton in self._naming.pop(asker, ()):
            self._wanted.pop(skeleton, None)

    def join_again(self, member: Member, command: Join) -> None:
        """Allow a member to repeat its join with the same name, but not to join under another one."""
        if command.name != member.name and nickname(command.name).shown != member.name:
            raise IllegalMessage(f"You are {member.name} already: rename, or leave first.")

    def is_done(self, member: Member, command: Command) -> bool:
        """Return True if the command took effect before, and was sent again because its answer was lost."""
        client_id = getattr(command, "id", 0)
        if not client_id or member.ids is None:
            return False
        if member.ids.is_forgotten(client_id):
            raise IllegalMessage("That number is too far behind the highest that you have used.")
        return client_id in member.ids

    def say(self, member: Member, command: Say, now: float) -> Said:
        text = check_text(command.text)
        if self._moderation.is_restricting:
            self._check_saying(member)
        self.pace.take(member, now)
        return Said(member.id, member.name, text, now, command.id)

    def whisper(self, member: Member, command: Whisper, now: float) -> Whispered:
        self._check_writing(member)
        self.pace.take(member, now)
        reader, text = self._addressed(command.words)
        if reader is member:
            raise IllegalMessage("That is you.")
        return Whispered(member.id, member.name, reader.id, reader.name, check_text(text), now, command.id)

    def _addressed(self, words: str) -> tuple[Member, str]:
        """Return the reader and the text. `Name: ` stands for that name only, even if its member has just left."""
        name, colon, text = words.partition(":")
        if colon and (reader := self._named(name)):
            return reader, text.removeprefix(" ")
        if colon and text[:1] in ("", " ") and _is_name(name):
            raise IllegalMessage(f"Nobody here is called {name.strip()}. Write /msg Name: text.")
        spaces = [index for index, character in enumerate(words[: MAX_CHARACTERS + 1]) if character == " "]
        for end in reversed(spaces):
            if reader := self._named(words[:end]):
                return reader, words[end + 1 :]
        raise IllegalMessage("Nobody here has that name, or there is no text after it. Write /msg Name: text.")

    def _named(self, name: str) -> Member | None:
        try:
            return self._group.by_key.get(normalised(name).key)
        except IllegalMessage:
            return None

    def rename(self, member: Member, command: Rename, now: float) -> Renamed:
        self._check_writing(member)
        self.pace.take(member, now)  # first, because even an illegal name is expensive to check
        wanted = self._free(command.name, member.secret, now)
        if wanted.shown == member.name:
            raise IllegalMessage(f"You are {member.name} already.")
        holder = self._group.by_key.get(wanted.key)
        if holder is not None and holder is not member:
            raise _in_use(holder)
        self._check_looks(wanted, member)
        return Renamed(member.id, member.name, wanted.shown, wanted.key, now, command.id)

    def leave(self, member: Member, now: float) -> Left:
        """Return the leave of a member for good."""
        return Left(member.id, member.name, now)

    def vacate(self, member: Member, now: float) -> Left:
        """Return the leave of a member to whose seat nobody came back. Its name and its place may be kept for it."""
        return Left(member.id, member.name, now, self._kept_until(member, now))

    def _kept_until(self, member: Member, now: float) -> int:
        kept = self._group.reservations
        is_full = len(kept) >= MAX_RESERVED or kept.per_host[network_of(member.host)] >= MAX_RESERVED_HOST
        if member.secret is None or not self._group.was_active(member) or is_full or self.ban(member, now):
            return 0
        return int(now + self.settings.reserve * DAY) if self.settings.reserve else 0

    def share(self, host: str, command: Share, now: float) -> Shared:
        file = check_name(command.file)
        if not 0 <= command.size <= MAX_SIZE:
            raise IllegalMessage("A file cannot have that size.")
        if command.member:
            member = self._sharer(command.member)
            self._check_saying(member)
            self.pace.take(member, now)
            return Shared(member.id, member.name, "", file, command.size, now)
        self.pace.take_from(host, now)
        guest = self._guest(command.guest, host, now)
        return Shared(0, guest.shown, guest.key, file, command.size, now)

    def may_share(self, host: str, member_id: int, guest: str, now: float) -> None:
        """Raise IllegalMessage if this member, or else this guest, may not share a file now."""
        if member_id:
            member = self._sharer(member_id)
            self._check_saying(member)
            self.pace.check(member, now)
        else:
            self.pace.check_guest(host, now)
            self._guest(guest, host, now)

    def say_as_guest(self, host: str, command: SayAsGuest, now: float) -> GuestSaid:
        text = check_text(command.text)
        self.pace.take_from(host, now)  # first, as for a rename
        guest = self._guest(command.name, host, now)
        return GuestSaid(guest.shown, guest.key, text, now)

    def _sharer(self, member_id: int) -> Member:
        member = self._group.members.get(member_id)
        if member is None:
            raise IllegalMessage("You are no longer in the group: join again.")
        return member

    def _guest(self, name: str, host: str, now: float) -> Nickname:
        """Return the nickname of a guest, which no member may have."""
        self._moderation.check(host, None, None, now)
        self._moderation.check_guest(host)
        self._check_post()
        wanted = self._free(name, None, now)
        holder = self._group.by_key.get(wanted.key)
        if holder is not None:
            raise _in_use(holder)
        self._check_looks(wanted)
        return wanted

    def _check_writing(self, member: Member) -> None:
        """Raise IllegalMessage for a member that may only read."""
        self._moderation.check_writing(member.secret, member.host)

    def _check_saying(self, member: Member) -> None:
        """Raise IllegalMessage for a member that may not say something to all."""
        self._check_writing(member)
        if not member.operator:
            self._check_post()

    def _check_post(self) -> None:
        if self._moderation.only_operators_post:
            raise ReadOnly("Only operators say something to all here.")

    def ban(self, member: Member, now: float) -> Banned | None:
        """Return the ban, if any, that concerns a member."""
        if not self._moderation.bans:
            return None
        port = None if member.address is None else member.address[1]
        return self._moderation.ban_of(member.host, port, member.secret, now) or self._moderation.ban_of_name(
            member.name, member.key, now
        )

    def is_silent(self, member: Member, now: float) -> bool:
        """Return True if a member has been silent for so long that it leaves by itself."""
        idle = self.settings.idle * DAY
        return bool(idle) and now - _last_contact(member) >= idle and now - self.listening >= GRACE

    def oldest(self, now: float) -> float:
        """Return the time before which no line is kept."""
        if self.settings.keep_days and now - self.listening >= GRACE:
            return now - self.settings.keep_days * DAY
        return float("-inf")

    def _free(self, name: str, secret: str | None, now: float) -> Nickname:
        """Return a name that neither operators nor members who left keep from whoever has this key of a session."""
        wanted = nickname(name)
        self._moderation.check_name(wanted.shown, wanted.key, now)
        if looks_like(wanted, self.settings.reserved_names):
            raise BadName(f"Nobody may be called {wanted.shown} here.")
        kept = self._group.reservations.alike(wanted.shown, wanted.key, secret, now)
        if kept is not None:
            which = "is" if kept.key == wanted.key else "looks like one that is"
            raise BadName(f"The name {wanted.shown} {which} reserved for somebody who was here before.")
        return wanted

    def _check_looks(self, wanted: Nickname, own: Member | None = None) -> None:
        """Raise IllegalMessage if a name looks like one in use, in a way in which the name of `own` does not."""
        allowed = () if own is None else skeletons(own.name, own.key)
        for skeleton in skeletons(wanted.shown, wanted.key):
            in_use = skeleton in self._group.skeletons or self._wanted.get(skeleton, wanted.key) != wanted.key
            if in_use and skeleton not in allowed:
                raise BadName(f"The name {wanted.shown} looks like one that is in use.")

    def _release(self, holder: Member, host: str, now: float) -> Left:
        """Return the leave of a name's holder, for its restarted client. Raises IllegalMessage if it keeps the name."""
        release = self.settings.release
        may_be_restarted = holder.address is not None and holder.host == host
        silence = now - max(_last_contact(holder), self.listening)
        if not (release and may_be_restarted and silence >= release):
            raise _in_use(holder)
        return self.leave(holder, now)


def _last_contact(member: Member) -> float:
    """Return the latest time at which a member may have been heard of.

    A contact that only the log knows of was with another node. It is recorded to the minute after that minute is over,
    and a later one may be recorded a minute after that.
    """
    if member.logged // 60 > member.contact // 60:
        return (member.logged // 60 + 3) * 60
    return member.contact


def _is_name(words: str) -> bool:
    try:
        nickname(words)
    except IllegalMessage:
        return False
    return True


def _in_use(holder: Member) -> IllegalMessage:
    return BadName(f"The name {holder.name} is in use.")
