"""Resumable uploads: the protocol tus 1.0.0, with its extensions creation, termination, expiration and checksum.

    -> POST /uploads, with Upload-Length, and Upload-Metadata: filename BASE64
                            <- 201, Location: /uploads/KEY         the key is a secret of the sender
    -> HEAD /uploads/KEY    <- 200, Upload-Offset                  so many bytes are there
    -> PATCH /uploads/KEY, with Upload-Offset: the bytes from there on, as many as there are
                            <- 204, Upload-Offset                  the file is shared once it is Upload-Length
    -> DELETE /uploads/KEY  <- 204

Only whoever began an upload can go on with it. A sender whose connection broke comes back on another one: then the
request before it ends, even if nobody has noticed that its connection is gone.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from email.utils import formatdate
from functools import partial
from urllib.parse import quote

from twisted.internet.defer import Deferred

from groupchat.core.errors import Excluded, IllegalMessage, NotNow
from groupchat.core.limits import MAX_METADATA, MAX_SIZE
from groupchat.core.numbers import whole
from groupchat.files import Announced, FileOwner, IReceiving, NoSuchUpload, WrongChecksum, WrongOffset
from groupchat.frontends.transfers.upload import Upload
from groupchat.frontends.web import answers
from groupchat.frontends.web.answers import Answer, Headers, Refusal
from groupchat.frontends.web.request import Request
from groupchat.frontends.web.site import Handler, Route, Routes, Site
from groupchat.frontends.web.uploads import Body, begin, location_of, owner_of, under_way

VERSION = "1.0.0"
EXTENSIONS = b"creation,termination,expiration,checksum"
BYTES = "application/offset+octet-stream"
NAMELESS = "file"
"""The name of a file whose sender gives it none."""

_RESUMABLE: Headers = ((b"Tus-Resumable", VERSION.encode()),)
_VERSION = b"Tus-Version", VERSION.encode()
_PAIR = re.compile(r"([!-+\--~]+)(?: ([A-Za-z0-9+/=]*))?")
SHA1_SIZE = 20


def routes() -> Routes:
    def route(handler: Handler, takes: int = 0) -> Route:
        return Route(handler, takes=takes, headers=_RESUMABLE)

    created = {"OPTIONS": route(_options), "POST": route(_create)}
    return {
        "/uploads": created,
        "/uploads/": created,
        "/uploads/*": {
            "OPTIONS": route(_options),
            "HEAD": route(_status),
            "PATCH": route(_send, takes=-1),
            "DELETE": route(_give_up),
        },
    }


def _options(site: Site, request: Request) -> Answer:
    algorithms = b"Tus-Checksum-Algorithm", b"sha1"
    most = b"Tus-Max-Size", b"%d" % site.max_file
    return answers.nothing((_VERSION, (b"Tus-Extension", EXTENSIONS), algorithms, most))


async def _create(site: Site, request: Request) -> Answer:
    _check_protocol(request)
    owner = owner_of(site, request)
    if request.text("Upload-Concat") is not None or request.text("Upload-Defer-Length") is not None:
        raise Refusal(400, "This server has not that extension of tus: see OPTIONS.")
    size = _number(request, "Upload-Length")
    if size > site.max_file:
        raise Refusal(413, f"A file has at most {site.max_file} bytes here.")
    metadata = request.text("Upload-Metadata") or ""
    name = _name_in(metadata)
    site.uploads.take(request.peer)
    with under_way(site, request, owner), _statuses():
        site.service.may_share(owner.host, owner.member, owner.guest)
        key = await site.shelf.announce(name, size, owner, metadata)
        more = _expiry(site.shelf.find(key, owner))
        if not size:
            more = await _share_empty(site, request, key, owner)
    who = f"?name={quote(request.query('name'), safe='')}" if request.query("name") else ""
    where = b"Location", f"/uploads/{key}{who}".encode()
    return Answer(201, headers=(*answers.PRIVATE, where, *more))


async def _share_empty(site: Site, request: Request, key: str, owner: FileOwner) -> Headers:
    """Share a file of no bytes: no request would send one."""
    upload = Upload(Body(request), site.service)
    upload.end()
    try:
        await upload.run(site.shelf.resume(key, 0, None, owner), owner)
    except Exception:
        await site.shelf.give_up(key, owner)
        raise
    return ()


async def _status(site: Site, request: Request) -> Answer:
    _check_protocol(request)
    owner = owner_of(site, request)
    with _statuses():
        site.shelf.find(request.name, owner)
        await site.resumed.displace(request.name)
        found = site.shelf.find(request.name, owner)
    headers = [*_offset(found.offset), (b"Upload-Length", b"%d" % found.size), *_expiry(found)]
    if found.metadata:
        headers.append((b"Upload-Metadata", found.metadata.encode()))
    if found.shared:
        headers.append(location_of(found.shared))
    return Answer(200, headers=(*answers.PRIVATE, *headers))


async def _give_up(site: Site, request: Request) -> Answer:
    _check_protocol(request)
    owner = owner_of(site, request)
    with _statuses():
        site.shelf.find(request.name, owner)
        await site.resumed.displace(request.name)
        await site.shelf.give_up(request.name, owner)
    return answers.nothing()


def _send(site: Site, request: Request) -> None:
    """Begin to take bytes, or refuse them before they come. Raises Refusal, or IllegalMessage."""
    _check_protocol(request)
    owner = owner_of(site, request)
    if request.content_type != BYTES:
        raise Refusal(415, f"Send it as {BYTES}.", ((b"Accept-Patch", BYTES.encode()),))
    offset = _number(request, "Upload-Offset")
    checksum = _checksum(request.text("Upload-Checksum"))
    with _statuses():
        found = site.shelf.find(request.name, owner)
        site.service.may_share(owner.host, owner.member, owner.guest)
    request.limit(max(0, found.size - offset))
    resume = partial(site.shelf.resume, request.name, offset, checksum, owner)
    request.run(_receive, site, request, begin(site, request), owner, resume)


async def _receive(
    site: Site, request: Request, receiving: Upload, owner: FileOwner, resume: Callable[[], Deferred[IReceiving]]
) -> Answer:
    with under_way(site, request, owner), _statuses():
        await site.resumed.displace(request.name)
        with site.resumed.sends(request.name, receiving):
            name = await receiving.run(resume(), owner)
        more = (location_of(name),) if name else _expiry(site.shelf.find(request.name, owner))
    return answers.nothing((*_offset(receiving.offset), *more))


# Headers


def _check_protocol(request: Request) -> None:
    if request.text("Tus-Resumable") != VERSION:
        raise Refusal(412, f"Say which protocol you speak: Tus-Resumable: {VERSION}.", (_VERSION,))


def _number(request: Request, header: str) -> int:
    found = whole(request.text(header) or "")
    if found is None or found > MAX_SIZE:
        raise Refusal(400, f"{header} has to be a number of bytes.")
    return found


def _name_in(metadata: str) -> str:
    """Return the name of the file that is described. Raises Refusal if the description cannot be read."""
    values: dict[str, bytes] = {}
    try:
        if len(metadata) > MAX_METADATA:
            raise ValueError
        for pair in metadata.split(",") if metadata else ():
            found = _PAIR.fullmatch(pair.strip(" "))
            if found is None or found[1] in values:
                raise ValueError
            values[found[1]] = b64decode(found[2] or "", validate=True)
        return (values.get("filename") or values.get("name") or NAMELESS.encode()).decode()
    except ValueError:  # also of base64 and of UTF-8
        raise Refusal(400, "Upload-Metadata has to be `filename` and a name in base64.") from None


def _checksum(given: str | None) -> bytes | None:
    """Return the SHA-1 of the bytes that come, if it was given. Raises Refusal."""
    if given is None:
        return None
    with suppress(ValueError):
        algorithm, _, value = given.partition(" ")
        found = b64decode(value, validate=True)
        if algorithm == "sha1" and len(found) == SHA1_SIZE:
            return found
    raise Refusal(400, "Upload-Checksum has to be `sha1` and the hash in base64.")


def _offset(offset: int) -> Headers:
    return ((b"Upload-Offset", b"%d" % offset),)


def _expiry(found: Announced) -> Headers:
    """Return when an upload expires, unless it is complete."""
    return () if found.shared else ((b"Upload-Expires", formatdate(found.expires, usegmt=True).encode()),)


@contextmanager
def _statuses() -> Generator[None]:
    """Refuse with the statuses that clients of tus know: they try again after 409, 423, and 5xx."""
    try:
        yield
    except (NotNow, Excluded):
        raise
    except NoSuchUpload as why:
        raise Refusal(404, str(why)) from None
    except WrongOffset as why:
        raise Refusal(409, str(why)) from None
    except WrongChecksum as why:
        raise Refusal(460, str(why)) from None
    except IllegalMessage as why:
        raise Refusal(403, str(why)) from None
