"""What can be asked for in a chat, and how it is typed: a text, or a command behind `/`. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

HELP = """\
What you type goes to all the others. A line that begins with / is a command:
/msg Name: text    say something to one member only
/users             who is here
/name New          change your name
/history 20        the last lines again
/files             what files there are
/get NAME [TO]     fetch a file, and save it here, or as TO
/send PATH         send a file to the group
/transfers         what is being fetched and sent
/cancel [NAME]     stop that; what has come is kept for the next /get
/poll              ask what is new, now
/help
/quit              leave (so does Ctrl-D)
A line that begins with // is said with one /.
""".splitlines()


class NoSuchCommandError(Exception):
    """What was typed is none; `str()` of it says what to type instead."""


@dataclass(frozen=True, slots=True)
class Say:
    text: str


@dataclass(frozen=True, slots=True)
class Tell:
    """Say something to one member only. `words` is the name and the text, as they were typed."""

    words: str


@dataclass(frozen=True, slots=True)
class Rename:
    name: str


@dataclass(frozen=True, slots=True)
class Users:
    pass


@dataclass(frozen=True, slots=True)
class History:
    """`count` is as it was typed; empty for as many as the server likes."""

    count: str


@dataclass(frozen=True, slots=True)
class Poll:
    pass


@dataclass(frozen=True, slots=True)
class ListFiles:
    pass


@dataclass(frozen=True, slots=True)
class Get:
    """Fetch a file. `words` is its name, and where it is to be saved, as they were typed."""

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


@dataclass(frozen=True, slots=True)
class Help:
    pass


@dataclass(frozen=True, slots=True)
class Quit:
    pass


Ask = Say | Tell | Rename | Users | History | Poll
"""What a session is asked for. Help and Quit are for whoever has the session."""

FileAsk = ListFiles | Get | Send | ListTransfers | Cancel
"""What is asked of files, which is no session's business."""

Typed = Ask | FileAsk | Help | Quit


def parse(line: str) -> Typed:
    """What a line asks for, which is not empty. Raises NoSuchCommandError."""
    if not line.startswith("/"):
        return Say(line)
    if line.startswith("//"):
        return Say(line[1:])
    verb, _, words = line.partition(" ")
    made = _MAKERS.get(verb.lower())
    if made is None:
        raise NoSuchCommandError("There is no such command: see /help. To say a line that begins with /, write two.")
    return made(words.strip())


def typed(ask: Ask) -> str:
    """How one types what asks for this: a line of the protocol of live lines as well, but for Poll."""
    match ask:
        case Say(text):
            return f"/{text}" if text.startswith("/") else text
        case Tell(words):
            return f"/msg {words}"
        case Rename(name):
            return f"/name {name}"
        case History(count):
            return f"/history {count}".rstrip()
        case Users():
            return "/users"
        case Poll():
            return "/poll"


def _tell(words: str) -> Tell:
    if not words:
        raise NoSuchCommandError("Write /msg Name: text.")
    return Tell(words)


def _rename(name: str) -> Rename:
    if not name:
        raise NoSuchCommandError("Write /name and your new name.")
    return Rename(name)


def _get(words: str) -> Get:
    if not words:
        raise NoSuchCommandError("Write /get and the name of a file: see /files.")
    return Get(words)


def _send(path: str) -> Send:
    if not path:
        raise NoSuchCommandError("Write /send and the path of a file.")
    return Send(path)


def _bare(made: Typed, command: str) -> Callable[[str], Typed]:
    def make(words: str) -> Typed:
        if words:
            raise NoSuchCommandError(f"{command} has nothing after it.")
        return made

    return make


_MAKERS: dict[str, Callable[[str], Typed]] = {
    "/msg": _tell,
    "/users": _bare(Users(), "/users"),
    "/name": _rename,
    "/history": History,
    "/files": _bare(ListFiles(), "/files"),
    "/get": _get,
    "/send": _send,
    "/transfers": _bare(ListTransfers(), "/transfers"),
    "/cancel": Cancel,
    "/poll": _bare(Poll(), "/poll"),
    "/help": _bare(Help(), "/help"),
    "/quit": _bare(Quit(), "/quit"),
}

COMMANDS = tuple(_MAKERS)
