"""Questions to the person who types: for a name, for a password, and about trust in a server."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from groupchat.client.text import replace_surrogates
from groupchat.client.trust import UnknownCertificateError, UntrustedError
from groupchat.client.view import View


class Questions:
    """Asks questions in a view. `pending` is true while the session waits for an answer."""

    def __init__(self, view: View) -> None:
        self.pending = False
        self._view = view

    def ask(
        self, question: str, then: Callable[[str], None], *, secret: bool = False, session_waits: bool = True
    ) -> None:
        """Ask a question, and call `then` with the answer. An answer to a `secret` one does not show."""

        def answered(answer: str) -> None:
            self.pending = False
            then(replace_surrogates(answer))

        self.pending = session_waits
        self._view.ask(question, answered, secret=secret)

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
