"""What the front ends share for operators of the chat: the answers to their commands, and an erasure in portions."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks

from groupchat.core.commands import Ban, Command, Demote, Erase, Mute, Promote, Unban, Unmute
from groupchat.core.errors import IllegalMessage
from groupchat.core.group import Group
from groupchat.core.limits import MAX_ERASED
from groupchat.core.names import normalised
from groupchat.service.group_service import GroupService

NO_PASSWORDS = "No password makes anybody an operator here."
WRONG = "That is not the password of an operator."


def is_member(group: Group, name: str) -> bool:
    """Return True if somebody has this name."""
    try:
        return normalised(name).key in group.by_key
    except IllegalMessage:
        return False


def done(command: Command) -> list[str]:  # noqa: PLR0911 - one for each
    """Return the answer to a command that took effect. What becomes a line for everybody needs none."""
    match command:
        case Promote():
            return ["You are an operator now: /help lists what you can do."]
        case Demote():
            return ["You are no operator now."]
        case Mute(name):
            return [f"{name} may only read now, until /unmute {name}."]
        case Unmute(name):
            return [f"{name} may write again."]
        case Ban(whom):
            return [f"{whom} is banned, until /unban {whom}" + (" or the time is over." if command.seconds else ".")]
        case Unban(whom):
            return [f"{whom} is no longer banned."]
    return []


@inlineCallbacks
def erase(service: GroupService, asked: Erase, by: str) -> Generator[Deferred[Any], Any, list[str]]:
    """Erase a range of lines, a portion at a time, until no file has their texts any more. Return the answer.

    Raise IllegalMessage if there was none. `by` is the name of the operator.
    """
    count, first, refused = 0, asked.first, IllegalMessage("")
    while first <= asked.last:
        portion = Erase(first, asked.last, by=by, why=asked.why)
        try:
            yield service.operate(portion)
            count += portion.count
        except IllegalMessage as why:
            refused = why
            if not portion.upto:
                break
        first = portion.upto + 1
    if not count:
        raise refused
    yield service.eraser.done()
    words = [f"Erased: {count} {'text' if count == 1 else 'texts'}. The daemon has no file with it any more."]
    if any(record.get("did") == "backup" for record in service.audit.last(MAX_ERASED)):
        words.append("Backups that were made before may have it: ask whoever runs this group.")
    return words
