"""PUT /files/NAME: a file to the shelf, which is written as it comes. The group is told once it is there."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks

from groupchat.core.commands import Share
from groupchat.core.errors import NotNow
from groupchat.core.limits import MAX_UPLOADS, MAX_UPLOADS_EACH
from groupchat.files import FileOwner, IReceiving
from groupchat.frontends import guests
from groupchat.frontends.transfers.inflow import Inflow
from groupchat.frontends.web import answers
from groupchat.frontends.web.answers import Answer, Refusal
from groupchat.frontends.web.request import Request
from groupchat.frontends.web.sessions import Session
from groupchat.frontends.web.site import Site


def upload(site: Site, request: Request) -> None:
    """The head is there: begin, or refuse what surely will be refused. Raises Refusal, or IllegalMessage."""
    length = request.text("Content-Length")
    if length is None:
        raise Refusal(411, "Say how long the file is: Content-Length.")
    if not site.has_files:
        raise Refusal(404, "No files are shared here.")
    if int(length) > site.max_file:
        raise Refusal(413, f"A file has at most {site.max_file} bytes.")
    member = request.member
    if member is None and not request.guest:
        raise Refusal(403, "You are not in the group: join first, or say who you are: ?name=")
    owner = (
        FileOwner(0, request.peer, request.guest) if member is None else FileOwner(member.id, request.peer, member.name)
    )
    site.service.may_share(request.peer, owner.member, "" if owner.member else owner.name)
    site.uploads.take(request.peer, MAX_UPLOADS_EACH, MAX_UPLOADS)
    session = None if member is None else site.sessions.use(request.secret)
    uploading = Uploading(site, request, owner, int(length))
    request.taker = uploading
    request.run(uploading.run, session)


class Uploading:
    """One file. `lost` once nothing more of it will come."""

    def __init__(self, site: Site, request: Request, owner: FileOwner, size: int) -> None:
        self._site = site
        self._request = request
        self._owner = owner
        self._size = size
        self._lost = False
        self._inflow = Inflow(self._hold, self._be_patient)

    # The body

    def feed(self, data: bytes) -> None:
        self._inflow.feed(data)

    def end(self) -> None:
        self._inflow.end()

    def lost(self) -> None:
        self._lost = True
        self._inflow.stop()

    def _hold(self, held: bool) -> None:
        if not self._request.is_gone:
            channel = self._request.channel
            channel.pauseNetwork() if held else channel.resumeNetwork()

    def _be_patient(self, patient: bool) -> None:
        if not self._request.is_gone:
            self._request.channel.wait(self._site.stall if patient else 0)

    # The upload

    @inlineCallbacks
    def run(self, session: Session | None) -> Generator[Deferred[Any], Any, Answer]:
        site, request = self._site, self._request
        self._be_patient(False)
        try:
            receiving: IReceiving = yield site.shelf.receive(request.name, self._size, None, self._owner)
            try:
                request.proceed()
                yield self._inflow.write_to(receiving)
                if self._lost:
                    raise NotNow("Nothing more came.")
                self._be_patient(False)
                name = yield receiving.finish()
            finally:
                yield receiving.drop()  # unless it is over
            yield self._share(receiving, name)
        finally:
            site.uploads.give_back(request.peer)
            if session is not None:
                session.released()
        return answers.of({"name": name}, 201)

    @inlineCallbacks
    def _share(self, receiving: IReceiving, name: str) -> Generator[Deferred[Any], Any, None]:
        guest = "" if self._owner.member else self._owner.name
        try:
            yield guests.submit(
                self._site.service, self._request.peer, Share(name, self._size, self._owner.member, guest)
            )
        except Exception:
            yield receiving.withdraw()
            raise
