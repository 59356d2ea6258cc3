"""The site of one group: its routes, and the state that all requests share."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from groupchat.core.events import Erased
from groupchat.core.limits import MAX_UPLOADS_EACH
from groupchat.files import IShelf, NoShelf
from groupchat.frontends.connections import ConnectionRegistry, Quota
from groupchat.frontends.transfers.upload import ResumedUploads
from groupchat.frontends.web.access import Access
from groupchat.frontends.web.answers import Headers
from groupchat.frontends.web.deadlines import Deadlines
from groupchat.frontends.web.guard import TrustedHosts
from groupchat.frontends.web.quotas import Backlog
from groupchat.frontends.web.rendering import LineRenderer
from groupchat.frontends.web.request import Request
from groupchat.frontends.web.sessions import Sessions

MAX_ERASURES = 200
"""The erasures that a page is told when it comes back: it may still show what was erased meanwhile."""

Handler = Callable[["Site", Request], Any]
"""A function or coroutine that returns an Answer; or None, if it answers by itself."""


@dataclass(frozen=True, slots=True)
class Route:
    """A handler, and its conditions. An `open` route shows nothing of the group, and needs no password.

    `takes` is how many bytes the body may have; -1 if the handler starts when the head is there, and reads the body.
    All its answers have the `headers`.
    """

    handler: Handler
    open: bool = False
    takes: int = 0
    headers: Headers = ()


Routes = Mapping[str, Mapping[str, Route]]
"""By path, and by method. A path that ends with `/*` stands for all paths in that folder."""


class Site:
    """The context of all handlers. `max_file` is the size of the largest file that can be uploaded, in bytes."""

    def __init__(
        self,
        registry: ConnectionRegistry,
        routes: Routes,
        shelf: IShelf | None = None,
        max_file: int = 0,
        hosts: TrustedHosts | None = None,
    ) -> None:
        self.registry = registry
        self.service = registry.group_service
        self.group = self.service.group
        self.clock = registry.clock
        self.routes = routes
        self.shelf = shelf or NoShelf()
        self.has_files = shelf is not None
        self.max_file = max_file
        self.access = Access(hosts or TrustedHosts(), registry)
        self.sessions = Sessions(self.service)
        self.renderer = LineRenderer(self.group)
        self.erasures: deque[tuple[int, bytes]] = deque(maxlen=MAX_ERASURES)
        """The last erasures: the first line of each, and the event that a page is told."""
        self.service.when_erased.append(self._erased)
        self.uploads = Quota("sent", MAX_UPLOADS_EACH)
        self.resumed = ResumedUploads()
        self.backlog = Backlog()
        self.deadlines = Deadlines(registry.clock, registry.budget, self.service.survive)
        self.requests = 0
        self.stopping = False
        self._started = 0.0

    def configure(self, hosts: TrustedHosts, max_file: int) -> None:
        """Use other settings from now on."""
        self.max_file = max_file
        self.access.configure(hosts)

    @property
    def is_resuming(self) -> bool:
        """True as long as a session from before the start may be resumed."""
        return 0 <= self.clock.seconds() - self._started < self.service.settings.hold

    @property
    def stall(self) -> float:
        """The seconds after which a client that neither sends nor takes anything is disconnected."""
        return float(self.service.settings.stall)

    def _erased(self, event: Erased) -> None:
        """Forget the lines as they were, and tell every page."""
        self.renderer.line.cache_clear()
        number = self.group.numbering.of
        value = {
            "first": number(event.first),
            "last": number(event.last),
            "by": str(event.member) if event.member else None,
        }
        told = b"event: erased\ndata: %s\n\n" % json.dumps(value).encode()
        self.erasures.append((event.first, told))
        self.sessions.tell(told)

    def start(self) -> None:
        self._started = self.clock.seconds()
        self.deadlines.start()

    def stop(self) -> None:
        """Close each connection after its answer. What is under way ends when the registry stops."""
        self.stopping = True
        self.deadlines.stop()
