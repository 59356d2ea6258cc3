"""The chat: what is typed goes to a session, what comes of it to a view. It knows neither transport nor terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred

from groupchat.client.asks import (
    HELP,
    Ask,
    Cancel,
    FileAsk,
    Get,
    Help,
    History,
    ListFiles,
    ListTransfers,
    NoSuchCommandError,
    Poll,
    Quit,
    Rename,
    Say,
    Send,
    Tell,
    Users,
    parse,
    typed,
)
from groupchat.client.files.progress import Bar
from groupchat.client.session import Session
from groupchat.client.text import clean, quote, whole
from groupchat.client.trust import NewError, UntrustedError
from groupchat.client.view import Shown, View
from groupchat.core import notices
from groupchat.core.notices import Kind

HERE_NOW = "Here now: "
HOW_TO_TRUST = "To trust it: --trust-new, or --ca FILE."
NOT_SAID = "what was typed was not said"


class Files(Protocol):
    """What does what is asked of files. See sharing.py."""

    names: dict[str, None]
    """Of files that were seen, the last one last."""

    @property
    def count(self) -> int:
        """How much of what was asked is not over."""

    def ask(self, ask: FileAsk) -> None: ...

    def stop(self) -> None: ...

    def saw(self, *names: str) -> None: ...


class Chat:
    """A Listener. `status` is the exit status so far."""

    def __init__(self, name: str, view: View, *, people: bool) -> None:
        self.session: Session  # set by whoever has both
        self.files: Files | None = None  # likewise
        self.status = 0
        self.name = whole(name)
        self.names: dict[str, None] = {}
        """Who was seen here, the last one last: for completion."""
        self.unanswered = 0
        self._file_asks: list[FileAsk] = []  # until it has come in
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
            case ListFiles() | Get() | Send() | ListTransfers() | Cancel():
                self._ask_files(asked)
            case _ if type(asked) in self.session.lacks:
                self.not_done(self._why_lacking(asked))
            case _:
                self.unanswered += 1
                self._echo(asked)
                self.session.ask(asked)

    def _ask_files(self, ask: FileAsk) -> None:
        if self.files is None:
            self.not_done("There are no files here.")
        elif self._joined:
            self.files.ask(ask)
        else:
            self._file_asks.append(ask)

    @property
    def pending(self) -> int:
        """How much that was asked is not done."""
        return self.unanswered + len(self._file_asks) + (self.files.count if self.files is not None else 0)

    def leave(self) -> None:
        """After all that was asked. Where somebody types, no file is waited for: nobody knows how long that takes."""
        if not self._leaving:
            self._leaving = True
            if self._asking:
                self.session.stop()
                self.ended(NOT_SAID if self.pending else "")
            elif self._people:
                self.stop_files()
                self.session.leave()
            elif self.files is None or not self.files.count:
                self.session.leave()

    def stop_files(self) -> None:
        """Cancel what is fetched and sent."""
        self._file_asks.clear()
        if self.files is not None:
            self.files.stop()

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

    # What becomes of files

    def told(self, words: str, about: Mapping[str, object]) -> None:
        if about.get("state") == "failed" and not self._people:
            self.status = self.status or 1
        self._view.show([Shown("file", words, line=words, about=about)])

    def answer(self, *lines: str) -> None:
        self._show("answer", *lines)

    def under_way(self, bars: Sequence[Bar]) -> None:
        self._view.under_way(bars)

    def moved_on(self) -> None:
        if not self._ended:
            if self._leaving and not self._people and self.files is not None and not self.files.count:
                self.session.leave()
            self.proceed()

    def trust(self, why: NewError) -> Deferred[None]:
        """Fires once somebody has decided to trust a server, and fails if it is not trusted."""
        decided: Deferred[None] = Deferred()
        if not self._can_answer or self._asking:
            decided.errback(UntrustedError(f"{why} {HOW_TO_TRUST}"))
        else:
            self._ask_whether_to_trust(why, decided)
        return decided

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
        asks, self._file_asks = self._file_asks, []
        for ask in asks:
            self._ask_files(ask)
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
            self.fail(f"{why} {HOW_TO_TRUST}")
        else:
            decided: Deferred[None] = Deferred()
            decided.addCallbacks(
                lambda _: self.session.join(self.name), lambda failure: self.fail(failure.getErrorMessage())
            )
            self._asking = True
            self._ask_whether_to_trust(why, decided)

    def _ask_whether_to_trust(self, why: NewError, decided: Deferred[None]) -> None:
        def decide(answer: str) -> None:
            self._asking = False
            if decided.called:  # it is wanted no longer
                return
            if answer.strip().lower() not in ("y", "yes"):
                decided.errback(UntrustedError("it was not trusted"))
                return
            try:
                why.trust()
            except OSError as error:
                decided.errback(UntrustedError(f"that cannot be remembered: {error}"))
                return
            decided.callback(None)

        self.problem(str(why))
        self._view.ask("Trust it from now on (yes, no)?", lambda answer: decide(whole(answer)))

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
            case Kind.SHARED if self.files is not None:
                self.files.saw(line.text)
        for_me = line.kind is Kind.PRIVATE or (
            line.kind is Kind.SAID and bool(self.name) and self.name.casefold() in line.text.casefold()
        )
        about = {"size": line.size} if line.size else {}
        return Shown(line.kind.value, line.text, line.name, number, line.line, for_me, about=about)

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
