"""Sessions of the page, and of scripts with a key: one seat for each key, whatever asks with it.

A session is there while a request of it is under way, or a stream of events is open; then its seat is held, as that of
a numbered session is whose connection ended. It is the same seat: whoever has the key can go on with it over TCP.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import Interface, implementer

from groupchat.core.commands import Command, Join, Leave
from groupchat.core.errors import IllegalMessage, NotNow
from groupchat.core.group import Member
from groupchat.core.limits import MAX_WEB_STREAMS
from groupchat.frontends.guests import CANNOT
from groupchat.service.group_service import GroupService
from groupchat.service.seats import IConnection, Seat


class IStream(Interface):
    """A stream of events."""

    def gone(why: str) -> None:
        """Its session is no more."""


@implementer(IConnection)
class Session:
    """Who sits on one seat. `requests` is how many are under way; `over` is called once there is nothing left."""

    __slots__ = ("_over", "_waiting", "requests", "seat", "streams")

    def __init__(self, over: Callable[[Session], None]) -> None:
        self.seat: Seat | None = None  # none any more, once it is displaced
        self.streams: dict[Any, None] = {}
        self.requests = 0
        self._waiting: dict[int, tuple[Command, Deferred[None]]] = {}  # by identity
        self._over = over

    @property
    def member(self) -> Member | None:
        return None if self.seat is None else self.seat.member

    def submit(self, service: GroupService, command: Command) -> Deferred[None]:
        """Fires once this has taken effect. Fails with IllegalMessage."""
        done: Deferred[None] = Deferred()
        if self.seat is None:
            done.errback(NotNow(CANNOT))
            return done
        self._waiting[id(command)] = command, done
        service.submit(self.seat, command)
        return done

    def check_streams(self) -> None:
        """Raises NotNow if there are as many as there may be."""
        if len(self.streams) >= MAX_WEB_STREAMS:
            raise NotNow(f"The group is open in {MAX_WEB_STREAMS} places already: close one of them.")

    def opened(self, stream: Any) -> None:
        self.streams[stream] = None

    def closed(self, stream: Any) -> None:
        self.streams.pop(stream, None)
        self.check_over()

    def released(self, result: Any = None) -> Any:
        """A request has ended, so or so."""
        self.requests -= 1
        self.check_over()
        return result

    def check_over(self) -> None:
        if not self.requests and not self.streams:
            self._over(self)

    # What the service says

    def answered(self, seat: Seat, command: Command) -> None:
        if isinstance(command, Leave):
            self._part("You have left the group.")
        self._settle(command, None)

    def refused(self, seat: Seat, command: Command, why: IllegalMessage) -> None:
        self._settle(command, why)

    def dropped(self, seat: Seat, command: Command) -> None:
        self._settle(command, NotNow(CANNOT))

    def displaced(self, why: str) -> None:
        self.seat = None
        self._part(why)
        for command, _ in tuple(self._waiting.values()):
            self._settle(command, NotNow(why))

    def _settle(self, command: Command, why: IllegalMessage | None) -> None:
        found = self._waiting.pop(id(command), None)
        if found is not None:
            found[1].callback(None) if why is None else found[1].errback(why)

    def _part(self, why: str) -> None:
        streams, self.streams = self.streams, {}
        for stream in streams:
            stream.gone(why)
        self.check_over()


class Sessions:
    """All sessions of one group that are in use now, by the hash of their key."""

    def __init__(self, service: GroupService) -> None:
        self._service = service
        self._group = service.group
        self._sessions: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def streams(self) -> int:
        return sum(len(session.streams) for session in self._sessions.values())

    def use(self, secret: str) -> Session:
        """The session of a member, for one request: to be `released`. Raises IllegalMessage if there is none."""
        session = self._sessions.get(secret)
        if session is None or session.member is None:
            if secret not in self._group.by_secret:
                raise IllegalMessage("You are not in the group: join first.")
            session = self._new(secret)
            session.seat = self._service.resume(secret, session)
        session.requests += 1
        return session

    def join(self, secret: str, name: str, host: str) -> tuple[Session, Deferred[None]]:
        """Become a member with this key. The session is to be `released`."""
        session = self._sessions.get(secret)
        if session is None or session.seat is None:
            session = self._new(secret)
            session.seat = Seat(host)
            session.seat.client = session
        session.requests += 1
        return session, session.submit(self._service, Join(name, secret))

    def touch(self, member: Member) -> None:
        """A member is heard of, though nothing is asked of its seat: it is held from now on, if it is held."""
        if member.secret is not None and not self._service.seats.is_connected(member):
            self.use(member.secret).released()

    def _new(self, secret: str) -> Session:
        def over(session: Session) -> None:
            if self._sessions.get(secret) is session:
                del self._sessions[secret]
            seat, session.seat = session.seat, None
            if seat is not None and seat.client is session:
                self._service.hang_up(seat, hold=True)

        session = self._sessions[secret] = Session(over)
        return session
