"""What a command becomes: the events that it asks to append, or a refusal.

Pure, like the group that it asks: the time is an argument. All limits are held here, before an event is appended, and
none when it is applied: nodes with other settings still come to the same state.
"""

from __future__ import annotations

import secrets
from collections import Counter

from groupchat.core.commands import Command, Join, Rename, Say, SayAsGuest, Share, Whisper
from groupchat.core.errors import IllegalMessage
from groupchat.core.events import GuestSaid, Joined, Left, Renamed, Said, Shared, Whispered
from groupchat.core.filenames import check_name
from groupchat.core.group import Group, Member
from groupchat.core.limits import MAX_SIZE, Settings
from groupchat.core.names import MAX_CHARACTERS, Nickname, nickname
from groupchat.core.pace import Pace
from groupchat.core.texts import check_text

DAY = 86_400.0

GRACE = 3_600.0
"""How long, in seconds, members can be heard of again before any is taken for silent for days."""


class Rules:
    """The rules of one group. Every method raises IllegalMessage, saying why, for what is not allowed now.

    Joins that are under way count as members already: `joining` says that one began, `joined` that it is settled.

    `listening` is since when members could be heard of here: nobody was silent before. It is when this node started,
    or when its clock was set, which makes all that was heard before seem long ago.
    """

    def __init__(self, group: Group, settings: Settings) -> None:
        self.listening = 0.0
        self.pace = Pace(settings.rate)
        self._joining: Counter[str] = Counter()
        self._group = group
        self._settings = settings

    def join(self, host: str, port: int | None, command: Join, now: float) -> list[Joined | Left]:
        """Somebody becomes a member; if the name was that of its own client before a restart, that one leaves first."""
        wanted = nickname(command.name)
        holder = self._group.by_key.get(wanted.key)
        released = [] if holder is None else [self._release(holder, host, now)]
        self._check_room(host, len(released))
        self.pace.check_join(host, now)
        return [*released, Joined(secrets.randbits(63), wanted.shown, wanted.key, now, host, port, command.secret)]

    def joining(self, host: str) -> None:
        self._joining[host] += 1

    def joined(self, host: str) -> None:
        self._joining[host] -= 1
        if not self._joining[host]:
            del self._joining[host]

    def join_again(self, member: Member, command: Join) -> None:
        """A member may repeat its join letter for letter, and nothing else that joins."""
        if command.name != member.name and nickname(command.name).shown != member.name:
            raise IllegalMessage(f"You are {member.name} already: rename, or leave first.")

    def is_done(self, member: Member, command: Command) -> bool:
        """Whether this took effect before, and is asked again since the answer was lost."""
        client_id = getattr(command, "id", 0)
        if not client_id or member.ids is None:
            return False
        if member.ids.is_forgotten(client_id):
            raise IllegalMessage("That number is too far behind the highest that you have used.")
        return client_id in member.ids

    def say(self, member: Member, command: Say, now: float) -> Said:
        text = check_text(command.text)
        self.pace.take(member, now)
        return Said(member.id, member.name, text, now, command.id)

    def whisper(self, member: Member, command: Whisper, now: float) -> Whispered:
        self.pace.take(member, now)
        reader, text = self._addressed(command.words)
        if reader is member:
            raise IllegalMessage("That is you.")
        return Whispered(member.id, member.name, reader.id, reader.name, check_text(text), now, command.id)

    def _addressed(self, words: str) -> tuple[Member, str]:
        """To whom, and what. Whoever writes `Name: ` means that name, also when its member has just left."""
        name, colon, text = words.partition(":")
        if colon and (reader := self._named(name)):
            return reader, text.removeprefix(" ")
        if colon and text[:1] in ("", " ") and _may_be_name(name):
            raise IllegalMessage(f"Nobody here is called {name.strip()}. Write /msg Name: text.")
        spaces = [index for index, character in enumerate(words[: MAX_CHARACTERS + 1]) if character == " "]
        for end in reversed(spaces):
            if reader := self._named(words[:end]):
                return reader, words[end + 1 :]
        raise IllegalMessage("Nobody here has that name, or there is no text behind it. Write /msg Name: text.")

    def _named(self, name: str) -> Member | None:
        try:
            return self._group.by_key.get(nickname(name).key)
        except IllegalMessage:
            return None

    def rename(self, member: Member, command: Rename, now: float) -> Renamed:
        self.pace.take(member, now)  # first: a name costs much to look at, be it legal or not
        wanted = nickname(command.name)
        if wanted.shown == member.name:
            raise IllegalMessage(f"You are {member.name} already.")
        holder = self._group.by_key.get(wanted.key)
        if holder is not None and holder is not member:
            raise IllegalMessage(f"The name {holder.name} is in use.")
        return Renamed(member.id, member.name, wanted.shown, wanted.key, now, command.id)

    def leave(self, member: Member, now: float) -> Left:
        return Left(member.id, member.name, now)

    def share(self, host: str, command: Share, now: float) -> Shared:
        file = check_name(command.file)
        if not 0 <= command.size <= MAX_SIZE:
            raise IllegalMessage("No file has that size.")
        if command.member:
            member = self._sharer(command.member)
            self.pace.take(member, now)
            return Shared(member.id, member.name, "", file, command.size, now)
        self.pace.take_from(host, now)
        guest = self._guest(command.guest)
        return Shared(0, guest.shown, guest.key, file, command.size, now)

    def may_share(self, host: str, member_id: int, guest: str, now: float) -> None:
        """Whether a `share` by this one would be allowed now."""
        if member_id:
            self.pace.check(self._sharer(member_id), now)
        else:
            self.pace.check_guest(host, now)
            self._guest(guest)

    def say_as_guest(self, host: str, command: SayAsGuest, now: float) -> GuestSaid:
        text = check_text(command.text)
        self.pace.take_from(host, now)  # first: as for a rename
        guest = self._guest(command.name)
        return GuestSaid(guest.shown, guest.key, text, now)

    def _sharer(self, member_id: int) -> Member:
        member = self._group.members.get(member_id)
        if member is None:
            raise IllegalMessage("You are in the group no longer: join again.")
        return member

    def _guest(self, name: str) -> Nickname:
        """Nobody may be taken for a member."""
        wanted = nickname(name)
        holder = self._group.by_key.get(wanted.key)
        if holder is not None:
            raise IllegalMessage(f"The name {holder.name} is in use.")
        return wanted

    def is_silent(self, member: Member, now: float) -> bool:
        """Whether a member has been silent for so long that it leaves by itself."""
        idle = self._settings.idle * DAY
        return bool(idle) and now - _last_contact(member) >= idle and now - self.listening >= GRACE

    def oldest(self, now: float) -> float:
        """The time before which no line is kept."""
        if self._settings.keep_days and now - self.listening >= GRACE:
            return now - self._settings.keep_days * DAY
        return float("-inf")

    def _release(self, holder: Member, host: str, now: float) -> Left:
        """How the holder of a name gives it up to this host. One with a connection does not."""
        release = self._settings.release
        may_be_restarted = holder.address is not None and holder.host == host
        silence = now - max(_last_contact(holder), self.listening)
        if not (release and may_be_restarted and silence >= release):
            raise IllegalMessage(f"The name {holder.name} is in use.")
        return self.leave(holder, now)

    def _check_room(self, host: str, leaving: int) -> None:
        """Whether there is room for one more of this host, when as many of it leave with the same entry."""
        settings, joining = self._settings, self._joining
        if len(self._group.members) + joining.total() - leaving >= settings.max_members:
            raise IllegalMessage("The group is full.")
        if settings.max_per_host and self._group.per_host[host] + joining[host] - leaving >= settings.max_per_host:
            raise IllegalMessage("Too many members have your address.")


def _last_contact(member: Member) -> float:
    """When a member was last heard of, or at the latest may have been.

    What only the log knows was heard elsewhere: it is told to the minute, once that minute is over, and what was heard
    since is told when the next one is.
    """
    if member.logged // 60 > member.contact // 60:
        return (member.logged // 60 + 3) * 60
    return member.contact


def _may_be_name(words: str) -> bool:
    try:
        nickname(words)
    except IllegalMessage:
        return False
    return True
