"""The page as a service, and all that can be asked for."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.logger import Logger

from groupchat.frontends.connections import PortsService
from groupchat.frontends.web import conversation, files, health, pages
from groupchat.frontends.web.events import events
from groupchat.frontends.web.site import Route, Routes, Site


def routes() -> Routes:
    return {
        **pages.routes(),
        **conversation.routes(),
        **files.routes(),
        **health.routes(),
        "/events": {"GET": Route(events)},
    }


class WebService(PortsService):
    """The page on some endpoints. The registry, which has all connections, has to stop after it."""

    what = "the page"
    _logger = Logger()

    def __init__(self, site: Site, endpoints: Sequence[IStreamServerEndpoint]) -> None:
        super().__init__(site, endpoints)
        self._site = site

    def open(self) -> None:
        self._site.start()
        self._logger.info(
            "Group {group} has its page at {where}",
            group=self._site.service.settings.name,
            where=", ".join(map(_shown, self.ports)),
        )

    @inlineCallbacks
    def stopService(self) -> Generator[Deferred[Any], Any, None]:
        yield super().stopService()
        self._site.stop()
        self._logger.info("The page closes: {requests} requests", requests=self._site.requests)


def _shown(port: IListeningPort) -> str:
    """Where a browser finds it."""
    address: Any = port.getHost()
    host = getattr(address, "host", None)
    if host is None:
        return str(address)
    scheme = "https" if "TLS" in str(port) or getattr(port, "_type", "") == "TLS" else "http"
    host = "HOST" if host in ("", "::", "0.0.0.0") else f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}:{address.port}"
