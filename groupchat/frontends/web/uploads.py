"""PUT /files/NAME: an upload of the whole body. It cannot be resumed, since its hash is not announced."""

from __future__ import annotations

from groupchat.core.limits import MAX_UPLOADS_EACH
from groupchat.files import FileOwner
from groupchat.frontends.transfers.upload import Upload
from groupchat.frontends.web import answers
from groupchat.frontends.web.answers import Answer, Refusal
from groupchat.frontends.web.request import Request
from groupchat.frontends.web.site import Site


def upload(site: Site, request: Request) -> None:
    """Begin an upload, or refuse it before its body comes. Raises Refusal, or IllegalMessage."""
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
    name = request.guest if member is None else member.name
    owner = FileOwner(0 if member is None else member.id, request.peer, name)
    site.service.may_share(owner.host, owner.member, owner.guest)
    site.uploads.take(request.peer, MAX_UPLOADS_EACH)
    request.taker = receiving = Upload(_Body(request), site.service, site.shelf)
    request.run(_receive, site, request, receiving, int(length), owner)


async def _receive(site: Site, request: Request, receiving: Upload, length: int, owner: FileOwner) -> Answer:
    session = site.sessions.use(request.secret) if owner.member else None
    try:
        name = await receiving.run(request.name, length, None, owner)
    finally:
        site.uploads.give_back(request.peer)
        request.taker = None  # it knows the request: a circle
        if session is not None:
            session.released()
    return answers.of({"name": name}, 201)


class _Body:
    """The body of a request, as the source of an upload."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._channel = request.channel  # the request forgets it when the connection is lost

    def ask(self, offset: int) -> None:
        self._request.proceed()

    def hold(self, held: bool) -> None:
        self._channel.pauseNetwork() if held else self._channel.resumeNetwork()

    def wait(self, seconds: float) -> None:
        self._channel.wait(seconds)
