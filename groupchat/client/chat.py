"""The chat: what is typed goes to a session, what comes of it to a view. It knows neither transport nor terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from groupchat.client import notices
from groupchat.client.asks import (
    HELP,
    Ask,
    Help,
    History,
    NoSuchCommandError,
    Poll,
    Quit,
    Rename,
    Say,
    Tell,
    Users,
    parse,
    typed,
)
from groupchat.client.notices import Kind
from groupchat.client.session import Session
from groupchat.client.text import clean, quote, whole
from groupchat.client.trust import NewError, UntrustedError

HERE_NOW = "Here now: "
NOT_SAID = "what was typed was not said"


@dataclass(frozen=True, slots=True)
class Shown:
    """One line to show. `kind` is that of a line of the group, or:

    `own` what was typed here; `answer` what was asked for; `state` how it stands with the connection; `problem` what
    did not work. `name` is who a line is by; `text` is without that name, `line` with it.
    """

    kind: str
    text: str
    name: str = ""
    number: int = 0
    line: str = ""
    for_me: bool = False
    """Whether it is to this member, or names it: worth a bell."""
    waits: bool = False
    """Whether it is typed here, and there is no way to the server just now."""


class View(Protocol):
    """Where a chat is seen, and typed."""

    def show(self, lines: Sequence[Shown]) -> None: ...

    def ask(self, question: str, then: Callable[[str], None], *, secret: bool = False) -> None:
        """The next line that is typed is the answer to this. Where nobody can answer, `Chat.fail` is called."""

    def name_is(self, name: str) -> None:
        """The member's own name, from here on."""

    def close(self) -> None:
        """It is over: show what is still to be shown, and end."""


