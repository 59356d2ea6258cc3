"""Lines that are typed in a chat: a text, or a command after `/`. Pure.

Commands that the server knows are those of `groupchat.core.commands`, and are parsed as the server does it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from groupchat.core.commands import POLL, Command, Files, Poll, Recall, Rename, Say, Users, Whisper
from groupchat.core.errors import IllegalMessage
from groupchat.core.texts import names_operator
from groupchat.wire import lines, operators
from groupchat.wire.operators import OperatorLine

HELP = [
    *lines.HELP[:-2],
    "/get NAME [TO]     fetch a file, and save it here, or as TO",
    "/send PATH         send a file to the group",
    "/transfers         the files that are being fetched and sent",
    "/cancel [NAME]     stop a transfer; the next /get resumes it",
    "/poll              ask for news now",
    "/help              this list",
    "/quit              leave for good",
    lines.HELP[-1],
]
"""The help of the server, with the commands of the client. Ctrl-D may keep the seat."""

HELP_OF_OPERATORS = [*HELP[:-1], *operators.HELP, HELP[-1]]

COMMANDS = tuple(dict.fromkeys([*(line.split()[0] for line in HELP if line[0] == "/"), *operators.VERBS]))

_WITHOUT_ARGUMENT = {"/users", "/files", "/transfers", "/poll", "/help", "/quit"}


@dataclass(frozen=True, slots=True)
class Get:
    """Fetch a file. `words` is its name, and the path to save it under, as they were typed."""

    words: str


@dataclass(frozen=True, slots=True)
class Send:
    path: str


@dataclass(frozen=True, slots=True)
class ListTransfers:
    pass


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop a transfer: the only one, if there is no name."""

    name: str


SessionCommand = Say | Whisper | Rename | Users | Recall | Poll | OperatorLine
"""Commands for a session."""

FileCommand = Files | Get | Send | ListTransfers | Cancel
"""Commands about files, which go over connections of their own."""


_OWN: dict[str, Callable[[str], FileCommand | Poll]] = {
    "/get": Get,
    "/send": Send,
    "/transfers": lambda _: ListTransfers(),
    "/cancel": Cancel,
    "/poll": lambda _: POLL,
}

_LACKING = {"/get": "Write /get and the name of a file: see /files.", "/send": "Write /send and the path of a file."}


def parse(line: str) -> Command | FileCommand | OperatorLine | lines.Help:
    """Return what a line that is not empty asks for. Raises IllegalMessage, saying what to type instead."""
    if not line.startswith("/") or line.startswith("//"):
        return lines.parse(line)
    verb, _, words = line.partition(" ")
    verb, words = verb.lower(), words.strip()
    if words and verb in _WITHOUT_ARGUMENT:
        raise IllegalMessage(f"{verb} has nothing after it.")
    if not words and verb in _LACKING:
        raise IllegalMessage(_LACKING[verb])
    return _OWN[verb](words) if verb in _OWN else lines.parse(f"{verb} {words}")


def gives_password(line: str) -> bool:
    """Return True if a line has a password of operators in it, which must not be shown, kept, or said."""
    return names_operator(line)


def hides_command(line: str) -> bool:
    """Return True if spaces, or characters that do not show, come before a command, so that it is said as a text."""
    begin = next((at for at, character in enumerate(line) if character.isprintable() and not character.isspace()), 0)
    return begin > 0 and line.startswith("/", begin) and not line.startswith("//", begin)


def as_typed(command: SessionCommand) -> str:  # noqa: PLR0911 - one for each
    """Return a command as one types it: all but Poll are lines of the line protocol as well."""
    match command:
        case Say(text):
            return f"/{text}" if text.startswith("/") else text
        case Whisper(words):
            return f"/msg {words}"
        case Rename(name):
            return f"/name {name}"
        case Recall(count):
            return f"/history {count}"
        case OperatorLine(verb, words):
            return f"{verb} {words}".rstrip()
        case Users():
            return "/users"
        case Poll():
            return "/poll"
