"""GET /files/NAME: a file from the shelf, or a range of its bytes."""

from __future__ import annotations

import re
from email.utils import formatdate, parsedate_to_datetime
from urllib.parse import quote

from groupchat.core.errors import IllegalMessage, NotNow
from groupchat.core.limits import MAX_READINGS, MAX_WEB_DOWNLOADS_EACH
from groupchat.files import File, IReading
from groupchat.frontends.transfers.download import Download
from groupchat.frontends.web.answers import Answer, Refusal
from groupchat.frontends.web.pages import is_same
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

_RANGE = re.compile(r"bytes=([0-9]{0,19})-([0-9]{0,19})")


async def download(site: Site, request: Request) -> Answer | None:
    site.downloads.take(request.peer, MAX_WEB_DOWNLOADS_EACH, MAX_READINGS)
    try:
        try:
            reading = await site.shelf.open(request.name, hashed=False)
        except IllegalMessage as why:
            raise why if isinstance(why, NotNow) else Refusal(404, str(why)) from None
        try:
            return await _send(site, request, reading)
        finally:
            await reading.close()
    finally:
        site.downloads.give_back(request.peer)


async def _send(site: Site, request: Request, reading: IReading) -> Answer | None:
    file = reading.file
    tag = f'"{file.sha256}"' if file.sha256 else f'W/"{file.size:x}-{file.changed:x}"'
    headers = _headers(file, tag)
    if _is_unchanged(request, file, tag):
        return Answer(304, headers=headers)
    part = _part(request, file, tag)
    if part is None:
        return Answer(416, headers=[*headers, (b"Content-Range", b"bytes */%d" % file.size)])
    if request.is_gone:
        return None
    whole = len(part) == file.size
    if not whole:
        headers += [(b"Content-Range", b"bytes %d-%d/%d" % (part.start, part.stop - 1, file.size))]
    request.head(200 if whole else 206, headers)
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


def _is_unchanged(request: Request, file: File, tag: str) -> bool:
    """Return True if the client has this file already: RFC 9110, section 13.2.2."""
    wanted = request.text("If-None-Match")
    if wanted is not None:
        return is_same(wanted, tag.removeprefix("W/"))
    date = request.text("If-Modified-Since")
    try:
        return date is not None and parsedate_to_datetime(date).timestamp() >= int(file.modified)
    except (ValueError, TypeError, OverflowError):
        return False


def _part(request: Request, file: File, tag: str) -> range | None:
    """Return the bytes to send, or None if the file has none of those asked for. Several ranges mean all bytes."""
    whole = range(file.size)
    same = request.text("If-Range")
    is_same_tag = same == tag and not tag.startswith("W/")
    if same is not None and not is_same_tag and same != formatdate(file.modified, usegmt=True):
        return whole
    match = _RANGE.fullmatch((request.text("Range") or "").replace(" ", ""))
    if match is None or (not match[1] and not match[2]) or request.method not in (b"GET", b"HEAD"):
        return whole
    if not match[1]:
        part = range(max(0, file.size - int(match[2])), file.size)
    else:
        part = range(int(match[1]), min(file.size, int(match[2]) + 1) if match[2] else file.size)
        if match[2] and int(match[2]) < int(match[1]):
            return whole
    return part or None
