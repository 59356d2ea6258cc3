"""What can be asked of the daemon over the control socket, and who did it: see server.py for the form of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from groupchat import __version__
from groupchat.core import facts
from groupchat.core.commands import (
    Announce,
    Ban,
    Change,
    Erase,
    Mute,
    OperatorCommand,
    Release,
    Remove,
    SetTopic,
    Unban,
    Unmute,
)
from groupchat.core.errors import IllegalMessage
from groupchat.core.events import FOREVER
from groupchat.core.group import Member
from groupchat.service.audit import Audit
from groupchat.service.group_service import GroupService

Request = dict[str, Any]
Item = Mapping[str, Any]

FOLLOW_SECONDS = 0.25
"""How often it is looked for new lines."""

LINES = 20
MAX_ANSWER = 64 * 1024
"""Lines that `log` shows at first, and bytes that it reads at once."""

AT_ONCE = 500
"""Members that are described before others have their turn."""

HOUR = 3_600.0


class IConfiguration(Protocol):
    """What the daemon runs with: see configuration.py."""

    def listing(self) -> Iterator[Item]: ...

    def reload(self) -> list[Item]: ...

    def set(self, name: str, value: str) -> list[Item]: ...


@dataclass(frozen=True, slots=True)
class Daemon:
    """What the requests are about. `facts` returns more for `status`, `stop` ends the daemon.

    It was `started` at a time, or does not run: then this is about its file.
    """

    service: GroupService
    audit: Audit
    clock: IReactorTime
    facts: Callable[[], Mapping[str, Any]]
    stop: Callable[[], None]
    started: float | None
    configuration: IConfiguration | None = None


async def ask(daemon: Daemon, request: Request, user: str) -> AsyncIterator[Item]:
    """Answer a request of a user. Raise IllegalMessage."""
    asked = str(request.get("do"))
    if answer := _ANSWERS.get(asked):
        async for item in answer(daemon, request, user):
            yield item
    elif asked in _COMMANDS:
        command = _COMMANDS[asked](request)
        command.by, command.why = user, _text(request, "why", "")
        await daemon.service.operate(command)
    else:
        known = ", ".join(sorted([*_ANSWERS, *_COMMANDS]))
        raise IllegalMessage(f"The daemon knows nothing of the kind. It knows: {known}.")


async def status(daemon: Daemon, request: Request, user: str) -> AsyncIterator[Item]:
    service, group = daemon.service, daemon.service.group
    count, seconds = service.commits()
    yield {
        "version": __version__,
        "name": service.settings.name,
        "topic": group.moderation.topic,
        "up": None if daemon.started is None else daemon.clock.seconds() - daemon.started,
        "stores": service.is_well(),
        "members": len(group.members),
        "live": sum(map(service.seats.is_connected, group.members.values())),
        "lines": group.history.head,
        "kept": group.history.head - group.history.first + 1,
        "commits": count,
        "commit_ms": round(1000 * seconds / count, 3) if count else None,
        "refused": dict(service.refused),
        "dropped": service.dropped,
        **daemon.facts(),
    }


async def who(daemon: Daemon, request: Request, user: str) -> AsyncIterator[Item]:
    """List the members."""
    members = tuple(daemon.service.group.members.values())
    for index, member in enumerate(members):
        if index and index % AT_ONCE == 0:
            await deferLater(daemon.clock, 0)
        if member.id in daemon.service.group.members:
            yield _described(daemon, member)


def _described(daemon: Daemon, member: Member) -> Item:
    service, group = daemon.service, daemon.service.group
    seat = service.seats.of(member) if member.address is None else None
    history = group.history
    recent = range(history.first_at(daemon.clock.seconds() - HOUR), history.head + 1)
    return {
        "name": member.name,
        "way": "udp" if seat is None else getattr(seat.client, "way", "away"),
        "host": member.host,
        "port": None if member.address is None else member.address[1],
        "since": member.since,
        "contact": max(member.contact, member.logged),
        "behind": group.behind(member),
        "lines": len(history.by(member.id, recent)),
        "operator": member.operator,
        "muted": group.moderation.mute(member.secret, member.host) is not None,
    }


async def log(daemon: Daemon, request: Request, user: str) -> AsyncIterator[Item]:
    """Show the last lines and, with `follow`, those that come; private ones are not shown."""
    numbering, history = daemon.service.group.numbering, daemon.service.group.history
    after = max(history.head - _number(request, "lines", LINES, 0, 100_000), history.first - 1)
    while True:
        runs, is_all = history.take(history.withheld(0).shown(after, history.head), MAX_ANSWER, AT_ONCE)
        for number in chain.from_iterable(runs):
            if number >= history.first:  # or it was trimmed meanwhile
                line, after = history.read(number - 1, number, MAX_ANSWER)
                yield {"number": numbering.of(number), "at": history.at(number), "text": bytes(line).decode()}
        if not is_all:
            await deferLater(daemon.clock, 0)
        elif request.get("follow") is True:
            await deferLater(daemon.clock, FOLLOW_SECONDS)
        else:
            break
        if after < history.first - 1:
            yield {"lost": history.first - 1 - after}
            after = history.first - 1


async def bans(daemon: Daemon, request: Request, user: str) -> AsyncIterator[Item]:
    """List the bans in force, and the mutes."""
    decisions, now = daemon.service.group.moderation, daemon.clock.seconds()
    for ban in tuple(decisions.bans.values()):
        if ban.until > now:
            whom = ban.shown or ban.subject.partition(" ")[2]
            until = None if ban.until == FOREVER else ban.until
            kind = ban.subject.partition(" ")[0]
            yield {"whom": whom, "kind": kind, "until": until, "by": ban.by, "why": ban.why, "at": ban.at}
    for mute in tuple(decisions.mutes.values()):
        kind, _, value = mute.subject.partition(" ")
        whom = f"{mute.shown}, and all without a key at {value}" if kind == "net" else mute.shown
        yield {"whom": whom, "kind": "mute", "until": None, "by": mute.by, "why": mute.why, "at": mute.at}


async def erase(daemon: Daemon, request: Request, user: str) -> AsyncIterator[Item]:
    """Erase lines, a portion a turn; the last item comes when no file has their texts any more."""
    service = daemon.service
    member, why = _text(request, "member", ""), _text(request, "why", "")
    numbering, history = service.group.numbering, service.group.history
    first, last = numbering.of(history.first), numbering.of(history.head)
    if not member:
        first = _number(request, "first", first, 1)
        last = _number(request, "last", first, 1)
    count = 0
    async for count, upto in service.erase(Erase(first, last, member, by=user, why=why)):
        yield {"erased": count, "upto": upto}
    yield {"erased": count, "done": True, "copies": [*daemon.audit.backups(), *daemon.audit.kept_aside()]}


async def audit(daemon: Daemon, request: Request, user: str) -> AsyncIterator[Item]:
    """Show what operators did."""
    for record in daemon.audit.last(_number(request, "lines", 100, 0, 100_000)):
        yield record


async def config(daemon: Daemon, request: Request, user: str) -> AsyncIterator[Item]:
    """List the settings in force; of a file without a daemon, only the facts of the group are known."""
    known = daemon.service.group.moderation.facts
    items = [{"name": name, "value": value, "source": "fact"} for name, value in known.items()]
    for item in items if daemon.configuration is None else daemon.configuration.listing():
        yield item


async def reload(daemon: Daemon, request: Request, user: str) -> AsyncIterator[Item]:
    """Read the settings anew, and show what changed."""
    if daemon.configuration is None:
        raise IllegalMessage("Only a running daemon can reload.")
    changes = daemon.configuration.reload()
    done = [change["name"] for change in changes if change["state"] in ("changed", "renewed")]
    _record(daemon, "reload", user, changed=done)
    for change in changes:
        yield change


async def set_(daemon: Daemon, request: Request, user: str) -> AsyncIterator[Item]:
    """Change a fact of the group; or an option, until the daemon restarts."""
    name, value, why = _text(request, "name"), _text(request, "value"), _text(request, "why", "")
    if name in facts.FACTS:
        await daemon.service.operate(Change(name, value, by=user, why=why))
        return
    if daemon.configuration is None:
        raise IllegalMessage(f"Only a running daemon has {name[:64]}. Without one: {', '.join(facts.FACTS)}.")
    changes = daemon.configuration.set(name, value)
    _record(daemon, "set", user, name=name, text=value, why=why)
    for change in changes:
        yield change


def _record(daemon: Daemon, did: str, user: str, **fields: Any) -> None:
    try:
        daemon.audit.record(did, user, daemon.service.seconds(), **fields)
    except OSError as error:
        raise IllegalMessage(f"It is done, but the audit trail cannot be written: {error.strerror}.") from error


async def stop(daemon: Daemon, request: Request, user: str) -> AsyncIterator[Item]:
    daemon.audit.record("stop", user, daemon.service.seconds())
    daemon.clock.callLater(0, daemon.stop)
    return
    yield {}  # makes this an iterator


def _ban(request: Request) -> Ban:
    seconds = request.get("seconds")
    if seconds is not None and (type(seconds) not in (int, float) or not 0 < seconds <= 10 * 366 * 86_400):
        raise IllegalMessage("A ban is for more than 0 seconds, and at most ten years.")
    return Ban(_text(request, "whom"), seconds, request.get("sure") is True)


_ANSWERS: dict[str, Callable[[Daemon, Request, str], AsyncIterator[Item]]] = {
    "status": status,
    "who": who,
    "log": log,
    "bans": bans,
    "erase": erase,
    "audit": audit,
    "config": config,
    "reload": reload,
    "set": set_,
    "stop": stop,
}

_COMMANDS: dict[str, Callable[[Request], OperatorCommand]] = {
    "say": lambda request: Announce(_text(request, "text")),
    "topic": lambda request: SetTopic(_text(request, "text", "")),
    "remove": lambda request: Remove(_text(request, "name")),
    "mute": lambda request: Mute(_text(request, "name")),
    "unmute": lambda request: Unmute(_text(request, "name")),
    "ban": _ban,
    "unban": lambda request: Unban(_text(request, "whom")),
    "release": lambda request: Release(_text(request, "name")),
}


def _text(request: Request, field: str, otherwise: str | None = None) -> str:
    found = request.get(field, otherwise)
    if not isinstance(found, str):
        raise IllegalMessage(f"{request['do']} needs {field}, a text.")
    try:
        found.encode()
    except UnicodeEncodeError:
        raise IllegalMessage(f"{field} is no text.") from None
    return found


def _number(request: Request, field: str, otherwise: int, least: int, most: int = 2**53) -> int:
    found = request.get(field, otherwise)
    if type(found) is not int or not least <= found <= most:
        raise IllegalMessage(f"{field} must be a number from {least} to {most}.")
    return found
