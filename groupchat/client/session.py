"""The session that a chat runs over: one seat in a group, whatever transport carries it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import Protocol

from groupchat.client.commands import SessionCommand
from groupchat.client.trust import UntrustedError


class Seat(Enum):
    """The seat that the server holds for this client."""

    NONE = auto()
    HELD = auto()
    """As far as the client knows: a seat of an earlier run may have ended meanwhile."""
    LOST = auto()
    """There was a seat, and the server no longer holds it. Joining with its key may give its place back."""
    REGAINED = auto()
    """The client has joined with the key of its seat, and is to go on after the last line that came."""


class Ending(Enum):
    """The wish of the user to end a session, and the end."""

    STAYING = auto()
    LEAVING = auto()
    OVER = auto()


class Session(Protocol):
    """One seat in a group. It reports everything to its listener, and its methods raise nothing."""

    unsupported: frozenset[type[SessionCommand]]
    """Commands that this kind of session cannot carry out."""

    @property
    def keeps_seat(self) -> bool:
        """True if the next run of the client can have this seat: see `suspend`."""

    @property
    def proof(self) -> str:
        """The words after BY that prove to the server, on another stream, whose seat this is. Empty without a seat."""

    def join(self, name: str) -> None:
        """Join under this name. `joined` follows, or `not_joined`, after which another name may be tried."""

    def ask(self, command: SessionCommand) -> None:
        """Send a command, after all earlier ones. `answered`, `refused` or `unconfirmed` follows, once."""

    def leave(self) -> None:
        """Leave for good, after all commands are answered. `ended` follows."""

    def suspend(self) -> None:
        """Keep the seat for the next run, and end after all commands are answered. `ended` follows."""

    def stop(self) -> None:
        """End at once. Nothing follows."""

    def pause(self) -> None:
        """Receive nothing until `resume`."""

    def resume(self) -> None: ...


class SessionListener(Protocol):
    """The owner of a session."""

    def joined(self, name: str, greeting: Sequence[str]) -> None:
        """The member is in the group, under this name. `greeting` is what the server said."""

    def not_joined(self, why: str) -> None:
        """The server refused the name."""

    def untrusted(self, why: UntrustedError) -> None:
        """The server's certificate is not trusted, and nothing was sent.

        After an UnknownCertificateError, trust it and call `join` to try again.
        """

    def received(self, lines: Sequence[tuple[int, str]]) -> None:
        """Lines of the group came, in order. Each has its number, or 0 if it has none."""

    def answered(self, command: SessionCommand, words: Sequence[str]) -> None:
        """The command was carried out. `words` are its result."""

    def refused(self, command: SessionCommand, why: str) -> None:
        """The command had no effect."""

    def unconfirmed(self, command: SessionCommand) -> None:
        """The command may or may not have had an effect. It is not sent again."""

    def lost(self, why: str) -> None:
        """The connection was lost. The session reconnects; commands wait until then."""

    def back(self, waiting: int) -> None:
        """The connection is back. `waiting` lines follow that came meanwhile; -1 if their number is not known."""

    def began_anew(self) -> None:
        """The server has an older state than this session saw. `back` follows, and what the server knows to be new."""

    def regained(self, name: str) -> None:
        """The old seat was gone, and this is a new one in its place. `back` follows, and what happened in between."""

    def rejoined(self, name: str) -> None:
        """The old seat was gone, and this is a new one. What happened in between is not known."""

    def not_kept(self, why: str) -> None:
        """The seat is not kept for the next run, or not the one that was kept."""

    def ended(self, why: str) -> None:
        """The session is over. An empty `why` means that it ended as asked."""
