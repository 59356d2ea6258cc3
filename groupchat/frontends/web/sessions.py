"""Sessions of the page, and of scripts with a key: one seat for each key, over any number of connections.

A session exists while one of its requests is under way, or one of its streams is open. After that its seat is held,
like that of a numbered session whose connection ended. It is the same seat: a client can resume it over TCP.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from groupchat.core.commands import Command, Join, Leave
from groupchat.core.errors import Excluded, IllegalMessage, NotNow
from groupchat.core.group import Member
from groupchat.core.limits import MAX_WEB_STREAMS
from groupchat.frontends.guests import CANNOT
from groupchat.service.group_service import GroupService
from groupchat.service.seats import IConnection, Seat


@implementer(IConnection)
class Session:
    """The client on one seat. `requests` are under way; `over` is called when there are no requests or streams left."""

    way = "web"
    __slots__ = ("_over", "_waiting", "requests", "seat", "streams")

    def __init__(self, over: Callable[[Session], None]) -> None:
        self.seat: Seat | None = None  # None again when another connection resumed it
        self.streams: dict[Any, None] = {}  # event streams
        self.requests = 0
        self._waiting: dict[int, tuple[Command, Deferred[None]]] = {}  # by the id() of the command
        self._over = over

    @property
    def member(self) -> Member | None:
        return None if self.seat is None else self.seat.member

    def submit(self, service: GroupService, command: Command) -> Deferred[None]:
        """Return a Deferred that fires when this has taken effect, and fails with IllegalMessage."""
        done: Deferred[None] = Deferred()
        if self.seat is None:
            done.errback(NotNow(CANNOT))
            return done
        self._waiting[id(command)] = command, done
        service.submit(self.seat, command)
        return done

    def check_streams(self) -> None:
        """Raise NotNow if no more streams may be opened."""
        if len(self.streams) >= MAX_WEB_STREAMS:
            raise NotNow(f"The group is open in {MAX_WEB_STREAMS} places already: close one of them.")

    def opened(self, stream: Any) -> None:
        self.streams[stream] = None

    def closed(self, stream: Any) -> None:
        self.streams.pop(stream, None)
        self.check_over()

    def released(self) -> None:
        """Count a request that has ended."""
        self.requests -= 1
        self.check_over()

    def check_over(self) -> None:
        if not self.requests and not self.streams:
            self._over(self)

    # IConnection

    def answered(self, seat: Seat, command: Command) -> None:
        if isinstance(command, Leave):
            self._end_streams(IllegalMessage("You have left the group."))
        self._settle(command, None)

    def refused(self, seat: Seat, command: Command, why: IllegalMessage) -> None:
        self._settle(command, why)

    def dropped(self, seat: Seat, command: Command) -> None:
        self._settle(command, NotNow(CANNOT))

    def displaced(self, why: IllegalMessage) -> None:
        self.seat = None
        self._end_streams(why)
        for command, _ in tuple(self._waiting.values()):
            self._settle(command, why if isinstance(why, Excluded) else NotNow(str(why)))

    def _settle(self, command: Command, why: IllegalMessage | None) -> None:
        found = self._waiting.pop(id(command), None)
        if found is not None:
            found[1].callback(None) if why is None else found[1].errback(why)

    def _end_streams(self, why: IllegalMessage) -> None:
        streams, self.streams = self.streams, {}
        for stream in streams:
            stream.gone(why)
        self.check_over()


class Sessions:
    """The sessions of one group that are in use now, by the hash of their key."""

    def __init__(self, service: GroupService) -> None:
        self._service = service
        self._group = service.group
        self._sessions: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def tell(self, event: bytes) -> None:
        """Send an event on every stream."""
        for session in self._sessions.values():
            for stream in tuple(session.streams):
                stream.give(event)

    def streams(self) -> int:
        return sum(len(session.streams) for session in self._sessions.values())

    def use(self, secret: str, host: str) -> Session:
        """Return the session of a member for one request, which must call `released`. Raise IllegalMessage."""
        self._group.moderation.check(host, None, secret, self._service.seconds())
        session = self._sessions.get(secret)
        if session is None or session.member is None:
            if secret not in self._group.by_secret:
                raise IllegalMessage("You are not in the group: join first.")
            session = self._new(secret)
            session.seat = self._service.resume(secret, host, session)
        session.requests += 1
        return session

    def join(self, secret: str, name: str, host: str) -> tuple[Session, Deferred[None]]:
        """Join with this key. Return the session, which must be `released`, and when that is done."""
        session = self._sessions.get(secret)
        if session is None or session.seat is None:
            session = self._new(secret)
            session.seat = Seat(host)
            session.seat.client = session
        session.requests += 1
        return session, session.submit(self._service, Join(name, secret))

    def touch(self, member: Member) -> None:
        """Hold the seat of a member from now on, if it is held: the member has asked something."""
        if member.secret is not None and not self._service.seats.is_connected(member):
            self.use(member.secret, member.host).released()

    def _new(self, secret: str) -> Session:
        def over(session: Session) -> None:
            if self._sessions.get(secret) is session:
                del self._sessions[secret]
            seat, session.seat = session.seat, None
            if seat is not None and seat.client is session:
                self._service.hang_up(seat, hold=True)

        session = self._sessions[secret] = Session(over)
        return session
