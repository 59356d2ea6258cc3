"""The routes of shared files: the list, a download, and an upload."""

from __future__ import annotations

from twisted.internet.defer import TimeoutError

from groupchat.core.errors import NotNow
from groupchat.core.limits import LISTING_SECONDS
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
        files = await site.shelf.listing().addTimeout(LISTING_SECONDS, site.clock)
    except TimeoutError:
        raise NotNow("The server cannot look that up now: ask again.") from None
    shown = [{"name": file.name, "size": file.size, "at": round(file.at, 3), "sha256": file.sha256} for file in files]
    return answers.of({"files": shown})


def routes() -> Routes:
    return {"/files": {"GET": Route(listing)}, "/files/*": {"GET": Route(download), "PUT": Route(upload, takes=-1)}}
