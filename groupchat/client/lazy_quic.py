"""QUIC to a server, loaded when the first stream is opened: few chats need it, and it takes long to import."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IProtocol, IStreamClientEndpoint

from groupchat.client.trust import KnownServers, UntrustedError
from groupchat.client.udp import UDPSocket
from groupchat.client.url import ServerURL

if TYPE_CHECKING:
    from groupchat.client.quic import QuicClient

WITHOUT_IT = "QUIC, and files, need a package more: pip install 'groupchat[quic]'"


class LazyQUIC:
    """A StreamOpener (see files/connection.py) to one server. With a `socket`, it shares that of the five messages."""

    def __init__(
        self, reactor: Any, url: ServerURL, known: KnownServers, ca: Path | None, socket: UDPSocket | None = None
    ) -> None:
        self._reactor = reactor
        self._url = url
        self._known = known
        self._ca = ca
        self._socket = socket
        self._loaded: QuicClient | None = None

    def open(self, protocol: IProtocol) -> Deferred[None]:
        try:
            return self._load().open(protocol)
        except ImportError:
            return fail(ConnectError(string=WITHOUT_IT))
        except OSError as why:
            return fail(UntrustedError(str(why)))

    def lines_endpoint(self) -> IStreamClientEndpoint:
        """Return an endpoint for streams of lines. Raises ImportError without aioquic, and OSError like `_load`."""
        from groupchat.client import quic

        return quic.endpoint(self._load())

    def _load(self) -> QuicClient:
        """Import QUIC. Raises ImportError without aioquic, and OSError if the file of authorities cannot be used."""
        if self._loaded is None:
            from groupchat.client import quic

            if self._ca is not None:
                quic.check_authorities(self._ca)
            self._loaded = quic.QuicClient(self._reactor, self._url.host, self._url.port, self._known, self._ca)
            if self._socket is not None:
                self._loaded.link = self._socket
                self._socket.quic = self._loaded
        return self._loaded
