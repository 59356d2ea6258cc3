"""Requests of operators: their password, and their commands, written as on the lines: see wire/operators.

`POST /operator` and `DELETE /operator` begin and end it. `POST /moderation` takes one command, and answers with words
for the operator, which are empty if everybody is shown a line.
"""

from __future__ import annotations

from functools import partial

from groupchat.core.commands import Demote, Erase, Promote
from groupchat.core.errors import IllegalMessage
from groupchat.core.limits import MAX_WEB_BODY
from groupchat.frontends import operators
from groupchat.frontends.web import answers
from groupchat.frontends.web.answers import Answer, Refusal
from groupchat.frontends.web.conversation import body_of, check_author, field_of, member_of, submit
from groupchat.frontends.web.request import Request
from groupchat.frontends.web.site import Route, Routes, Site
from groupchat.wire import operators as wire

COMMANDS = tuple(verb for verb in wire.VERBS if verb != "/operator")


async def become(site: Site, request: Request) -> Answer:
    """Make a member who knows a password an operator."""
    body, member = body_of(request, "password"), member_of(site, request)
    check_author(member, body)
    if not await site.access.is_operator(request, member.name, field_of(body, "password").encode()):
        raise Refusal(403, operators.WRONG)
    await submit(site, request, Promote())
    return answers.nothing()


async def resign(site: Site, request: Request) -> Answer:
    """End that a member is an operator."""
    member_of(site, request)
    await submit(site, request, Demote())
    return answers.nothing()


async def moderate(site: Site, request: Request) -> Answer:
    """Do what an operator asks for. `why` may be apart from the line, so that it is not taken for a time."""
    body, member = body_of(request, "line"), member_of(site, request)
    check_author(member, body)
    verb, _, words = field_of(body, "line").strip().partition(" ")
    if verb not in COMMANDS:
        raise Refusal(400, f"A command begins with one of these: {', '.join(COMMANDS)}.")
    if not member.operator:
        raise Refusal(403, "Only an operator can do that: become one with /operator PASSWORD.")
    asked = wire.command(wire.OperatorLine(verb, words), partial(operators.is_member, site.group))
    if isinstance(asked, wire.ShowTopic):
        raise IllegalMessage("Write /topic and a text, or /topic off.")
    assert not isinstance(asked, Promote | Demote | wire.GivePassword)
    asked.why = field_of(body, "why") if "why" in body else asked.why
    if isinstance(asked, Erase):
        asked.by = member.name
        return _said(await operators.erase(site.service, asked))
    await submit(site, request, asked)
    return _said(operators.done(asked))


def _said(words: list[str]) -> Answer:
    return answers.of({"text": " ".join(words)})


def routes() -> Routes:
    return {
        "/operator": {"POST": Route(become, takes=MAX_WEB_BODY), "DELETE": Route(resign)},
        "/moderation": {"POST": Route(moderate, takes=MAX_WEB_BODY)},
    }
