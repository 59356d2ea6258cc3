"""PUT /files/NAME: an upload of the whole body. It cannot be resumed: see `resumable` for uploads that can.

A chunked body takes room on the shelf as it comes; for any other, there has to be room for all of it.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
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
    owner = owner_of(site, request)
    if request.text("Content-Range") is not None:  # RFC 9110, section 14.5
        raise Refusal(400, "A part of a file cannot be sent: send all of it, without Content-Range.")
    request.limit(site.max_file)
    site.service.may_share(owner.host, owner.member, owner.guest)
    receiving = begin(site, request)
    request.run(_receive, site, request, receiving, owner)


async def _receive(site: Site, request: Request, receiving: Upload, owner: FileOwner) -> Answer:
    with under_way(site, request, owner):
        if request.is_conditional:
            request.check_version(await _version(site, request.name))
        name = await receiving.run(site.shelf.receive(request.name, request.length, None, owner), owner)
    return answers.of({"name": name}, 201, (location_of(name),))


def location_of(name: str) -> tuple[bytes, bytes]:
    """Return the header that says where a shared file is."""
    return b"Location", b"/files/" + quote(name, safe="").encode()


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


# For every kind of upload


def owner_of(site: Site, request: Request) -> FileOwner:
    """Return who sends this: a member, or a guest. Raises Refusal."""
    if not site.has_files:
        raise Refusal(404, "No files are shared here.")
    member = request.member
    if member is not None:
        return FileOwner(member.id, request.peer, member.name)
    if not request.guest:
        raise Refusal(403, "You are not in the group: join first, or say who you are: ?name=")
    return FileOwner(0, request.peer, request.guest)


def begin(site: Site, request: Request) -> Upload:
    """Return an upload that takes the body of a request, and count it. Use it only `under_way`. Raises NotNow."""
    site.uploads.take(request.peer)
    request.taker = receiving = Upload(Body(request), site.service)
    return receiving


@contextmanager
def under_way(site: Site, request: Request, owner: FileOwner) -> Generator[None]:
    """Use the session of the sender while an upload is under way. Raises IllegalMessage."""
    session = None
    try:
        session = site.sessions.use(request.secret, request.peer) if owner.member else None
        yield
    finally:
        site.uploads.give_back(request.peer)
        request.taker = None  # it knows the request: a circle
        if session is not None:
            session.released()


class Body:
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
