"""Requests about the conversation: join, say, leave; members and history."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any

from groupchat.core.commands import Command, Leave, Rename, Say, SayAsGuest, Whisper
from groupchat.core.errors import IllegalMessage
from groupchat.core.group import Member
from groupchat.core.ids import MAX_ID
from groupchat.core.limits import MAX_USERS, MAX_WEB_BODY
from groupchat.core.names import nickname
from groupchat.core.texts import MAX_BYTES, one_line
from groupchat.frontends import guests
from groupchat.frontends.web import answers, guard
from groupchat.frontends.web.answers import Answer, Refusal
from groupchat.frontends.web.request import COOKIE, Request, number
from groupchat.frontends.web.site import Route, Routes, Site

LINES = 50
MAX_LINES = 200
"""The number of lines of history in one answer: by default, and at most."""

MAX_PAGE = 256 * 1024
"""The approximate limit of an answer with history, in bytes."""

JOIN = "You are not in the group: join first."


async def password(site: Site, request: Request) -> Answer:
    """Give a cookie to a client that knows the password."""
    cookie = site.access.cookie
    if cookie is None:
        return answers.nothing()
    if not await site.access.is_password(request, one_line(bytes(request.body))):
        raise Refusal(403, "That is not the password.", password=True)
    return answers.nothing((guard.set_cookie(cookie.name, cookie.token(), secure=request.secure),))


def me(site: Site, request: Request) -> Answer:
    """Return who the client is, and facts about the group."""
    member = request.member
    if member is not None:
        site.sessions.touch(member)
    value = {
        "group": site.service.settings.name,
        **_who(member),
        "last_id": member.ids.last if member is not None and member.ids is not None else 0,
        "head": _head(site),
        "topic": site.group.moderation.topic,
        "operator": member is not None and member.operator,
        "files": site.has_files,
        "max_file": site.max_file,
        "max_text": MAX_BYTES,
    }
    return answers.of(value)


def _head(site: Site) -> int:
    """Return the number of the last line, or the one that it was raised to since."""
    return site.group.numbering.after(site.group.history.head)


def _who(member: Member | None) -> dict[str, Any]:
    """Return who a member is. One that came back to its place has its id again, and sits there `since` another time."""
    if member is None:
        return {"name": None, "id": None, "since": None}
    return {"name": member.name, "id": str(member.id), "since": member.since}


async def name(site: Site, request: Request) -> Answer:
    """Join; or rename a member.

    A browser joins with a new key, since another program may have planted its cookie, and know the key in that; only
    the name that is reserved for the key of its cookie is taken with that. An id says that it joins, whatever its
    cookie says. The answer has a new key, for a browser that does not keep the cookie.
    """
    body = body_of(request, "name")
    check_author(request.member, body)
    wanted, key, headers, new = field_of(body, "name"), request.key, list[tuple[bytes, bytes]](), dict[str, str]()
    if not (request.script_key or _comes_back(site, request, wanted)) and ("id" in body or request.member is None):
        new["key"] = key = _new_key(body.get("id"))
        headers.append(guard.set_cookie(COOKIE, key, secure=request.secure))
    if not key:
        raise Refusal(400, "A key is 32 hex digits, made at random.")
    secret = guard.secret_of(key)
    if secret not in site.group.by_secret:
        session, done = site.sessions.join(secret, wanted, request.peer)
    else:
        session = site.sessions.use(secret, request.peer)
        done = session.submit(site.service, Rename(wanted))
    try:
        await done
    except IllegalMessage:
        member = session.member
        if member is None or nickname(wanted).shown != member.name:  # the same request again is fine
            raise
    finally:
        session.released()
    member = site.group.by_secret.get(secret)
    if member is None:
        raise Refusal(503, "You left the group at the same moment: try again.", answers.retry_after(1))
    return answers.of({**_who(member), "head": _head(site), **new}, headers=headers)


def _comes_back(site: Site, request: Request, wanted: str) -> bool:
    """Return True if the key of a cookie owns the name that is asked for, or took it back: the answer may be lost."""
    kept = site.group.reservations.of(request.secret, site.service.seconds())
    owner = request.member if kept is None else kept
    if owner is None or (isinstance(owner, Member) and not owner.returned):
        return False
    return nickname(wanted).key == owner.key


def check_author(member: Member | None, body: Mapping[str, Any]) -> None:
    """Raise Refusal if the client means to be another member: another program may have planted a cookie meanwhile."""
    if "as" in body and body["as"] != _who(member)["id"]:
        raise Refusal(403, "Your cookie is that of another member now.")


def _new_key(join_id: Any) -> str:
    """Return a key to join with. With the id of a join whose answer was lost, it is the same again."""
    if join_id is None:
        return secrets.token_hex(16)
    if not isinstance(join_id, str) or not guard.JOIN_ID.fullmatch(join_id):
        raise Refusal(400, "The id of a join has 16 to 100 characters, made at random.")
    return guard.key_of(join_id)


async def messages(site: Site, request: Request) -> Answer:
    """Say a text: as a member, to all or to one; or as a guest."""
    asked = body_of(request, "text")
    text, to, client_id = field_of(asked, "text"), asked.get("to"), _id(asked.get("id"))
    member = request.member
    check_author(member, asked)
    if member is not None:
        await submit(site, request, _saying(text, to, client_id))
    elif request.guest:
        if to is not None:
            raise Refusal(403, "A guest can only write to everyone.")
        await guests.submit(site.service, request.peer, SayAsGuest(request.guest, text))
    else:
        raise Refusal(403, f"{JOIN} Or say who you are: ?name=")
    return answers.of(_number_of(site, 0 if member is None else member.id, text))


def _number_of(site: Site, author: int, text: str) -> dict[str, int]:
    """Return the number of a text that was just said, if it is the last line: a repeated request may be older."""
    log = site.group.history
    if log.head < log.first or log.author(log.head) != author:
        return {}
    line, _ = log.read(log.head - 1, log.head, 0)
    return {"number": site.group.numbering.of(log.head)} if line.endswith(b": " + text.encode()) else {}


def _saying(text: str, to: Any, client_id: int) -> Command:
    if to is None:
        return Say(text, client_id)
    if not isinstance(to, str) or ":" in to:
        raise Refusal(409, "Nobody here has that name.")
    return Whisper(f"{to}: {text}", client_id)


async def submit(site: Site, request: Request, command: Command) -> None:
    session = site.sessions.use(request.secret, request.peer)
    try:
        await session.submit(site.service, command)
    finally:
        session.released()


async def leave(site: Site, request: Request) -> Answer:
    """Leave the group. If the client is not in it, that is done already."""
    if request.member is not None:
        await submit(site, request, Leave())
    return answers.nothing()


def members(site: Site, request: Request) -> Answer:
    """Return the members, and how each of them is connected."""
    member_of(site, request)
    group = site.group
    shown = [
        {
            **_who(member),
            "how": "polling" if member.address else "live" if site.service.seats.is_connected(member) else "away",
            "since": member.since or None,
            "last_contact": max(member.contact, member.logged),
            "behind": group.behind(member),
            "operator": member.operator,
            "muted": group.moderation.mute(member.secret, member.host) is not None,
        }
        for member, _ in zip(group.members.values(), range(MAX_USERS), strict=False)
    ]
    return answers.of({"members": shown, "total": len(group.members), "topic": group.moderation.topic})


def member_of(site: Site, request: Request) -> Member:
    member = request.member
    if member is None:
        raise Refusal(403, JOIN)
    site.sessions.touch(member)
    return member


def history(site: Site, request: Request) -> Answer:
    """Return lines before a number, or after one."""
    member = member_of(site, request)
    numbering, log, head = site.group.numbering, site.group.history, _head(site)
    limit = max(1, min(request.number("limit", LINES), MAX_LINES))
    if request.query("after"):
        lines = _after(site, member, min(numbering.line(request.number("after", 0)), log.head), limit)
    else:
        lines = _upto(site, member, min(numbering.line(request.number("before", head + 1) - 1), log.head), limit)
    value = b'{"lines":[%s],"first":%d,"head":%d}' % (b",".join(lines), numbering.of(log.first), head)
    return Answer(200, value)


def _after(site: Site, member: Member, after: int, limit: int) -> list[bytes]:
    """Return the lines after a line, and move the member's cursor: it has received them."""
    lost, runs, upto = site.group.seen_by(member, after, MAX_PAGE // 4, limit)
    if after <= member.cursor < upto:
        site.group.advance(member, *site.group.place(member, upto))
    gap = [site.renderer.gap(lost)] if lost else []
    return gap + [site.renderer.line(one) for run in runs for one in run]


def _upto(site: Site, member: Member, upto: int, limit: int) -> list[bytes]:
    log, found, room = site.group.history, list[bytes](), MAX_PAGE
    for one in reversed(log.withheld(member.id).last(limit, log.first - 1, upto)):
        line = site.renderer.line(one)
        room -= len(line)
        if room < 0 and found:
            break
        found.append(line)
    return found[::-1]


def body_of(request: Request, field: str) -> Mapping[str, Any]:
    """Return the fields of a body: a JSON object, or plain text for this one field. Raise Refusal."""
    try:
        body = bytes(request.body).decode().removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise Refusal(400, "That is not UTF-8.") from None
    if request.content_type != "application/json":
        return {field: body.removesuffix("\n").removesuffix("\r")}
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Refusal(400, "That is not a JSON object.")
    return value


def field_of(body: Mapping[str, Any], field: str) -> str:
    value = body.get(field)
    if not isinstance(value, str):
        raise Refusal(400, f"The field {field} is missing, or is not a string.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Refusal(400, "That text has half a character: a lone surrogate.") from None
    return value


def _id(given: Any) -> int:
    """Return the client's id of a text; 0 if it gives none."""
    if given is None:
        return 0
    found = number(given, 0) if isinstance(given, str) else given if type(given) is int else 0
    if not 0 < found <= MAX_ID:
        raise Refusal(400, f"An id is a number from 1 to {MAX_ID}.")
    return found


def routes() -> Routes:
    return {
        "/password": {"POST": Route(password, open=True, takes=MAX_WEB_BODY)},
        "/me": {"GET": Route(me)},
        "/name": {"POST": Route(name, takes=MAX_WEB_BODY)},
        "/messages": {"POST": Route(messages, takes=MAX_WEB_BODY)},
        "/leave": {"POST": Route(leave, takes=MAX_WEB_BODY)},
        "/members": {"GET": Route(members)},
        "/history": {"GET": Route(history)},
    }
