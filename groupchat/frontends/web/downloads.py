"""GET /files/NAME: a file from the shelf, or a range of its bytes."""

from __future__ import annotations

import re
from email.utils import formatdate
from urllib.parse import quote

from groupchat.core.errors import IllegalMessage, NotNow
from groupchat.files import File, IReading
from groupchat.frontends.transfers.download import Download
from groupchat.frontends.web import answers, preconditions, ranges
from groupchat.frontends.web.answers import Answer, Refusal
from groupchat.frontends.web.preconditions import Version
from groupchat.frontends.web.request import Request
from groupchat.frontends.web.site import Site

IMAGES = {suffix: b"image/" + suffix.encode() for suffix in ("avif", "gif", "jpeg", "png", "webp")}
IMAGES["jpg"] = IMAGES["jpeg"]
"""Images, which a browser may show: nothing in them can run."""

KINDS = {
    **IMAGES,
    "gz": b"application/gzip",
    "json": b"application/json",
    "mp3": b"audio/mpeg",
    "mp4": b"video/mp4",
    "ogg": b"audio/ogg",
    "pdf": b"application/pdf",
    "txt": b"text/plain; charset=utf-8",
    "webm": b"video/webm",
    "zip": b"application/zip",
}
"""The types that are named; anything else is sent as bytes. `mimetypes` knows types that are not safe to name."""


async def download(site: Site, request: Request) -> Answer | None:
    site.registry.downloads.take(request.peer)
    try:
        # If the client has a part of it, the tag decides what it gets. It is strong only if the hash is known.
        is_resuming = request.is_conditional and (request.text("If-Match") or request.text("If-Range")) is not None
        try:
            reading = await site.shelf.open(request.name, hashed=is_resuming)
        except IllegalMessage as why:
            raise why if isinstance(why, NotNow) else Refusal(404, str(why)) from None
        try:
            return await _send(site, request, reading)
        finally:
            await reading.close()
    finally:
        site.registry.downloads.give_back(request.peer)


def version_of(file: File) -> Version:
    return Version(f'"{file.sha256}"' if file.sha256 else f'W/"{file.size:x}-{file.changed:x}"', file.modified)


async def _send(site: Site, request: Request, reading: IReading) -> Answer | None:
    file, version = reading.file, version_of(reading.file)
    headers = _headers(file, version.tag)
    match preconditions.failed(request.text, request.method, version):
        case 304:
            return Answer(304, headers=headers)
        case 412:
            raise answers.changed()
    part = _part(request, file, version)
    if part is not None and not part:
        raise Refusal(416, f"That file has {file.size} bytes.", ((b"Content-Range", b"bytes */%d" % file.size),))
    if request.is_gone:
        return None
    if part is not None:
        headers += [(b"Content-Range", b"bytes %d-%d/%d" % (part.start, part.stop - 1, file.size))]
    request.head(200 if part is None else 206, headers)
    part = range(file.size) if part is None else part
    request.responseHeaders.setRawHeaders(b"Content-Type", [_kind(file.name)])
    request.responseHeaders.setRawHeaders(b"Content-Length", [b"%d" % len(part)])
    request.write(b"")
    sending = Download(request.channel, site.clock, site.stall, request.channel.wait)
    request.notifyFinish().addBoth(lambda _: sending.stop())
    if request.method == b"HEAD" or await sending.run(reading, part):
        request.finish()
    elif not request.is_gone:
        request.channel.drop()  # the client knows from Content-Length that the file is incomplete
    return None


def _part(request: Request, file: File, version: Version) -> range | None:
    """Return the bytes that the client asks for; None means all of them. Only GET has ranges: RFC 9110, 14.2."""
    if request.method != b"GET" or not preconditions.may_send_part(request.text, version):
        return None
    return ranges.requested(request.text("Range"), file.size)


def _headers(file: File, tag: str) -> list[tuple[bytes, bytes]]:
    ascii_name = re.sub(r"[^ !#$&+.0-9A-Za-z^_`{}~()\[\]=@,-]", "_", file.name)
    disposition = "inline" if _suffix(file.name) in IMAGES else "attachment"
    shown = f"{disposition}; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(file.name, safe='')}"
    return [
        (b"ETag", tag.encode()),
        (b"Last-Modified", formatdate(file.modified, usegmt=True).encode()),
        (b"Accept-Ranges", b"bytes"),
        (b"Cache-Control", b"private, no-cache"),
        (b"Content-Disposition", shown.encode()),
        (b"Content-Security-Policy", b"default-src 'none'; sandbox"),
    ]


def _suffix(name: str) -> str:
    return name.rpartition(".")[2].lower()


def _kind(name: str) -> bytes:
    return KINDS.get(_suffix(name), b"application/octet-stream")
