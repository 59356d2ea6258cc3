"""QUIC to a server, for whoever may never need it: it is loaded when the first stream is opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IProtocol

from groupchat.client.trust import KnownServers, UntrustedError
from groupchat.client.udp import Link

WITHOUT_IT = "QUIC, and files, need a package more: pip install 'groupchat[quic]'"


@dataclass(frozen=True, slots=True)
class Server:
    """Where a server is that speaks QUIC, and who vouches for it."""

    host: str
    port: int
    known: KnownServers
    ca: Path | None


class LateCarrier:
    """A Carrier (see way.py). With a `link`, its datagrams go through the socket of the five messages."""

    def __init__(self, reactor: Any, server: Server, link: Link | None = None) -> None:
        self._reactor = reactor
        self._server = server
        self._link = link
        self._carrier: Any = None

    def open(self, protocol: IProtocol) -> Deferred[None]:
        try:
            opened: Deferred[None] = self.load().open(protocol)
        except ImportError:
            return fail(ConnectError(string=WITHOUT_IT))
        except OSError as why:
            return fail(UntrustedError(str(why)))
        return opened

    def load(self) -> Any:
        """The real one. Raises ImportError without aioquic, and OSError if the file of authorities cannot be used."""
        if self._carrier is None:
            from groupchat.client import quic

            server = self._server
            if server.ca is not None:
                quic.check_authorities(server.ca)
            self._carrier = quic.QuicClient(self._reactor, server.host, server.port, server.known, server.ca)
            if self._link is not None:
                self._carrier.link = self._link
                self._link.guest = self._carrier
        return self._carrier

    def close(self) -> None:
        if self._carrier is not None:
            self._carrier.close()