class Chat:
    """A Listener. `status` is the exit status so far."""

    def __init__(self, name: str, view: View, *, people: bool) -> None:
        self.session: Session  # set by whoever has both
        self.status = 0
        self.name = whole(name)
        self.names: dict[str, None] = {}
        """Who was seen here, the last one last: for completion."""
        self.unanswered = 0
        self.proceed: Callable[[], None] = lambda: None
        """Called when it has come in, and when something is answered: more may be typed then."""
        self._view = view
        self._people = people  # somebody reads and types
        self._joined = False
        self._lost = False
        self._asking = False  # a question, without whose answer the session does not go on
        self._leaving = False
        self._ended = False

    # Typing

    def start(self) -> None:
        if self.name:
            self.session.join(self.name)
        else:
            self._ask_name("What is your name?")

    def typed(self, line: str) -> None:
        """One line, without its end."""
        if not line.strip() or self._leaving:
            return
        try:
            asked = parse(whole(line))
        except NoSuchCommandError as why:
            self.not_done(str(why))
            return
        match asked:
            case Help():
                self._show("answer", *HELP)
            case Quit():
                self.leave()
            case _ if type(asked) in self.session.lacks:
                self.not_done(self._why_lacking(asked))
            case _:
                self.unanswered += 1
                self._echo(asked)
                self.session.ask(asked)

    def leave(self) -> None:
        """After all that was asked."""
        if not self._leaving:
            self._leaving = True
            if self._asking:
                self.session.stop()
                self.ended(NOT_SAID if self.unanswered else "")
            else:
                self.session.leave()

    def _why_lacking(self, ask: Ask) -> str:
        command = typed(ask).partition(" ")[0]
        if isinstance(ask, Poll):
            return f"There is nothing to {command} for here: lines come by themselves."
        return f"There is no {command} over UDP: connect to tcp://HOST:PORT or tls://HOST:PORT for that."

    def _echo(self, ask: Ask) -> None:
        waits = self._lost or not self._joined
        match ask:
            case Say(text):
                self._view.show([Shown("own", clean(text.encode()), self.name, waits=waits)])
            case Tell(words):
                self._view.show([Shown("own", clean(f"(private) {words}".encode()), self.name, waits=waits)])

    # What the session tells

    def joined(self, name: str, greeting: Sequence[str]) -> None:
        self._joined = True
        self._is(name)
        for words in greeting:
            if words.startswith(HERE_NOW):
                self._meet(*words.removeprefix(HERE_NOW).rstrip(".").split(", "))
        self._show("answer", *greeting)
        if self._people:
            self._show("state", f"You are {name}. /help tells what you can do.")
        self.proceed()

    def not_joined(self, why: str) -> None:
        if self._can_answer:
            self._ask_name(f"{why} What is your name?")
        else:
            self.fail(why)

    def untrusted(self, why: UntrustedError) -> None:
        """The session does not go on with this server unless it is trusted."""
        if not isinstance(why, NewError):
            self.fail(str(why))
        elif not self._can_answer:
            self.fail(f"{why} To trust it: --trust-new, or --ca FILE.")
        else:
            self._ask_whether_to_trust(why)

    def _ask_whether_to_trust(self, why: NewError) -> None:
        def decide(answer: str) -> None:
            if answer.strip().lower() not in ("y", "yes"):
                self.fail("it was not trusted")
                return
            try:
                why.trust()
            except OSError as error:
                self.fail(f"that cannot be remembered: {error}")
                return
            self.session.join(self.name)

        self.problem(str(why))
        self._ask("Trust it from now on (yes, no)?", decide)

    def password_wanted(self, give: Callable[[str], None]) -> None:
        if self._can_answer:
            self._ask("What is the password?", give, secret=True)
        else:
            self.fail("the group has a password: see --password-file")

    def heard(self, lines: Sequence[tuple[int, str]]) -> None:
        self._view.show([self._shown(number, notices.read(line)) for number, line in lines])

    def answered(self, ask: Ask, words: Sequence[str]) -> None:
        self.unanswered -= 1
        if isinstance(ask, Rename):
            self._is(ask.name)
            self._show("state", f"You are {ask.name} now.")
        elif isinstance(ask, Users | History):
            self._show("answer", *(words or ["There is nothing yet."]))
        self.proceed()

    def refused(self, ask: Ask, why: str) -> None:
        self.unanswered -= 1
        self.not_done(f"Not done: {_quoted(ask)}: {why}")
        self.proceed()

    def doubtful(self, ask: Ask) -> None:
        self.unanswered -= 1
        self.not_done(f"Not confirmed, and not sent again: {_quoted(ask)}. The others may have seen it, or not.")
        self.proceed()

    def lost(self, why: str) -> None:
        self._lost = True
        self._show("state", f"reconnecting ({why})")

    def back(self, waiting: int) -> None:
        self._lost = False
        if waiting < 0:
            self._show("state", "back")
        else:
            self._show("state", f"back, {waiting} {'line' if waiting == 1 else 'lines'}")

    def rejoined(self, name: str) -> None:
        self._lost = False
        self._is(name)
        self._show("state", f"back, but your seat was gone: joined again as {name}. You may have missed something.")

    def ended(self, why: str) -> None:
        if self._ended:
            return
        self._ended = True
        if why:
            self.status = self.status or 1
            self.problem(why)
        self._view.close()

    def fail(self, why: str) -> None:
        self.session.stop()
        self.ended(why)

    # Showing

    def not_done(self, words: str) -> None:
        """A problem that the exit status tells of, where nobody sees it."""
        if not self._people:
            self.status = self.status or 1
        self.problem(words)

    def problem(self, words: str) -> None:
        self._show("problem", words)

    def _show(self, kind: str, *lines: str) -> None:
        if lines:
            self._view.show([Shown(kind, line, line=line) for line in lines])

    def _shown(self, number: int, line: notices.Line) -> Shown:
        match line.kind:
            case Kind.SAID | Kind.PRIVATE | Kind.JOINED:
                self._meet(line.name)
            case Kind.LEFT:
                self.names.pop(line.name, None)
            case Kind.RENAMED:
                self.names.pop(line.name, None)
                self._meet(line.text)
        for_me = line.kind is Kind.PRIVATE or (
            line.kind is Kind.SAID and bool(self.name) and self.name.casefold() in line.text.casefold()
        )
        return Shown(line.kind.value, line.text, line.name, number, line.line, for_me)

    def _meet(self, *names: str) -> None:
        for name in names:
            self.names.pop(name, None)
            self.names[name] = None

    def _is(self, name: str) -> None:
        self.name = name
        self._view.name_is(name)

    def _ask_name(self, question: str) -> None:
        def take(name: str) -> None:
            self.name = name
            self.session.join(name)

        self._ask(question, take)

    @property
    def _can_answer(self) -> bool:
        return self._people and not self._leaving

    def _ask(self, question: str, then: Callable[[str], None], *, secret: bool = False) -> None:
        def answered(answer: str) -> None:
            self._asking = False
            then(whole(answer))

        self._asking = True
        self._view.ask(question, answered, secret=secret)


def _quoted(ask: Ask) -> str:
    return quote(typed(ask).encode())
