"""Puts a chat together, of a session and a view, and runs it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupchat.client.chat import Chat
from groupchat.client.process import LAST_SECONDS, complain, ending_signals, output_is_pipe
from groupchat.client.url import ServerURL

if TYPE_CHECKING:
    from twisted.internet.interfaces import IStreamClientEndpoint

    from groupchat.client.lazy_quic import LazyQUIC
    from groupchat.client.session import Session
    from groupchat.client.trust import KnownServers
    from groupchat.client.udp import UDPSocket


class CannotConnectError(Exception):
    """There can be no session as the command line asks for it; `str()` says why."""


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """The options of `groupchat chat`. `password` is empty if none is given."""

    url: ServerURL
    name: str
    poll: float
    plain: bool
    json: bool
    times: bool
    bell: bool
    ca: Path | None
    password: str
    trust_new: bool
    quic_port: int | None
    new_seat: bool


def run_chat(options: ChatOptions) -> int:
    """Run a chat. Return the exit status."""
    on_screen = os.isatty(0) and os.isatty(1) and not options.plain and not options.json
    if on_screen:
        try:
            import prompt_toolkit  # noqa: F401 - screen.py needs it
        except ImportError:
            complain("plain lines, without editing: for more, pip install 'groupchat[client]'")
            on_screen = False
    try:
        return _on_screen(options) if on_screen else _piped(options)
    except CannotConnectError as error:
        complain(str(error))
        return 1


def _on_screen(options: ChatOptions) -> int:
    import asyncio

    from twisted.internet import asyncioreactor

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    asyncioreactor.install(loop)
    from twisted.internet import reactor as installed

    from groupchat.client.screen import Screen

    reactor: Any = installed
    screen = Screen(colours="NO_COLOR" not in os.environ, times=options.times, bell=options.bell)
    chat = Chat(options.name, screen, people=True)
    screen.chat = chat
    _open(options, reactor, chat)
    interrupts = Interrupts(reactor, chat, screen.close)
    screen.interrupted = partial(interrupts.interrupt, signal.SIGINT)

    def start() -> None:
        for number in ending_signals():
            loop.add_signal_handler(number, interrupts.interrupt, number)
        chat.start()
        asyncio.ensure_future(screen.run()).add_done_callback(lambda _: reactor.stop())

    reactor.callWhenRunning(start)
    reactor.run(installSignalHandlers=False)
    return chat.status


def _piped(options: ChatOptions) -> int:
    from twisted.internet import reactor as installed

    from groupchat.client.piped import Piped
    from groupchat.client.stdio import run_on_stdio

    reactor: Any = installed
    piped = Piped(complain, reactor.stop, json=options.json, pipe=output_is_pipe())
    people = os.isatty(0)
    chat = Chat(options.name, piped, people=people, greets=people or options.json)
    piped.chat = chat
    _open(options, reactor, chat)
    interrupts = Interrupts(reactor, chat, piped.abandon)

    def interrupt(number: int) -> None:
        piped.hurry()
        interrupts.interrupt(number)

    run_on_stdio(reactor, piped, interrupt)
    return chat.status


def _open(options: ChatOptions, reactor: Any, chat: Chat) -> None:
    """Give the chat its session and its files; on a terminal, the seat is kept. Raises CannotConnectError."""
    from groupchat.client.files.connection import FileConnection
    from groupchat.client.files.parts import DiskThread
    from groupchat.client.files.sharing import Sharing
    from groupchat.client.lazy_quic import LazyQUIC
    from groupchat.client.trust import KnownServers, default_path

    known = KnownServers(default_path(), trust_new=options.trust_new)
    password = options.password
    is_given = False

    def current_password() -> str:
        return password

    def ask_password(give: Callable[[str], None]) -> None:
        nonlocal is_given
        again, is_given = is_given, True

        def take(typed: str) -> None:
            nonlocal password
            password = typed
            give(typed)

        if not options.password:
            chat.password_wanted(take, again=again)
        elif again:
            chat.fail("that is not the password")
        else:
            give(password)

    url = options.url
    files_url = ServerURL("quic", url.host, options.quic_port or url.port)
    new_quic = partial(LazyQUIC, reactor, files_url, known, options.ca)
    quic = new_quic()
    connection = FileConnection(quic, current_password, chat.trust)
    if url.scheme == "udp":
        chat.session, socket = _polled(options, reactor, chat)
        connection.for_uploads = FileConnection(new_quic(socket), current_password, chat.trust)
    else:
        from groupchat.client.kept_seats import KeptSeats, default_directory
        from groupchat.client.numbered import NumberedSession
        from groupchat.client.own_seat import OwnSeat

        seats = KeptSeats(default_directory(), str(url).lower()) if os.isatty(0) and os.isatty(1) else None
        seat = OwnSeat(seats, chat.not_kept, new_seat=options.new_seat)
        chat.session = NumberedSession(reactor, _endpoint(options, reactor, known, quic), chat, ask_password, seat)
    chat.files = Sharing(reactor, connection, DiskThread(reactor), chat, lambda: chat.session.proof)
    reactor.addSystemEventTrigger("before", "shutdown", chat.stop_files)


def _polled(options: ChatOptions, reactor: Any, chat: Chat) -> tuple[Session, UDPSocket]:
    """Return a session over UDP, and its socket. Raises CannotConnectError."""
    from groupchat.client.polled import PolledSession
    from groupchat.client.udp import UDPSocket, UnreachableError, resolve

    url = options.url
    try:
        socket = UDPSocket(reactor, resolve(url.host, url.port))
        polled = PolledSession(reactor, socket, chat, options.poll)
        socket.open(polled.conversation)
    except OSError as error:
        raise CannotConnectError(str(error)) from error
    except UnreachableError as error:
        raise CannotConnectError(f"there is no way to {url}: {error}; check the network and the address") from error
    return polled, socket


def _endpoint(options: ChatOptions, reactor: Any, known: KnownServers, quic: LazyQUIC) -> IStreamClientEndpoint:
    """Return the endpoint of a URL. Raises CannotConnectError."""
    url = options.url
    try:
        match url.scheme:
            case "tcp":
                from groupchat.client import tcp

                return tcp.endpoint(reactor, url.host, url.port)
            case "quic":
                return quic.lines_endpoint()
        from groupchat.client import tls

        return tls.endpoint(reactor, url.host, url.port, known, options.ca)
    except ImportError as error:
        extra = url.scheme
        raise CannotConnectError(f"{extra.upper()} needs more packages: pip install 'groupchat[{extra}]'") from error
    except OSError as error:
        raise CannotConnectError(str(error)) from error


class Interrupts:
    """Handles signals: the first ends the chat within LAST_SECONDS, as its `leave` says, the second ends it at once."""

    def __init__(self, reactor: Any, chat: Chat, end: Callable[[], None]) -> None:
        self._reactor = reactor
        self._chat = chat
        self._end = end
        self._interrupted = False

    def interrupt(self, number: int) -> None:
        self._chat.status = 128 + number
        if self._interrupted:
            self.finish()
        else:
            self._interrupted = True
            self._reactor.callLater(LAST_SECONDS, self.finish)
            self._chat.stop_files()
            self._chat.leave()

    def finish(self) -> None:
        self._chat.session.stop()
        self._end()
