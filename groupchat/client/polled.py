"""A session over the five messages: it polls every few seconds and after each line.

Three rules. A text whose answer does not come is reported as unconfirmed and never sent again: it may have arrived.
What certainly reached nobody is sent again. And `Illegal message` has two meanings, refused text or lost seat; a poll
tells them apart, since a member's poll is legal. A refused text that is legal was too much at once: it is sent again
after a pause.
"""

from __future__ import annotations

from collections import deque

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from groupchat.client.commands import SessionCommand
from groupchat.client.conversation import TRIES, Conversation, DatagramSender
from groupchat.client.messages import LEAVE, POLL, is_join
from groupchat.client.session import Ending, Seat, SessionListener
from groupchat.client.text import clean
from groupchat.core.commands import Poll, Recall, Rename, Say, Users, Whisper
from groupchat.core.errors import IllegalMessage
from groupchat.core.notices import is_line
from groupchat.core.texts import check_text
from groupchat.wire.datagrams import REFUSAL
from groupchat.wire.operators import OperatorLine

LONGEST_PAUSE = 4
"""The longest pause in seconds between two tries of a join or a poll."""

SLOW_SECONDS = 1.0
"""The pause after a text that was refused as it was too much at once."""

SLOW_TRIES = 5
"""The number of times such a text is sent."""

AGAIN_SECONDS = 2.0
"""The pause before something that reached nobody is sent again."""

REFUSED_JOIN = "the name is in use or not allowed, or it accepts no datagrams from your network (--allow-udp)"
LOST_SEAT = "your seat is gone and the server refuses your name: you were removed, or somebody else has that name now"
REFUSED_NAME = "it is in use, or not one that the server allows"
REFUSED_TEXT = "it is too long, has something in it that may not be said, or it was too much at once"


