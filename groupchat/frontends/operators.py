"""What the front ends share for operators of the chat: the answers to their commands, and an erasure."""

from __future__ import annotations

from groupchat.core.commands import Ban, Command, Demote, Erase, Mute, Promote, Unban, Unmute
from groupchat.core.errors import IllegalMessage
from groupchat.core.group import Group
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


async def erase(service: GroupService, wanted: Erase) -> list[str]:
    """Erase a range of lines, until no file has their texts any more. Return the answer. Raise IllegalMessage."""
    count = [count async for count, _ in service.erase(wanted)][-1]
    words = [f"Erased: {count} {'text' if count == 1 else 'texts'}. The daemon has no file with it any more."]
    if service.audit.backups() or service.audit.kept_aside():
        words.append("Backups that were made before may have it: ask whoever runs this group.")
    return words
