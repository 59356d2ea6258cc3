"""What a member asks, and says; and what a guest says."""

from __future__ import annotations

import json
import secrets
from collections.abc import Generator, Mapping
from hashlib import sha256
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks

from groupchat.core.commands import Command, Leave, Rename, Say, SayAsGuest, Whisper
from groupchat.core.errors import IllegalMessage
from groupchat.core.group import Member
from groupchat.core.ids import MAX_ID
from groupchat.core.limits import MAX_SEARCHED, MAX_USERS, MAX_WEB_BODY
from groupchat.core.names import nickname
from groupchat.core.texts import MAX_BYTES
from groupchat.frontends import guests
from groupchat.frontends.web import answers, guard
from groupchat.frontends.web.answers import Answer, Headers, Refusal
from groupchat.frontends.web.request import COOKIE, Request, number
from groupchat.frontends.web.site import Route, Routes, Site

MAX_LINES = 200
MAX_PAGE = 256 * 1024
LINES = 50
"""How many lines of history are given: at most, at most in bytes, and unless it is said."""

JOIN = "You are not in the group: join first."

Answering = Generator[Deferred[Any], Any, Answer]


def password(site: Site, request: Request) -> Answer:
    """POST: the password, for which there is a cookie."""
    if site.trust is None:
        return answers.nothing()
    if not site.is_password(request, bytes(request.body).removesuffix(b"\n").removesuffix(b"\r")):
        raise Refusal(403, "That is not the password.", password=True)
    cookie = guard.set_cookie(site.trust.name, site.trust.token(), secure=request.secure)
    return answers.nothing(((b"Set-Cookie", cookie),))


def me(site: Site, request: Request) -> Answer:
    """Who asks, and what there is. A browser is given a key that it can join with, as often as its answer is lost.

    Not one that goes here by itself, though: it may come from the page of another site, keep its key back (which is
    `SameSite=Strict`), and would put the new one in place of it.
    """
    member = request.member
    if member is not None:
        site.sessions.touch(member)
    goes_here = "text/html" in (request.text("Accept") or "")  # what no script of another site can keep from being said
    headers = () if request.key or goes_here else _new_key(request, secrets.token_hex(16))
    value = {
        "group": site.service.settings.name,
        **_who(member),
        "head": site.group.history.head,
        "files": site.has_files,
        "max_file": site.max_file,
        "max_text": MAX_BYTES,
    }
    return answers.of(value, headers=headers)


def _who(member: Member | None) -> dict[str, Any]:
    return {"name": None, "id": None} if member is None else {"name": member.name, "id": str(member.id)}


def _new_key(request: Request, key: str) -> Headers:
    return ((b"Set-Cookie", guard.set_cookie(COOKIE, key, secure=request.secure)),)


@inlineCallbacks
def name(site: Site, request: Request) -> Answering:
    """Join, or rename who is a member."""
    wanted = _field(_body(request, "name"), "name")
    member = request.member
    headers: Headers = ()
    if member is None:
        key = request.key
        if not key:
            key = secrets.token_hex(16)
            headers = _new_key(request, key)
        secret = sha256(bytes.fromhex(key)).hexdigest()
        session, done = site.sessions.join(secret, wanted, request.peer)
    else:
        session = site.sessions.use(request.secret)
        secret, done = request.secret, session.submit(site.service, Rename(wanted))
    try:
        yield done
    except IllegalMessage:
        member = session.member
        if member is None or nickname(wanted).shown != member.name:  # what was done is fine to ask again
            raise
    finally:
        session.released()
    member = site.group.by_secret.get(secret)
    if member is None:
        raise Refusal(503, "That was undone at this very moment: try again.", answers.later(1))
    return answers.of({**_who(member), "head": site.group.history.head}, headers=headers)


@inlineCallbacks
def messages(site: Site, request: Request) -> Answering:
    """Say something: as a member, to all or to one; or as a guest."""
    asked = _body(request, "text")
    text, to, client_id = _field(asked, "text"), asked.get("to"), _id(asked.get("id"))
    member = request.member
    if member is not None:
        yield _submit(site, request, _saying(text, to, client_id))
    elif request.guest:
        if to is not None:
            raise Refusal(403, "A guest speaks to all.")
        yield guests.submit(site.service, request.peer, SayAsGuest(request.guest, text))
    else:
        raise Refusal(403, f"{JOIN} Or say who you are: ?name=")
    return answers.of(_number_of(site, 0 if member is None else member.id, text))


