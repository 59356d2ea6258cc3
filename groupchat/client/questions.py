"""Questions to the person who types: for a name, for a password, and about trust in a server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.defer import Deferred

from groupchat.client.text import replace_surrogates
from groupchat.client.trust import UnknownCertificateError, UntrustedError
from groupchat.client.view import View


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    words: str
    then: Callable[[str], None]
    secret: bool
    session_waits: bool


class Questions:
    """Asks questions in a view, one after the other. `pending` is true while the session waits for an answer."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._questions: list[Question] = []  # the first is being asked

    @property
    def pending(self) -> bool:
        return any(question.session_waits for question in self._questions)

    def ask(
        self, question: str, then: Callable[[str], None], *, secret: bool = False, session_waits: bool = True
    ) -> None:
        """Ask a question, and call `then` with the answer. An answer to a `secret` one does not show.

        The session waits for one answer at a time: its next question replaces an earlier one.
        """
        asked = self._questions[:1]
        if session_waits:
            self._questions = [earlier for earlier in self._questions if not earlier.session_waits]
        self._questions.append(Question(question, then, secret, session_waits))
        if self._questions[:1] != asked:
            self._ask_first()

    def _ask_first(self) -> None:
        question = self._questions[0]
        self._view.ask(question.words, self._answered, secret=question.secret)

    def _answered(self, answer: str) -> None:
        question = self._questions.pop(0)
        next_one = self._questions[:1]
        question.then(replace_surrogates(answer))
        if next_one and self._questions[:1] == next_one:
            self._ask_first()

    def ask_trust(self, error: UnknownCertificateError, *, session_waits: bool) -> Deferred[None]:
        """Ask if a server is to be trusted. The Deferred fires once it is, and fails with UntrustedError if not."""
        decided: Deferred[None] = Deferred()

        def decide(answer: str) -> None:
            if decided.called:  # cancelled
                return
            try:
                if answer.strip().lower() not in ("y", "yes"):
                    raise UntrustedError("it was not trusted")
                error.trust()
            except UntrustedError as refusal:
                decided.errback(refusal)
            except OSError as failure:
                decided.errback(UntrustedError(f"that cannot be remembered: {failure}"))
            else:
                decided.callback(None)

        self.ask("Trust it from now on (yes, no)?", decide, session_waits=session_waits)
        return decided
