"""Completion with TAB: commands, names of members and of files, and paths. Needs prompt_toolkit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document

from groupchat.client.chat import Chat
from groupchat.client.commands import COMMANDS
from groupchat.client.recent import RecentNames
from groupchat.core.filenames import folded

TAKES_NAME = ("/msg", "/remove", "/mute", "/unmute", "/ban", "/unban")
TAKES_FILE_NAME = ("/get", "/cancel")


class ChatCompleter(Completer):
    """Completes commands at the beginning of a line, and names, the last one seen first."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._paths = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        typed = document.text_before_cursor
        if typed.startswith("/") and " " not in typed:
            yield from (Completion(f"{command} ", -len(typed)) for command in COMMANDS if command.startswith(typed))
            return
        command, _, words = typed.partition(" ")
        if command == "/send":
            yield from self._paths.get_completions(Document(words.lstrip()), complete_event)
        elif command in TAKES_FILE_NAME:
            yield from self._file_names(words.lstrip())
        else:
            yield from self._member_names(typed)

    def _file_names(self, typed: str) -> Iterator[Completion]:
        for name in reversed(self._chat.files.names if self._chat.files is not None else RecentNames()):
            if folded(name).startswith(folded(typed)):
                yield Completion(name, -len(typed))

    def _member_names(self, typed: str) -> Iterator[Completion]:
        command, _, words = typed.partition(" ")
        whole = command in TAKES_NAME and ":" not in words
        word = words if whole else typed.rpartition(" ")[2]
        end = ": " if (command == "/msg" and whole) or word == typed else " "
        for name in reversed(self._chat.names):
            if word and name != self._chat.name and name.casefold().startswith(word.casefold()):
                yield Completion(name + end, -len(word))
