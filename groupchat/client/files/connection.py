"""A connection to a server's files: a stream for each request, once the server is trusted and has the password."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.interfaces import IProtocol

from groupchat.client.files.requests import ListedFile, give_password, listing
from groupchat.client.files.stream import BusyError, RequestStream
from groupchat.client.trust import UnknownCertificateError

TEMPORARY = (ConnectError, ConnectionClosed, BusyError)
"""Errors after which a later try may succeed."""


class StreamOpener(Protocol):
    """Opens streams to one server. See lazy_quic.py."""

    def open(self, protocol: IProtocol) -> Deferred[None]: ...


class FileConnection:
    """Opens streams to a server's files. `reached` is true once one was opened.

    `decide` is called for a server with an unknown certificate: its Deferred fires once it is trusted, or fails.
    """

    def __init__(
        self,
        opener: StreamOpener,
        password: Callable[[], str] = str,
        decide: Callable[[UnknownCertificateError], Deferred[None]] | None = None,
    ) -> None:
        self.reached = False
        self.for_uploads: FileConnection = self
        """The connection to send files on. If it is another one, it is used only after this one was reached."""
        self._opener = opener
        self._password = password
        self._decide = decide
        self._lock = DeferredLock()  # one question at a time

    async def open(self) -> RequestStream:
        """Open a stream. Raises UntrustedError, RefusedError (also for a wrong password), or one of TEMPORARY."""
        await self._lock.acquire()
        try:
            stream = await self._open()
            password = self._password()
            if password:
                try:
                    await give_password(stream, password)
                finally:
                    stream.close()
                stream = await self._open()
        finally:
            self._lock.release()
        self.reached = True
        return stream

    async def _open(self) -> RequestStream:
        while True:
            stream = RequestStream()
            try:
                await self._opener.open(stream)
            except UnknownCertificateError as why:
                if self._decide is None:
                    raise
                await self._decide(why)
            else:
                return stream

    async def listing(self) -> Sequence[ListedFile]:
        """Return the files of the group. Raises like `open`, and ProtocolError."""
        stream = await self.open()
        try:
            return await listing(stream)
        finally:
            stream.close()
