"""The routes of shared files: the list, a download, and an upload."""

from __future__ import annotations

import json
from collections.abc import Sequence

from twisted.internet.defer import TimeoutError

from groupchat.core.errors import NotNow
from groupchat.core.limits import LISTING_SECONDS
from groupchat.files import File
from groupchat.frontends.web import answers
from groupchat.frontends.web.answers import Answer
from groupchat.frontends.web.downloads import download
from groupchat.frontends.web.request import Request
from groupchat.frontends.web.site import Route, Routes, Site
from groupchat.frontends.web.uploads import upload


async def listing(site: Site, request: Request) -> Answer:
    if not site.has_files:
        return answers.of({"files": []})
    try:
        return await site.shelf.listing(_list_of).addTimeout(LISTING_SECONDS, site.clock)
    except TimeoutError:
        raise NotNow("The server cannot look that up now: ask again.") from None


def _list_of(files: Sequence[File]) -> Answer:
    """Return the list. The files are encoded one by one: other threads wait while json encodes a value."""
    encoded = [_encode({"name": f.name, "size": f.size, "at": round(f.at, 3), "sha256": f.sha256}) for f in files]
    return Answer(200, f'{{"files": [{", ".join(encoded)}]}}'.encode())


_encode = json.JSONEncoder(ensure_ascii=False).encode


def routes() -> Routes:
    return {"/files": {"GET": Route(listing)}, "/files/*": {"GET": Route(download), "PUT": Route(upload, takes=-1)}}
