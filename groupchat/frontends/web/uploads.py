"""PUT /files/NAME: an upload of the whole body. It cannot be resumed, since its hash is not announced.

A chunked body takes room on the shelf as it comes; for any other, there has to be room for all of it.
"""

from __future__ import annotations

from urllib.parse import quote

from groupchat.core.errors import IllegalMessage, NotNow
from groupchat.files import FileOwner
from groupchat.frontends.transfers.upload import Upload
from groupchat.frontends.web import answers
from groupchat.frontends.web.answers import Answer, Refusal
from groupchat.frontends.web.downloads import version_of
from groupchat.frontends.web.preconditions import Version
from groupchat.frontends.web.request import Request
from groupchat.frontends.web.site import Site


def upload(site: Site, request: Request) -> None:
    """Begin an upload, or refuse it before its body comes. Raises Refusal, or IllegalMessage."""
    if not site.has_files:
        raise Refusal(404, "No files are shared here.")
    if request.text("Content-Range") is not None:  # RFC 9110, section 14.5
        raise Refusal(400, "A part of a file cannot be sent: send all of it, without Content-Range.")
    request.limit(site.max_file)
    member = request.member
    if member is None and not request.guest:
        raise Refusal(403, "You are not in the group: join first, or say who you are: ?name=")
    name = request.guest if member is None else member.name
    owner = FileOwner(0 if member is None else member.id, request.peer, name)
    site.service.may_share(owner.host, owner.member, owner.guest)
    site.uploads.take(request.peer)
    request.taker = receiving = Upload(_Body(request), site.service, site.shelf)
    request.run(_receive, site, request, receiving, owner)


async def _receive(site: Site, request: Request, receiving: Upload, owner: FileOwner) -> Answer:
    session = None
    try:
        if owner.member:
            session = site.sessions.use(request.secret, request.peer)
        if request.is_conditional:
            request.check_version(await _version(site, request.name))
        name = await receiving.run(request.name, request.length, None, owner)
    finally:
        site.uploads.give_back(request.peer)
        request.taker = None  # it knows the request: a circle
        if session is not None:
            session.released()
    return answers.of({"name": name}, 201, ((b"Location", b"/files/" + quote(name, safe="").encode()),))


async def _version(site: Site, name: str) -> Version | None:
    """Return the version of a file that is there; None if there is none."""
    try:
        reading = await site.shelf.open(name)
    except NotNow:
        raise
    except IllegalMessage:
        return None
    await reading.close()
    return version_of(reading.file)


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
