"""Answers about the group that live front ends share: a greeting, the members, the files."""

from __future__ import annotations

import time
from collections.abc import Sequence

from groupchat.core.limits import GREETING_LINES, MAX_ANSWER, MAX_FILES_SHOWN, MAX_NAMES, MAX_USERS
from groupchat.core.notices import TOPIC, size_in_words
from groupchat.files import File
from groupchat.service.group_service import GroupService
from groupchat.wire.datagrams import list_of_names

Words = list[str | bytes | bytearray]
"""Lines, each without its end."""


def introduction(service: GroupService) -> str:
    """Return the first line of the greeting."""
    return f"This is {service.settings.name}, a group chat."


def greeting(service: GroupService) -> Words:
    """Return the greeting: the last lines that anybody may read, and who is here."""
    group = service.group
    last = group.history.last(GREETING_LINES, 0, MAX_ANSWER)
    count = len(group.members)
    names = list_of_names(group.names(), count, MAX_NAMES).decode()
    said: Words = ["Said last:", *[b"  " + line for _, line in last]] if last else []
    return [
        introduction(service),
        *([topic(service)] if group.moderation.topic else []),
        *said,
        f"Here now: {names}." if count else "Nobody is here yet.",
    ]


def topic(service: GroupService) -> str:
    """Return the answer to /topic."""
    text = service.group.moderation.topic
    return TOPIC + text if text else "There is no topic."


def users(service: GroupService, now: float) -> Words:
    """Return the answer to /users: how each member takes part, since when, and how many lines behind it is."""
    members = service.group.members
    today = _moment(now)[:10]
    found: Words = [f"{len(members)} here:" if len(members) > 1 else "Only you are here:"]
    for member in members.values():
        if len(found) > MAX_USERS:
            found.append(f"and {len(members) - MAX_USERS} more")
            break
        how = "polling" if member.address else "live" if service.seats.is_connected(member) else "away"
        how = f"operator, {how}" if member.operator else how
        since = _moment(member.since).removeprefix(f"{today} ") if member.since else "long ago"
        found.append(f"{member.name}  {how}, joined {since}, {service.group.behind(member)} behind")
    return found


def files(shared: Sequence[File]) -> Words:
    """Return the answer to /files: the shared files, or the last of them if there are many."""
    if not shared:
        return ["There are no files yet."]
    found: Words = [f"{len(shared)} files:" if len(shared) > 1 else "1 file:"]
    found += [f"{file.name}  {size_in_words(file.size)}, {_moment(file.at)}" for file in shared[-MAX_FILES_SHOWN:]]
    more = len(shared) - MAX_FILES_SHOWN
    return [*found, f"and {more} more"] if more > 0 else found


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))


def history(last: Sequence[tuple[int, bytes | bytearray]], *, numbered: bool, operator: bool) -> Words:
    """Return the last lines as they came; for a program, or an operator, with their numbers."""
    if numbered:
        return [b"%d %s" % line for line in last]
    if operator and last:
        return [b"  %d  %s" % line for line in last]
    return [b"  " + line for _, line in last] or ["There is nothing yet."]
