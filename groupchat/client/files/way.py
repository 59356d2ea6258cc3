"""The way to a server's files: a stream for each request, once the server is trusted and has the password."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.interfaces import IProtocol

from groupchat.client.files.wire import BusyError, Listed, Stream, give_password, listing
from groupchat.client.trust import NewError

LOST = (ConnectError, ConnectionClosed, BusyError)
"""What may be otherwise in a while."""


class Carrier(Protocol):
    """What opens streams to one server. See quic.py."""

    def open(self, protocol: IProtocol) -> Deferred[None]: ...

    def close(self) -> None: ...


class Way:
    """`was_there` is whether a stream was ever opened.

    `decide` is asked whether a new server is to be trusted: it fires once it is, and fails if it is not.
    """

    def __init__(
        self,
        carrier: Carrier,
        password: Callable[[], str] = str,
        decide: Callable[[NewError], Deferred[None]] | None = None,
    ) -> None:
        self.was_there = False
        self.sending: Way = self
        """Another way to the same server, if files are sent on that: only once this one was found to be one."""
        self._carrier = carrier
        self._password = password
        self._decide = decide
        self._lock = DeferredLock()  # so that it is asked once

    async def open(self) -> Stream:
        """Raises UntrustedError; RefusedError, which the password may be; one of LOST."""
        await self._lock.acquire()
        try:
            stream = await self._open()
            password = self._password()
            if password:
                await self._give(stream, password)
                stream = await self._open()
        finally:
            self._lock.release()
        self.was_there = True
        return stream

    async def _open(self) -> Stream:
        while True:
            stream = Stream()
            try:
                await self._carrier.open(stream)
            except NewError as why:
                if self._decide is None:
                    raise
                await self._decide(why)
            else:
                return stream

    async def _give(self, stream: Stream, password: str) -> None:
        try:
            await give_password(stream, password)
        finally:
            stream.close()

    async def listing(self) -> Sequence[Listed]:
        """Raises like `open`, and StrangeError."""
        stream = await self.open()
        try:
            return await listing(stream)
        finally:
            stream.close()

    def close(self) -> None:
        self._carrier.close()


def explain(why: Exception) -> str:
    """Why it did not work, in words."""
    if isinstance(why, ConnectError):
        return str(why.args[0] if why.args and why.args[0] else why)
    if isinstance(why, ConnectionClosed):
        return "the connection ended"
    return str(why)
