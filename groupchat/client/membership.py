"""Whether the server counts us as a member, as far as its answers tell.

In doubt the answer is "possibly": to leave without being a member costs one `Illegal message`; to go without leaving
keeps a name taken.
"""

from __future__ import annotations

from enum import Enum, auto

from groupchat.client.messages import CLOSE, ILLEGAL, LEAVE, is_join


class Standing(Enum):
    OUTSIDE = auto()
    POSSIBLY = auto()
    """A join was sent, and its answer is not known for certain."""
    MEMBER = auto()


class Membership:
    def __init__(self) -> None:
        self.standing = Standing.OUTSIDE

    @property
    def possible(self) -> bool:
        return self.standing is not Standing.OUTSIDE

    def sent(self, request: bytes) -> None:
        if is_join(request) and self.standing is Standing.OUTSIDE:
            self.standing = Standing.POSSIBLY

    def answered(self, request: bytes, reply: bytes, *, certain: bool) -> None:
        """`certain` is false when the reply may as well be a late one, to an earlier request."""
        if request == LEAVE and reply == CLOSE:
            self.standing = Standing.OUTSIDE
        elif is_join(request):
            self._join_answered(reply, certain=certain)

    def _join_answered(self, reply: bytes, *, certain: bool) -> None:
        if reply != ILLEGAL:
            self.standing = Standing.MEMBER
        elif certain and self.standing is Standing.POSSIBLY:  # a member's second join is refused, and it stays a member
            self.standing = Standing.OUTSIDE

    def closed_late(self, outstanding: bytes | None) -> None:
        """An earlier `4` turns out to have been heard; a join sent since then may have been heard after it."""
        rejoining = outstanding is not None and is_join(outstanding)
        self.standing = Standing.POSSIBLY if rejoining else Standing.OUTSIDE
