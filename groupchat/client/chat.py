"""The chat: what is typed goes to a session, what comes goes to a view. It knows neither transport nor terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, fail

from groupchat.client.commands import (
    HELP,
    HELP_OF_OPERATORS,
    Cancel,
    FileCommand,
    Get,
    ListTransfers,
    Send,
    SessionCommand,
    as_typed,
    gives_password,
    hides_command,
    parse,
)
from groupchat.client.files.progress import Bar
from groupchat.client.questions import Questions
from groupchat.client.recent import RecentNames
from groupchat.client.session import Session
from groupchat.client.text import clean, quote, replace_surrogates
from groupchat.client.trust import UnknownCertificateError, UntrustedError
from groupchat.client.view import Shown, View
from groupchat.core import notices
from groupchat.core.commands import Files, Leave, Poll, Recall, Rename, Say, Users, Whisper
from groupchat.core.errors import IllegalMessage
from groupchat.core.notices import Kind
from groupchat.wire.lines import Help
from groupchat.wire.operators import OperatorLine

if TYPE_CHECKING:
    from groupchat.client.files.sharing import Sharing

HERE_NOW = "Here now: "
HOW_TO_TRUST = "To trust it: --trust-new, or --ca FILE."
WOULD_TELL = "Not said: a line begins with /operator, and might tell a password."
NOT_SAID = "what was typed was not said"
KEPT = "Your seat is kept for a while: the same command brings you back. /quit leaves for good."


class State(Enum):
    """The state of the session, as far as the user has to know it."""

    JOINING = auto()
    ONLINE = auto()
    RECONNECTING = auto()
    ENDED = auto()


class Chat:
    """A SessionListener. `people` is true if a person reads and types; `status` is the exit status so far.

    With `greets`, the greeting of the server is shown: a job in the background would mail it each time.
    """

    def __init__(self, name: str, view: View, *, people: bool, greets: bool = True) -> None:
        self.session: Session  # set by the owner
        self.files: Sharing | None = None  # set by the owner
        self.status = 0
        self.name = replace_surrogates(name)
        self.names = RecentNames()
        """Members that were seen, for completion."""
        self.unanswered = 0
        self.proceed: Callable[[], None] = lambda: None
        """Called when the chat has joined, and after each answer: more may be typed then."""
        self._early_file_commands: list[FileCommand] = []  # typed before it has joined
        self._view = view
        self._questions = Questions(view)
        self._people = people
        self._greets = greets
        self._state = State.JOINING
        self.is_leaving = False
        self._is_operator = False

    # Typing

    def start(self) -> None:
        if self.name:
            self.session.join(self.name)
        else:
            self._ask_name("What is your name?")

    def typed(self, line: str) -> None:
        """Carry out one line, without its end."""
        if not line.strip() or self.is_leaving:
            return
        if gives_password(line) and not line.lower().startswith("/operator"):
            self.not_done(WOULD_TELL)
            return
        if self._people and hides_command(line):
            self._ask_to_say(f'{quote(line)} does not begin with "/": everybody would read it. Say it', [line])
            return
        try:
            command = parse(replace_surrogates(line))
        except IllegalMessage as why:
            self.not_done(str(why))
            return
        match command:
            case Help():
                self.answer(*(HELP_OF_OPERATORS if self._is_operator else HELP))
            case Leave():
                self.leave(for_good=True)
            case Files() | Get() | Send() | ListTransfers() | Cancel():
                self._ask_files(command)
            case OperatorLine("/operator", "") if self._people:
                self._ask_password(command)
            case Say() | Whisper() | Rename() | Users() | Recall() | Poll() | OperatorLine():
                self._ask_session(command)

    def _ask_password(self, command: OperatorLine) -> None:
        def take(password: str) -> None:
            self._ask_session(OperatorLine(command.verb, password))

        self._questions.ask("What is the password of an operator?", take, secret=True, session_waits=False)

    def pasted(self, lines: Sequence[str]) -> None:
        """Say several lines that were pasted. None of them is a command; if one looks like it, ask first."""
        texts = [line for line in lines if line.strip()]
        if any(map(gives_password, texts)):
            self.not_done(WOULD_TELL)
            return
        looks = sum(line.lstrip().startswith("/") for line in texts)
        if looks:
            begin = "begins" if looks == 1 else "begin"
            self._ask_to_say(f"{looks} of these {len(texts)} lines {begin} with /. Say all of them, as text", texts)
        else:
            self._say(texts)

    def _ask_to_say(self, question: str, texts: Sequence[str]) -> None:
        def decide(answer: str) -> None:
            match answer.strip().lower():
                case "y" | "yes":
                    self._say(texts)
                case "n" | "no":
                    self._show("state", "Not said.")
                case _:
                    self._ask_to_say(question, texts)

        self._questions.ask(f"{question} (yes, no)?", decide, session_waits=False)

    def _say(self, texts: Sequence[str]) -> None:
        for text in texts:
            if not self.is_leaving:
                self._ask_session(Say(replace_surrogates(text)))

    def _ask_session(self, command: SessionCommand) -> None:
        if type(command) not in self.session.unsupported:
            self.unanswered += 1
            self._echo(command)
            self.session.ask(command)
        elif isinstance(command, Poll):
            self.not_done("There is nothing to /poll for here: lines come by themselves.")
        else:
            verb = as_typed(command).partition(" ")[0]
            self.not_done(f"There is no {verb} over UDP: connect to tcp://HOST:PORT or tls://HOST:PORT for that.")

    def _ask_files(self, command: FileCommand) -> None:
        if self.files is None:
            self.not_done("There are no files here.")
        elif self._state is State.JOINING:
            self._early_file_commands.append(command)
        else:
            self.files.ask(command)

    def _echo(self, command: SessionCommand) -> None:
        match command:
            case Say(text):
                text = clean(text.encode())
            case Whisper(words):
                text = clean(f"(private) {words}".encode())
            case _:
                return
        self._view.show([Shown("own", text, self.name, waits=self._state is not State.ONLINE)])

    @property
    def pending(self) -> int:
        """The number of commands that are not finished."""
        return self.unanswered + len(self._early_file_commands) + self._files_pending

    @property
    def _files_pending(self) -> int:
        return self.files.count if self.files is not None else 0

    def leave(self, *, for_good: bool = False) -> None:
        """End after all commands are answered, and leave the group, unless the seat is kept for the next run.

        Where a person types, transfers are cancelled: they may take long.
        """
        if not self.is_leaving:
            self.is_leaving = True
            if self._questions.pending:
                self.session.stop()
                self.ended(NOT_SAID if self.pending else "")
            elif self._people:
                self.stop_files()
                if self.session.keeps_seat and not for_good:
                    self._show("state", KEPT)
                    self.session.suspend()
                else:
                    self.session.leave()
            elif not self._files_pending:
                self.session.leave()

    def stop_files(self) -> None:
        """Cancel all transfers."""
        self._early_file_commands.clear()
        if self.files is not None:
            self.files.stop()

    # Files

    def file_event(self, words: str, about: Mapping[str, object]) -> None:
        """Show what became of a transfer."""
        if about.get("state") == "failed" and not self._people:
            self.status = self.status or 1
        self._view.show([Shown("file", words, line=words, about=about)])

    def show_progress(self, bars: Sequence[Bar]) -> None:
        self._view.show_progress(bars)

    def file_command_done(self) -> None:
        if self._state is not State.ENDED:
            if self.is_leaving and not self._people and not self._files_pending:
                self.session.leave()
            self.proceed()

    def trust(self, why: UnknownCertificateError) -> Deferred[None]:
        """Ask if a server of files is to be trusted. The Deferred fires once it is, and fails if it is not."""
        if not self._can_answer or self._questions.pending:
            return fail(UntrustedError(f"{why} {HOW_TO_TRUST}"))
        self.problem(str(why))
        return self._questions.ask_trust(why, session_waits=False)

    # The session's listener

    def joined(self, name: str, greeting: Sequence[str]) -> None:
        self._state = State.ONLINE
        self._is_named(name)
        for words in greeting:
            if words.startswith(HERE_NOW):
                self.names.add(*words.removeprefix(HERE_NOW).rstrip(".").split(", "))
        if self._greets:
            self.answer(*greeting)
        if self._people:
            self._show("state", f"You are {name}. /help tells what you can do.")
        commands, self._early_file_commands = self._early_file_commands, []
        for command in commands:
            self._ask_files(command)
        self.proceed()

    def not_joined(self, why: str) -> None:
        if self._can_answer:
            self._ask_name(f"{why} What is your name?")
        else:
            self.fail(why)

    def untrusted(self, why: UntrustedError) -> None:
        """Ask if the server is to be trusted, where that is possible, and join then; else end."""
        if not isinstance(why, UnknownCertificateError):
            self.fail(str(why))
        elif not self._can_answer:
            self.fail(f"{why} {HOW_TO_TRUST}")
        else:
            self.problem(str(why))
            self._questions.ask_trust(why, session_waits=True).addCallbacks(
                lambda _: self.session.join(self.name), lambda failure: self.fail(failure.getErrorMessage())
            )

    def password_wanted(self, give: Callable[[str], None], *, again: bool = False) -> None:
        """Ask for the password. `again` is true if the last one was wrong."""
        if self._can_answer:
            question = "That is not the password. What is it?" if again else "What is the password?"
            self._questions.ask(question, give, secret=True)
        else:
            self.fail("the group has a password: see --password-file")

    def received(self, lines: Sequence[tuple[int, str]]) -> None:
        self._view.show([self._shown(number, notices.read(line)) for number, line in lines])

    def answered(self, command: SessionCommand, words: Sequence[str]) -> None:
        self.unanswered -= 1
        if isinstance(command, Rename):
            self._is_named(command.name)
            self._show("state", f"You are {command.name} now.")
        elif isinstance(command, Users | Recall):
            self.answer(*(words or ["There is nothing yet."]))
        elif isinstance(command, OperatorLine):
            if command.verb == "/operator":
                self._is_operator = command.words.strip().lower() != "off"
            self.answer(*words)
        self.proceed()

    def refused(self, command: SessionCommand, why: str) -> None:
        self.unanswered -= 1
        self.not_done(f"Not done: {_quoted(command)}: {why}")
        self.proceed()

    def unconfirmed(self, command: SessionCommand) -> None:
        self.unanswered -= 1
        self.not_done(f"Not confirmed, and not sent again: {_quoted(command)}. The others may have seen it, or not.")
        self.proceed()

    def lost(self, why: str) -> None:
        if self._state is State.ONLINE:
            self._state = State.RECONNECTING
        self._show("state", f"reconnecting ({why})")

    def back(self, waiting: int) -> None:
        if self._state is State.RECONNECTING:
            self._state = State.ONLINE
        lines = "line" if waiting == 1 else "lines"
        self._show("state", "back" if waiting < 0 else f"back, {waiting} {lines}")

    def began_anew(self) -> None:
        self._show("state", "the server began anew from an older state. You may have missed something.")

    def regained(self, name: str) -> None:
        self._is_operator = False
        self._is_named(name)

    def rejoined(self, name: str) -> None:
        self._state = State.ONLINE
        self.regained(name)
        self._show("state", f"back, but your seat was gone: joined again as {name}. You may have missed something.")

    def not_kept(self, why: str) -> None:
        self._show("state", why)

    def ended(self, why: str) -> None:
        if self._state is State.ENDED:
            return
        self._state = State.ENDED
        self.stop_files()
        if why:
            self.status = self.status or 1
            self.problem(why)
        self._view.close()

    def fail(self, why: str) -> None:
        self.session.stop()
        self.ended(why)

    # Showing

    def not_done(self, words: str) -> None:
        """Show a problem. It also counts for the exit status where no person sees it."""
        if not self._people:
            self.status = self.status or 1
        self.problem(words)

    def problem(self, words: str) -> None:
        self._show("problem", words)

    def answer(self, *lines: str) -> None:
        self._show("answer", *lines)

    def _show(self, kind: str, *lines: str) -> None:
        if lines:
            self._view.show([Shown(kind, line, line=line) for line in lines])

    def _shown(self, number: int, line: notices.Line) -> Shown:
        match line.kind:
            case Kind.SAID | Kind.PRIVATE | Kind.JOINED:
                self.names.add(line.name)
            case Kind.LEFT:
                self.names.discard(line.name)
            case Kind.RENAMED:
                self.names.discard(line.name)
                self.names.add(line.text)
            case Kind.SHARED if self.files is not None:
                self.files.names.add(line.text)
        for_me = line.kind is Kind.PRIVATE or (
            line.kind is Kind.SAID and bool(self.name) and self.name.casefold() in line.text.casefold()
        )
        about = {"size": line.size} if line.size else {}
        return Shown(line.kind.value, line.text, line.name, number, line.line, for_me, about=about)

    def _is_named(self, name: str) -> None:
        self.name = name
        self._view.name_is(name)

    # Questions

    @property
    def _can_answer(self) -> bool:
        return self._people and not self.is_leaving

    def _ask_name(self, question: str) -> None:
        def take(name: str) -> None:
            self.name = name
            self.session.join(name)

        self._questions.ask(question, take)


def _quoted(command: SessionCommand) -> str:
    """Return a command as it was typed, but without a password."""
    typed = as_typed(command)
    return quote("/operator ..." if gives_password(typed) else typed)
