"""All routes, the factory of connections, and the service that listens."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.interfaces import IAddress, IListeningPort, IProtocolNegotiationFactory, IStreamServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger
from zope.interface import implementer

from groupchat.frontends.connections import HTTP_ALPN, PortsService, Refused, host_of
from groupchat.frontends.web import answers, conversation, files, health, operating, pages, resumable
from groupchat.frontends.web.answers import Refusal, retry_after
from groupchat.frontends.web.channel import Channel
from groupchat.frontends.web.events import events
from groupchat.frontends.web.site import Route, Routes, Site


def routes() -> Routes:
    return {
        **pages.routes(),
        **conversation.routes(),
        **operating.routes(),
        **files.routes(),
        **resumable.routes(),
        **health.routes(),
        "/events": {"GET": Route(events)},
    }


@implementer(IProtocolNegotiationFactory)
class WebFactory(Factory):
    """The HTTP connections of one site."""

    noisy = False

    def __init__(self, site: Site) -> None:
        self._site = site

    def logPrefix(self) -> str:
        """Return what Twisted calls this in the log."""
        return "The page"

    def acceptableProtocols(self) -> list[bytes]:
        """Return what TLS clients may offer (ALPN, RFC 7301): a client that offers none of it is refused."""
        return HTTP_ALPN

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        host, registry = host_of(addr), self._site.registry
        why = registry.why_not("" if self._site.access.hosts.is_proxy(host) else host)
        if why:
            registry.refused += 1
            return Refused(answers.serialized(Refusal(503, why, retry_after(5)).answer()), registry.clock)
        return Channel(self._site, host) if registry.ready else None


class WebService(PortsService):
    """The page, on some endpoints. It must stop before the registry, which closes the connections."""

    what = "the page"
    _logger = Logger()

    def __init__(self, site: Site, endpoints: Sequence[IStreamServerEndpoint]) -> None:
        super().__init__(WebFactory(site), endpoints)
        self.site = site

    def open(self) -> None:
        health.load()
        self.site.start()
        self._logger.info(
            "Group {group} has its page at {where}",
            group=self.site.service.settings.name,
            where=", ".join(map(_url, self.ports)),
        )

    @inlineCallbacks
    def stopService(self) -> Generator[Deferred[Any], Any, None]:
        yield super().stopService()
        self.site.stop()
        self._logger.info("The page is closed after {requests} requests", requests=self.site.requests)


def _url(port: IListeningPort) -> str:
    """Return the address for a browser."""
    address: Any = port.getHost()
    host = getattr(address, "host", None)
    if host is None:
        return str(address)
    scheme = "https" if "TLS" in str(port) else "http"  # the class of the port's factory
    host = "localhost" if host in ("", "::", "0.0.0.0") else f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}:{address.port}"
