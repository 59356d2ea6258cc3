"""What a chat runs over: one seat in a group, whatever carries it. A further transport is one more of these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from groupchat.client.asks import Ask
from groupchat.client.trust import UntrustedError


class Session(Protocol):
    """One seat. It tells its listener what becomes of it; nothing here raises."""

    lacks: frozenset[type[Ask]]
    """What it cannot be asked for."""

    @property
    def proof(self) -> str:
        """What proves to the server who this is, on another stream: the words after BY. Empty without a seat."""

    def join(self, name: str) -> None:
        """Come in under this name: `joined` follows, or `not_joined`, and then it may be another one."""

    def ask(self, ask: Ask) -> None:
        """Ask for this, after all that was asked before: `answered`, `refused` or `doubtful` follows, once."""

    def leave(self) -> None:
        """Leave, after all that was asked is answered: `ended` follows."""

    def stop(self) -> None:
        """End at once. Nothing follows."""

    def pause(self) -> None:
        """Hear nothing more, until `resume`."""

    def resume(self) -> None: ...


class Listener(Protocol):
    """Who has a session."""

    def joined(self, name: str, greeting: Sequence[str]) -> None:
        """It is in the group, under this name; `greeting` is what the server says to that."""

    def not_joined(self, why: str) -> None:
        """The name is refused."""

    def untrusted(self, why: UntrustedError) -> None:
        """The server's certificate is not trusted, and nothing was sent.

        If it is a NewError, `join` tries again after its `trust`.
        """

    def heard(self, lines: Sequence[tuple[int, str]]) -> None:
        """What happened, in order, in the words of the server; each line with its number, 0 if it has none."""

    def answered(self, ask: Ask, words: Sequence[str]) -> None:
        """It is done. `words` is what was asked for."""

    def refused(self, ask: Ask, why: str) -> None:
        """It had no effect."""

    def doubtful(self, ask: Ask) -> None:
        """Nobody knows whether it had an effect. It is not tried again."""

    def lost(self, why: str) -> None:
        """There is no way to the server just now. It is looked for; what is asked meanwhile waits."""

    def back(self, waiting: int) -> None:
        """There is one again, and so many lines follow that came meanwhile; -1 if nobody knows how many."""

    def rejoined(self, name: str) -> None:
        """The seat was gone, and this is another one: what happened between the two is not known."""

    def ended(self, why: str) -> None:
        """It is over: as was asked for if there is no `why`."""
