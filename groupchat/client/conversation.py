"""The UDP conversation: one request at a time. Joins and polls are repeated; other lost answers are reported.

Two rules. Every datagram that comes is reported, whether or not a request is outstanding. And since the protocol has no
request ids, a datagram answers the request that is outstanding when it comes, with one exception: while replies to
earlier requests may still be on their way, `close` answers a `4` only, and a `4` waits for its `close`. So a late reply
may count for the request after it, but a `4` is still answered last, and nothing is lost at the end.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from groupchat.client.messages import LEAVE, Membership, is_repeatable
from groupchat.client.udp import UnreachableError
from groupchat.wire.datagrams import CLOSE, REFUSAL

ANSWER_SECONDS = 2
LONGEST_PAUSE = 30
TRIES = 5
"""A request is sent after 0, 2, 6, 14 and 30 seconds, and given up after 60."""


class DatagramSender(Protocol):
    """Sends a conversation's datagrams. `UDPSocket` is the real one."""

    def send(self, datagram: bytes) -> None:
        """Send to the current address. Raises UnreachableError."""

    def use_next(self) -> bool:
        """Go on to the next address of the same host. Return False if there is none."""


class ConversationListener(Protocol):
    """The owner of a conversation. After `answered`, `unanswered` or `undelivered` it may ask the next request."""

    def received(self, reply: bytes) -> None:
        """A datagram came, expected or not. `answered` follows if it was an answer."""

    def answered(self, request: bytes, reply: bytes) -> None: ...

    def waiting(self, request: bytes, seconds: int) -> None:
        """There is no answer yet, and the request is about to be sent again."""

    def unanswered(self, request: bytes, seconds: int, times: int) -> None:
        """The request was sent `times` times, and is given up."""

    def undelivered(self, request: bytes, reason: str) -> None:
        """The request certainly reached nobody."""

    def closed(self) -> None:
        """An earlier `4`, which was given up, was answered with `close` after all."""


class Conversation:
    """Sends one request at a time. `tries` is how often a join or a poll is sent at most; None is no limit.

    `longest` is the longest pause between two tries, in seconds.
    """

    def __init__(
        self,
        clock: IReactorTime,
        sender: DatagramSender,
        listener: ConversationListener,
        tries: int | None = TRIES,
        longest: int = LONGEST_PAUSE,
    ) -> None:
        self.tries = tries
        self._longest = longest
        self.membership = Membership()
        self.outstanding: bytes | None = None
        self.met = False  # True once anything came from the server
        self._clock = clock
        self._sender = sender
        self._listener = listener
        self._timer: IDelayedCall | None = None
        self._sends = 0
        self._waited = 0
        self._owed = 0  # datagrams sent for which no reply has come
        self._stale = 0  # how many of these were earlier requests
        self._unclear: bytes | None = None  # the answer to a `4`, or a late reply to an earlier request
        self._leave_open = False

    @property
    def certain(self) -> bool:
        """True if every earlier request has its reply, so that a reply can only answer the last one."""
        return not self._stale

    def ask(self, request: bytes) -> None:
        """Send a request, while none is outstanding."""
        assert self.outstanding is None
        self.outstanding = request
        self._stale = self._owed
        self._sends = self._waited = 0
        self._unclear = None
        self._leave_open |= request == LEAVE
        self._transmit(request)

    def abandon(self) -> None:
        """Stop waiting for the outstanding request, if there is one. Its answer will count as late."""
        self._stop_timer()
        self.outstanding = None

    def received(self, datagram: bytes) -> None:
        self.met = True
        self._owed = max(0, self._owed - 1)
        self._listener.received(datagram)
        if self.outstanding is not None and self._fits(self.outstanding, datagram):
            self._answered(self.outstanding, datagram)
        else:
            self._late(datagram)

    def refused(self, reason: str) -> None:
        """Note that nothing listens where the outstanding request went, or that there is no route."""
        if self.outstanding is None:
            return
        if self.met and is_repeatable(self.outstanding):
            return  # the daemon may be restarting: the timer asks again
        self._stop_timer()
        self._sends -= 1
        self._owed = max(0, self._owed - 1)
        if not self.met and self._sender.use_next():
            self._transmit(self.outstanding)
            return
        request, self.outstanding = self.outstanding, None
        self._listener.undelivered(request, reason)

    def _transmit(self, request: bytes) -> None:
        self._sends += 1
        self._owed += 1
        self.membership.sent(request)
        pause = min(ANSWER_SECONDS << (self._sends - 1), self._longest)
        self._timer = self._clock.callLater(pause, self._timed_out, request, pause)
        try:
            self._sender.send(request)
        except UnreachableError as error:
            self.refused(str(error))

    def _timed_out(self, request: bytes, pause: int) -> None:
        self._timer = None
        self._waited += pause
        if self._unclear is not None:
            self._answered(request, self._unclear)
        elif is_repeatable(request) and (self.tries is None or self._sends < self.tries):
            self._listener.waiting(request, self._waited)
            self._transmit(request)
        else:
            self.outstanding = None
            self._listener.unanswered(request, self._waited, self._sends)

    def _fits(self, request: bytes, datagram: bytes) -> bool:
        if not self._stale:
            return True
        return (request == LEAVE) == (datagram == CLOSE)

    def _answered(self, request: bytes, reply: bytes) -> None:
        self._stop_timer()
        self.outstanding = None
        if request == LEAVE:
            self._leave_open = False
        self.membership.answered(request, reply, certain=not self._stale)
        self._listener.answered(request, reply)

    def _late(self, datagram: bytes) -> None:
        self._stale = max(0, self._stale - 1)
        if datagram == REFUSAL and self.outstanding == LEAVE:
            self._unclear = datagram
        if datagram == CLOSE and self._leave_open:
            self._leave_open = False
            self.membership.closed_late(self.outstanding)
            self._listener.closed()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
