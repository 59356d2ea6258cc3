"""Every exception of groupchat.

Two families, told apart by whose fault it is: an `IllegalMessage` is the remote's, and carries the reply it gets; a
`LogError` is ours, and says what is known about the events that were to be stored.
"""

from __future__ import annotations


class GroupchatError(Exception):
    """What all of them are."""


class IllegalMessage(GroupchatError):
    """The remote asked for something malformed, or not allowed now. `str()` of it says why."""

    reply = "Illegal message"


class NotNow(IllegalMessage):
    """It would be fine at another time: there is too much at once, or it cannot be stored."""


class TooFast(NotNow):
    """Too much was asked of late."""


class LogError(GroupchatError):
    """The log could not do what it was asked."""


class Unavailable(LogError):
    """The entry was surely not stored."""


class Unknown(LogError):
    """The entry may have been stored: append it again with the same id to be sure."""


class Trimmed(LogError):
    """Entries that were asked for are no longer in the log."""


class CannotOpen(LogError):
    """The log cannot be opened; `str()` of it tells an operator why, in one line."""


class CannotListen(GroupchatError):
    """An endpoint cannot be had; `str()` of it tells an operator why, in one line."""


class CannotShare(GroupchatError):
    """The directory of shared files cannot be used; `str()` of it tells an operator why, in one line."""
