"""The five messages as a client sees them: kinds of requests, and membership as answers tell it. Pure."""

from __future__ import annotations

from enum import Enum, auto

from groupchat.wire.datagrams import CLOSE, REFUSAL

LEAVE = b"4"
POLL = b"5"


def is_join(request: bytes) -> bool:
    return request.startswith(b"1 ")


def is_repeatable(request: bytes) -> bool:
    """Return True if a second copy does no harm: a repeated join gets the same answer, and a poll only asks."""
    return request == POLL or is_join(request)


class MemberState(Enum):
    OUTSIDE = auto()
    POSSIBLY = auto()
    """A join was sent, and its answer is not known for certain."""
    MEMBER = auto()


class Membership:
    """Tells from requests and answers if the server counts this client as a member.

    In doubt the answer is "possibly": to leave without being a member costs one `Illegal message`; to end without
    leaving keeps a name taken.
    """

    def __init__(self) -> None:
        self._state = MemberState.OUTSIDE

    @property
    def possible(self) -> bool:
        return self._state is not MemberState.OUTSIDE

    def sent(self, request: bytes) -> None:
        if is_join(request) and self._state is MemberState.OUTSIDE:
            self._state = MemberState.POSSIBLY

    def answered(self, request: bytes, reply: bytes, *, certain: bool) -> None:
        """Note an answer. `certain` is false if it may be a late reply to an earlier request."""
        if request == LEAVE and reply == CLOSE:
            self._state = MemberState.OUTSIDE
        elif is_join(request):
            if reply != REFUSAL:
                self._state = MemberState.MEMBER
            elif certain and self._state is MemberState.POSSIBLY:  # a member whose second join is refused stays one
                self._state = MemberState.OUTSIDE

    def closed_late(self, outstanding: bytes | None) -> None:
        """Note that an earlier `4` took effect. A join sent since then may have taken effect after it."""
        rejoining = outstanding is not None and is_join(outstanding)
        self._state = MemberState.POSSIBLY if rejoining else MemberState.OUTSIDE
