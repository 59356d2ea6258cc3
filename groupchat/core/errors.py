"""Exceptions that one folder raises and another catches. Those that stay within one folder are defined there.

An `IllegalMessage` is the remote's fault, and carries the reply that it gets. A `LogError` is ours, and says what is
known about the events that were to be stored. The others tell an operator why the daemon cannot start.
"""

from __future__ import annotations


class GroupchatError(Exception):
    """The base of the exceptions below."""


class IllegalMessage(GroupchatError):
    """A request that is malformed, or not allowed now. Its text says why, in a sentence for people."""

    reply = "Illegal message"
    reason = "other"
    """The heading under which it is counted."""


class BadName(IllegalMessage):
    """A name that is not allowed, or is in use."""

    reason = "name"


class BadText(IllegalMessage):
    """A text that is not allowed."""

    reason = "text"


class NotMember(IllegalMessage):
    """A request of somebody who has not joined."""

    reason = "no member"


class ReadOnly(IllegalMessage):
    """A request of somebody who may read, and not write."""

    reason = "muted"


class Full(IllegalMessage):
    """There is no room for another member."""

    reason = "full"


class NotNow(IllegalMessage):
    """A request that may succeed later: there is too much to do at once, or it cannot be stored."""

    reason = "not now"


class Excluded(IllegalMessage):
    """Somebody may not be in the group now. Its client stops: it does not join again by itself."""

    reason = "banned or removed"


class RemovedByOperator(Excluded):
    """An operator removed the member."""

    def __init__(self, why: str) -> None:
        super().__init__(f"You were removed: {why}" if why else "You were removed.")


class TooFast(NotNow):
    """A request that exceeds a rate limit."""

    reason = "too fast"


class Unanswered(GroupchatError):
    """A request that is neither refused nor answered, as if it had been lost."""


class LogError(GroupchatError):
    """A failure of the log."""


class Unavailable(LogError):
    """The entry was certainly not stored."""


class Misplaced(Unavailable):
    """The file of the log is no longer where the next start looks for it. The text says what happened to it."""


class Unknown(LogError):
    """The entry may have been stored. Append it again with the same id to be sure."""


class Trimmed(LogError):
    """The requested entries are no longer in the log."""


class Damaged(LogError):
    """A part of the log is not as it was stored. The text names the part."""


class Broken(LogError):
    """The log can no longer be used. The text says why, and what to do, in one line."""


class CannotOpen(LogError):
    """The log cannot be opened. The text says why, in one line."""


class CannotListen(GroupchatError):
    """An endpoint cannot be opened. The text says why, in one line."""


class CannotShare(GroupchatError):
    """The directory of shared files cannot be used. The text says why, in one line."""


class CannotStart(GroupchatError):
    """The daemon cannot be started as the options want it. The text says why, in one line."""
