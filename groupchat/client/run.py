"""Puts a chat together, of a session and a view, and runs it: which of each, and what signals do."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupchat.client.chat import Chat
from groupchat.client.where import Where

if TYPE_CHECKING:
    from groupchat.client.files.late import LateCarrier
    from groupchat.client.session import Session
    from groupchat.client.trust import KnownServers
    from groupchat.client.udp import Link

LAST_SECONDS = 2.5
"""The most that an interrupted chat takes to leave."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class NoWayError(Exception):
    """There can be no session over what the command line says; `str()` of it says why."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line says."""

    where: Where
    name: str
    poll: float
    plain: bool
    json: bool
    times: bool
    bell: bool
    ca: Path | None
    password: str | None
    trust_new: bool
    quic_port: int | None


def chat(wishes: Wishes, complain: Callable[[str], None]) -> int:
    """Returns the exit status."""
    on_screen = os.isatty(0) and os.isatty(1) and not wishes.plain and not wishes.json
    try:
        return _on_screen(wishes) if on_screen else _piped(wishes, complain)
    except NoWayError as error:
        complain(str(error))
        return 1


def _on_screen(wishes: Wishes) -> int:
    import asyncio

    from twisted.internet import asyncioreactor

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    asyncioreactor.install(loop)
    from twisted.internet import reactor as installed

    from groupchat.client.screen import Screen

    reactor: Any = installed
    screen = Screen(colours="NO_COLOR" not in os.environ, times=wishes.times, bell=wishes.bell)
    talk = Chat(wishes.name, screen, people=True)
    screen.chat = talk
    _open(wishes, reactor, talk)
    ending = Ending(reactor, talk, screen.close)
    screen.interrupted = partial(ending.interrupt, signal.SIGINT)

    def start() -> None:
        for number in heeded():
            loop.add_signal_handler(number, ending.interrupt, number)
        talk.start()
        asyncio.ensure_future(screen.run()).add_done_callback(lambda _: reactor.stop())

    reactor.callWhenRunning(start)
    reactor.run(installSignalHandlers=False)
    return talk.status


def _piped(wishes: Wishes, complain: Callable[[str], None]) -> int:
    from twisted.internet import reactor as installed
    from twisted.internet.stdio import StandardIO

    from groupchat.client.piped import Piped

    reactor: Any = installed
    standard_io: Callable[..., object] = StandardIO
    output = os.fstat(1).st_mode
    piped = Piped(complain, reactor.stop, json=wishes.json, pipe=stat.S_ISFIFO(output) or stat.S_ISSOCK(output))
    talk = Chat(wishes.name, piped, people=os.isatty(0))
    piped.chat = talk
    _open(wishes, reactor, talk)
    ending = Ending(reactor, talk, piped.abandon)

    def start() -> None:
        def interrupt(number: int) -> None:
            piped.hurry()
            ending.interrupt(number)

        for number in heeded():
            signal.signal(number, lambda received, _: reactor.callFromThread(interrupt, received))
        standard_io(piped, reactor=reactor)

    blocking = [os.get_blocking(number) for number in (0, 1)]
    reactor.callWhenRunning(start)
    reactor.run()
    for number, was_blocking in enumerate(blocking):
        os.set_blocking(number, was_blocking)  # whoever shares them, as the shell does, expects them as they were
    return talk.status


def _open(wishes: Wishes, reactor: Any, talk: Chat) -> None:
    """Give the chat its session, over what the URL says, and its files. Raises NoWayError."""
    from groupchat.client.files.late import LateCarrier, Server
    from groupchat.client.files.parts import Disk
    from groupchat.client.files.sharing import Sharing
    from groupchat.client.files.way import Way
    from groupchat.client.trust import KnownServers, default_path

    where = wishes.where
    known = KnownServers(default_path(), trust_new=wishes.trust_new)
    server = Server(where.host, wishes.quic_port or where.port, known, wishes.ca)
    password = wishes.password or ""

    def know_password() -> str:
        return password

    def ask_password(give: Callable[[str], None]) -> None:
        def take(given: str) -> None:
            nonlocal password
            password = given
            give(given)

        if password:
            give(password)
        else:
            talk.password_wanted(take)

    carrier = LateCarrier(reactor, server)
    way = Way(carrier, know_password, talk.trust)
    if where.scheme == "udp":
        talk.session, link = _polled(wishes, reactor, talk)
        way.sending = Way(LateCarrier(reactor, server, link), know_password, talk.trust)
    else:
        from groupchat.client.numbered import Numbered

        talk.session = Numbered(reactor, _endpoint(wishes, reactor, known, carrier), talk, ask_password)
    talk.files = Sharing(reactor, way, Disk(reactor), talk, lambda: talk.session.proof)
    reactor.addSystemEventTrigger("before", "shutdown", talk.stop_files)


def _polled(wishes: Wishes, reactor: Any, talk: Chat) -> tuple[Session, Link]:
    """Raises NoWayError."""
    from groupchat.client.polled import Polled
    from groupchat.client.udp import Link, UnreachableError, resolve

    where = wishes.where
    try:
        link = Link(reactor, resolve(where.host, where.port))
        polled = Polled(reactor, link, talk, wishes.poll)
        link.open(polled.conversation)
    except OSError as error:
        raise NoWayError(str(error)) from error
    except UnreachableError as error:
        raise NoWayError(f"there is no way to {where}: {error}; check the network and the address") from error
    return polled, link


def _endpoint(wishes: Wishes, reactor: Any, known: KnownServers, carrier: LateCarrier) -> Any:
    """Raises NoWayError."""
    where = wishes.where
    try:
        match where.scheme:
            case "tcp":
                from twisted.internet.endpoints import HostnameEndpoint

                return HostnameEndpoint(reactor, where.host, where.port)
            case "quic":
                from groupchat.client import quic

                return quic.endpoint(carrier.load())
        from groupchat.client import tls

        return tls.endpoint(reactor, where.host, where.port, known, wishes.ca)
    except ImportError as error:
        extra = where.scheme
        raise NoWayError(f"{extra.upper()} needs more packages: pip install 'groupchat[{extra}]'") from error
    except OSError as error:
        raise NoWayError(str(error)) from error


def heeded() -> list[int]:
    """The signals that end a chat. What was ignored when it was started, by nohup or in the background, stays so."""
    return [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


class Ending:
    """What signals do: the first leaves the group and ends, within LAST_SECONDS; the second ends at once."""

    def __init__(self, reactor: Any, talk: Chat, end: Callable[[], None]) -> None:
        self._reactor = reactor
        self._talk = talk
        self._end = end
        self._hurried = False

    def interrupt(self, number: int) -> None:
        self._talk.status = 128 + number
        if self._hurried:
            self.finish()
        else:
            self._hurried = True
            self._reactor.callLater(LAST_SECONDS, self.finish)
            self._talk.stop_files()
            self._talk.leave()

    def finish(self) -> None:
        self._talk.session.stop()
        self._end()