def _number_of(site: Site, author: int, text: str) -> dict[str, int]:
    """The number of what was just said, if it is the last line: not of what was said long ago, and is asked again."""
    log = site.group.history
    if log.head < log.first or log.author(log.head) != author:
        return {}
    line, _ = log.read(log.head - 1, log.head, 0)
    return {"number": log.head} if line.endswith(b": " + text.encode()) else {}


def _saying(text: str, to: Any, client_id: int) -> Command:
    if to is None:
        return Say(text, client_id)
    if not isinstance(to, str) or ":" in to:
        raise Refusal(409, "Nobody here has that name.")
    return Whisper(f"{to}: {text}", client_id)


@inlineCallbacks
def _submit(site: Site, request: Request, command: Command) -> Generator[Deferred[Any], Any, None]:
    session = site.sessions.use(request.secret)
    try:
        yield session.submit(site.service, command)
    finally:
        session.released()


@inlineCallbacks
def leave(site: Site, request: Request) -> Answering:
    """Be a member no longer. Who is none has left."""
    if request.member is not None:
        yield _submit(site, request, Leave())
    return answers.nothing()


def members(site: Site, request: Request) -> Answer:
    """Who is here."""
    _member(site, request)
    group = site.group
    shown = [
        {
            **_who(member),
            "how": "polling" if member.address else "live" if site.service.seats.is_connected(member) else "away",
            "since": member.since or None,
            "behind": group.behind(member),
        }
        for member, _ in zip(group.members.values(), range(MAX_USERS), strict=False)
    ]
    return answers.of({"members": shown, "total": len(group.members)})


def _member(site: Site, request: Request) -> Member:
    member = request.member
    if member is None:
        raise Refusal(403, JOIN)
    site.sessions.touch(member)
    return member


def history(site: Site, request: Request) -> Answer:
    """Lines before a number, or after one."""
    member = _member(site, request)
    head = site.group.history.head
    limit = max(1, min(request.number("limit", LINES), MAX_LINES))
    if request.query("after"):
        lines = _after(site, member, min(request.number("after", 0), head), limit)
    else:
        lines = _before(site, member, min(request.number("before", head + 1), head + 1), limit)
    value = b'{"lines":[%s],"first":%d,"head":%d}' % (b",".join(lines), site.group.history.first, head)
    return Answer(200, value)


def _after(site: Site, member: Member, after: int, limit: int) -> list[bytes]:
    """It is a way to be given what happens, so that the member's cursor moves."""
    lost, runs, upto = site.group.seen_by(member, after, MAX_PAGE // 4, limit)
    while (
        not runs and upto < site.group.history.head
    ):  # whispers among others: who is given nothing takes it for the end
        _, runs, upto = site.group.seen_by(member, upto, MAX_PAGE // 4, limit)
    if after <= member.cursor < upto:
        site.group.advance(member, *site.group.place(member, upto))
    gap = [site.picture.gap(lost)] if lost else []
    return gap + [site.picture.line(number) for run in runs for number in run]


def _before(site: Site, member: Member, before: int, limit: int) -> list[bytes]:
    log, found, room = site.group.history, list[bytes](), MAX_PAGE
    for at in range(before - 1, max(log.first, before - MAX_SEARCHED) - 1, -1):
        if log.is_for(member.id, at):
            line = site.picture.line(at)
            room -= len(line)
            if len(found) == limit or (room < 0 and found):
                break
            found.append(line)
    return found[::-1]


def _body(request: Request, field: str) -> Mapping[str, Any]:
    """A body: an object in JSON, or the text of this field. Raises Refusal."""
    try:
        body = bytes(request.body).decode()
    except UnicodeDecodeError:
        raise Refusal(400, "That is not UTF-8.") from None
    kind = (request.text("Content-Type") or "").partition(";")[0].strip().lower()
    if kind != "application/json":
        return {field: body.removesuffix("\n").removesuffix("\r")}
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Refusal(400, "That is no object in JSON.")
    return value


def _field(body: Mapping[str, Any], field: str) -> str:
    value = body.get(field)
    if not isinstance(value, str):
        raise Refusal(400, f"There is no {field} in that.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Refusal(400, "Half a character is no text.") from None
    return value


def _id(given: Any) -> int:
    """The client's own number of what it says; 0 if it has none."""
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
