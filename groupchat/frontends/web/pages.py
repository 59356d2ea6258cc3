"""The page: static files, which are read once, when the daemon starts."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from groupchat.frontends.web import negotiation
from groupchat.frontends.web.answers import Answer, Headers, Refusal
from groupchat.frontends.web.request import Request
from groupchat.frontends.web.site import Route, Site

STATIC = Path(__file__).with_name("static")

# Not `mimetypes`, which follows the tables of the machine: only these are served.
KINDS = {
    ".css": b"text/css; charset=utf-8",
    ".html": b"text/html; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}

_VARY = (b"Vary", b"Accept-Encoding")

_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    b"manifest-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file, as it is sent: `plain`, or `packed` with gzip. `tag` is its entity tag."""

    kind: bytes
    plain: bytes
    packed: bytes
    tag: bytes

    @classmethod
    def read(cls, path: Path) -> StaticFile:
        data = path.read_bytes()
        tag = sha256(data).hexdigest()[:16].encode()
        return cls(KINDS[path.suffix], data, gzip.compress(data, 9, mtime=0), tag)

    def show(self, site: Site, request: Request) -> Answer:
        coding = negotiation.encoding(request.text("Accept-Encoding"))
        if not coding:
            raise Refusal(406, "The page is there with gzip, or as it is.", (_VARY,))
        packs = coding == "gzip"
        headers: Headers = (
            (b"ETag", b'"%s%s"' % (self.tag, b"-gzip" if packs else b"")),
            (b"Cache-Control", b"no-cache"),
            _VARY,
            (b"Content-Security-Policy", _POLICY),
            (b"Cross-Origin-Opener-Policy", b"same-origin"),
            (b"X-Frame-Options", b"DENY"),
        )
        if packs:
            return Answer(200, self.packed, self.kind, (*headers, (b"Content-Encoding", b"gzip")))
        return Answer(200, self.plain, self.kind, headers)


def routes() -> dict[str, dict[str, Route]]:
    """Return a route for each file in the folder; index.html is `/` as well."""
    paths = {f"/{path.name}": path for path in sorted(STATIC.iterdir()) if path.suffix in KINDS}
    return {
        name: {"GET": Route(StaticFile.read(path).show, open=True)}
        for name, path in {**paths, "/": STATIC / "index.html"}.items()
    }