class PolledSession:
    """A Session, and the ConversationListener of its conversation."""

    unsupported: frozenset[type[SessionCommand]] = frozenset([Whisper, Users, Recall, OperatorLine])
    keeps_seat = False

    def __init__(
        self, clock: IReactorTime, sender: DatagramSender, listener: SessionListener, poll_seconds: float
    ) -> None:
        self.conversation = Conversation(clock, sender, self, tries=None, longest=LONGEST_PAUSE)
        self._clock = clock
        self._listener = listener
        self._poll_seconds = poll_seconds
        self._name = ""
        self._seat = Seat.NONE
        self._ending = Ending.STAYING
        self._queue: deque[SessionCommand] = deque()
        self._asked: SessionCommand | None = None  # the command that is outstanding, if any
        self._illegal: SessionCommand | None = None  # answered `Illegal message`; a poll tells why
        self._is_certain = True  # that this answer was not one to an earlier request
        self._tries = 0  # of the text that was too much at once
        self._is_slow = False  # during the pause after it
        self._more = False  # more may wait at the server
        self._timer: IDelayedCall | None = None
        self._lost = False
        self._paused = False

    @property
    def proof(self) -> str:
        return "ADDRESS" if self._seat is Seat.HELD else ""

    # The session's owner

    def join(self, name: str) -> None:
        self._name = name
        self._next()

    def ask(self, ask: SessionCommand) -> None:
        self._queue.append(ask)
        self._next()

    def leave(self) -> None:
        self._ending = Ending.LEAVING
        self.conversation.tries = TRIES  # the user no longer waits
        if self._name and (self._seat is not Seat.NONE or self.conversation.membership.possible):
            self._next()
        else:
            self._end("")

    def suspend(self) -> None:
        self.leave()

    def stop(self) -> None:
        self._ending = Ending.OVER
        self.conversation.abandon()
        self._stop_timer()

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        self._next()

    def _end(self, why: str) -> None:
        if self._ending is not Ending.OVER:
            self.stop()
            self._listener.ended(why)

    # One request at a time

    def _next(self) -> None:
        """Send what comes next, if nothing is outstanding."""
        if self._ending is Ending.OVER or self.conversation.outstanding is not None or self._is_slow:
            return
        self._stop_timer()
        if self._seat is not Seat.HELD:
            if self._name:
                self._request(f"1 {self._name}".encode(), None)
        elif self._illegal is not None:
            self._request(POLL, None)
        elif self._queue and not self._paused and not self._lost:
            ask = self._queue.popleft()
            self._request(_request(ask), ask)
        elif self._ending is Ending.LEAVING and not self._queue:
            self._request(LEAVE, None)
        elif (self._more or self._lost) and not self._paused:
            self._request(POLL, None)
        else:
            self._later(self._poll_seconds)

    def _request(self, request: bytes, ask: SessionCommand | None) -> None:
        self._asked = ask
        self.conversation.ask(request)

    def _later(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self._clock.callLater(seconds, self._due)

    def _due(self) -> None:
        self._timer = None
        self._is_slow = False
        self._more = True
        self._next()

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    # The conversation's listener

    def received(self, reply: bytes) -> None:
        """Report the lines in any datagram, expected or late."""
        text = clean(reply)
        if is_line(text.partition("\n")[0]):
            self._listener.received([(0, line) for line in text.split("\n")])

    def answered(self, request: bytes, reply: bytes) -> None:
        self._found()
        if request == LEAVE:
            self._end("")
        elif is_join(request):
            self._join_answered(reply)
        elif reply == REFUSAL:
            self._illegal_answered(request)
        else:
            self._seat = Seat.HELD
            asked, self._asked = self._asked, None
            illegal, self._illegal = self._illegal, None
            self._more = bool(reply) or request != POLL
            if illegal is not None:
                self._refused(illegal)
            if asked is not None:
                self._tries = 0
                if isinstance(asked, Rename):
                    self._name = asked.name
                self._listener.answered(asked, [])
        self._next()

    def _join_answered(self, reply: bytes) -> None:
        if reply == REFUSAL:
            if self._seat is Seat.LOST:
                for ask in self._queue:
                    self._listener.refused(ask, "there is no seat")
                self._end(LOST_SEAT)
                return
            name, self._name = self._name, ""
            self._listener.not_joined(f"The server refuses {name}: {REFUSED_JOIN}.")
            return
        seat, self._seat, self._more = self._seat, Seat.HELD, True
        if seat is not Seat.NONE:
            self._listener.rejoined(self._name)
        else:
            here = clean(reply)
            self._listener.joined(self._name, [f"Here now: {here}." if here else "Nobody else is here yet."])

    def _refused(self, command: SessionCommand) -> None:
        """Report a command that a member may not send now. A text that is sent too early is sent again later."""
        is_early = isinstance(command, Say) and _is_legal(command.text)
        if is_early and self._is_certain and self._tries < SLOW_TRIES:
            self._tries += 1
            self._queue.appendleft(command)
            self._is_slow = True
            self._later(SLOW_SECONDS)
        else:
            self._tries = 0
            self._listener.refused(command, REFUSED_NAME if isinstance(command, Rename) else REFUSED_TEXT)

    def _illegal_answered(self, request: bytes) -> None:
        """Poll after an illegal request. If the poll is illegal too, the seat is gone, and nothing took effect."""
        if request != POLL:
            self._illegal, self._asked = self._asked, None
            self._is_certain = self.conversation.certain
            return
        self._seat = Seat.LOST
        for ask in (self._asked, self._illegal):
            if ask is not None:
                self._queue.appendleft(ask)
        self._asked = self._illegal = None

    def waiting(self, request: bytes, seconds: int) -> None:
        self._missed(f"no answer for {seconds} seconds")

    def unanswered(self, request: bytes, seconds: int, times: int) -> None:
        self._missed(f"no answer for {seconds} seconds")
        asked, self._asked = self._asked, None
        if request == LEAVE:
            self._end("the server did not answer, and may not know that you left")
        elif asked is not None:
            self._listener.unconfirmed(asked)
        elif self._ending is Ending.LEAVING:
            for ask in self._queue:
                self._listener.refused(ask, "there was no way to the server")
            self._end("the server does not answer")
        self._more = True
        self._next()

    def undelivered(self, request: bytes, reason: str) -> None:
        asked, self._asked = self._asked, None
        if request == LEAVE:
            self._end(f"the server cannot be told that you left: {reason}")
            return
        if not self.conversation.met:
            self._end(reason)
            return
        if asked is not None and self.conversation.certain:
            self._queue.appendleft(asked)
        elif asked is not None:
            self._listener.unconfirmed(asked)  # the refusal may be of an earlier datagram
        self._missed(reason)
        self._more = True
        self._later(AGAIN_SECONDS)

    def closed(self) -> None:
        """Do nothing: the session was over before the late answer to its `4` came."""

    def _missed(self, why: str) -> None:
        if not self._lost and self._ending is not Ending.OVER:
            self._lost = True
            self._listener.lost(why)

    def _found(self) -> None:
        if self._lost:
            self._lost = False
            self._listener.back(-1)


def _is_legal(text: str) -> bool:
    try:
        check_text(text)
    except IllegalMessage:
        return False
    return True


def _request(ask: SessionCommand) -> bytes:
    match ask:
        case Say(text):
            return f"2 {text}".encode()
        case Rename(name):
            return f"3 {name}".encode()
        case Poll():
            return POLL
    raise TypeError(f"{ask} is not supported over UDP")
