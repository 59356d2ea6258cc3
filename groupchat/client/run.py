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
    from groupchat.client.session import Session

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
    talk.session = _session(wishes, reactor, talk)
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
    talk.session = _session(wishes, reactor, talk)
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


def _session(wishes: Wishes, reactor: Any, talk: Chat) -> Session:
    """The session over what the URL says. Raises NoWayError."""
    where = wishes.where
    if where.scheme == "udp":
        from groupchat.client.polled import Polled
        from groupchat.client.udp import Link, UnreachableError, resolve

        try:
            link = Link(reactor, resolve(where.host, where.port))
            polled = Polled(reactor, link, talk, wishes.poll)
            link.open(polled.conversation)
        except OSError as error:
            raise NoWayError(str(error)) from error
        except UnreachableError as error:
            raise NoWayError(f"there is no way to {where}: {error}; check the network and the address") from error
        return polled
    from groupchat.client.numbered import Numbered

    def password(give: Callable[[str], None]) -> None:
        if wishes.password is None:
            talk.password_wanted(give)
        else:
            give(wishes.password)

    return Numbered(reactor, _endpoint(wishes, reactor), talk, password)


def _endpoint(wishes: Wishes, reactor: Any) -> Any:
    where = wishes.where
    if where.scheme == "tcp":
        from twisted.internet.endpoints import HostnameEndpoint

        return HostnameEndpoint(reactor, where.host, where.port)
    try:
        from groupchat.client import tls
    except ImportError as error:
        raise NoWayError("TLS needs two packages more: pip install 'groupchat[tls]'") from error
    from groupchat.client.trust import KnownServers, default_path

    known = KnownServers(default_path(), trust_new=wishes.trust_new)
    try:
        return tls.endpoint(reactor, where.host, where.port, known, wishes.ca)
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
            self._talk.leave()

    def finish(self) -> None:
        self._talk.session.stop()
        self._end()
