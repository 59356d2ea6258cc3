"""Connections with HTTP: one request or several, to every route, with heads and bodies of all kinds."""

from __future__ import annotations

from groupchat.frontends.web.serving import routes
from tests.fuzz.grammar import POOL, Dice, Grammar
from tests.shelves import hash_of

_ROUTES = routes()


def with_length(body: bytes) -> bytes:
    """Return the end of a head, and a body of the right length."""
    return b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


GRAMMAR: Grammar = Grammar(
    {
        "connection": (
            *(b"<join><session>",) * 5,
            *(b"<session>", b"<request>", b"<request><connection>", b"<session><bytes>", b"\x16\x03\x01<bytes>"),
        ),
        "join": (b"POST /name HTTP/1.1\r\nHost: x\r\n<who>Content-Length: 5\r\n\r\n<five>",),
        "session": (b"<known_request>", b"<known_request><session>", b"<known_request><session>"),
        # Requests of a client that knows how: each has at most one thing that is odd.
        "known_request": (
            *(b"GET <known><known_query> HTTP/1.1\r\nHost: x\r\n<who>\r\n",) * 3,
            *(
                b"GET /events<known_query> HTTP/1.1\r\nHost: x\r\n<who><maybe>\r\n",
                b"HEAD <known> HTTP/1.1\r\nHost: x\r\n<who>\r\n",
            ),
            b"POST /name HTTP/1.1\r\nHost: x\r\n<who><maybe>Content-Length: 5\r\n\r\n<five>",
            *(b"POST /messages HTTP/1.1\r\nHost: x\r\n<who><maybe>Content-Length: 5\r\n\r\n<five>",) * 2,
            b"POST /messages?name=<five> HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n<five>",
            *(b"POST <post> HTTP/1.1\r\nHost: x\r\n<who>Content-Type: application/json\r\n<whole_json>",) * 2,
            *(b"POST /messages HTTP/1.1\r\nHost: x\r\n<who>Content-Type: application/json\r\n<whole_message>",) * 2,
            b"POST <post> HTTP/1.1\r\nHost: x\r\n<who><whole_text>",
            b"POST <post> HTTP/1.1\r\nHost: x\r\n<who>Content-Length: <number>\r\n\r\n<five>",
            *(b"GET /history<known_query> HTTP/1.1\r\nHost: x\r\n<who>\r\n",) * 3,
            b"GET /files/a.txt HTTP/1.1\r\nHost: x\r\n<range>\r\n\r\n",
            *(
                b"GET /files/a.txt HTTP/1.1\r\nHost: x\r\n<maybe>\r\n",
                b"POST /leave HTTP/1.1\r\nHost: x\r\n<who>Content-Length: 0\r\n\r\n",
            ),
            *(b"PUT /files/<file>?name=Gus HTTP/1.1\r\nHost: x\r\n<maybe>Content-Length: 5\r\n\r\n<five>",) * 2,
            b"PUT /files/<file>?name=Gus HTTP/1.1\r\nHost: x\r\n<maybe>Transfer-Encoding: chunked\r\n\r\n<chunks>",
            b"POST <post> HTTP/1.1\r\nHost: x\r\n<who>Transfer-Encoding: chunked\r\n\r\n<chunks>",
            *(b"<tus_request>",) * 3,
        ),
        "tus_request": (
            *(b"POST /uploads?name=Gus HTTP/1.1\r\n<tus>Upload-Length: <size>\r\n<tus_maybe><whole_none>",) * 2,
            *(b"PATCH <upload> HTTP/1.1\r\n<tus><patch><tus_maybe><whole_five>",) * 4,
            b"PATCH <upload> HTTP/1.1\r\n<tus><patch><tus_maybe>Transfer-Encoding: chunked\r\n\r\n<chunks>",
            b"POST <upload> HTTP/1.1\r\n<tus><patch>X-HTTP-Method-Override: <other_method>\r\n<whole_five>",
            *(b"HEAD <upload> HTTP/1.1\r\n<tus>\r\n", b"DELETE <upload> HTTP/1.1\r\n<tus>\r\n"),
        ),
        "whole_none": (b"Content-Length: 0\r\n\r\n",),
        "whole_five": (b"Content-Length: 5\r\n\r\n<five>",),
        "tus": (b"Host: x\r\nTus-Resumable: 1.0.0\r\n",) * 9
        + (b"Host: x\r\n", b"Host: x\r\nTus-Resumable: <text>\r\n"),
        "size": (b"0", b"5", b"10", b"10", b"<small>", b"<number>", b"<text>"),
        "patch": (b"Content-Type: application/offset+octet-stream\r\nUpload-Offset: <offset>\r\n",),
        "offset": (b"0", b"0", b"5", b"<small>", b"<number>", b"<text>"),
        "other_method": (b"PATCH", b"PATCH", b"HEAD", b"DELETE", b"<word>"),
        "tus_maybe": (
            *(b"", b"", b"", b"<other>\r\n", b"Upload-Checksum: sha1 <text>\r\n", b"Upload-Metadata: <text>\r\n"),
            *(b"Upload-Metadata: filename YS50eHQ=\r\n", b"Upload-Checksum: sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n"),
            *(b"Upload-Concat: <text>\r\n", b"Upload-Defer-Length: 1\r\n", b"Upload-Metadata: <word> YQ==\r\n"),
        ),
        # The keys of the first uploads on a shelf in memory; a real one has other keys.
        "upload": (
            *[f"/uploads/{hash_of(b'%d' % number)}?name=Gus".encode() for number in range(3)],
            b"/uploads/<text>",
        ),
        "chunks": (
            *(b"5\r\n<five>\r\n<chunks>",) * 3,
            *(b"0\r\n\r\n", b"0\r\n<fields>\r\n", b"5;<text>\r\n<five>\r\n<chunks>", b"<small>\r\n<text>\r\n<chunks>"),
        ),
        "known_query": (
            b"",
            b"",
            b"?after=<number>",
            b"?before=<number>",
            b"?limit=<number>",
            b"?after=<small>&limit=<small>",
            b"?<text>",
        ),
        "who": (b"Authorization: Bearer <known_key>\r\n",) * 5 + (b"", b"Cookie: groupchat=<known_key>\r\n"),
        "maybe": (b"", b"", b"<other>\r\n"),
        "whole_json": lambda dice: with_length(GRAMMAR.make(dice, "json")),
        "whole_message": lambda dice: with_length(GRAMMAR.make(dice, "message")),
        "message": (
            *(b'{"text": "<letters>", "id": <small>}', b'{"text": "<letters>", "to": "Witness", "id": "<small>"}'),
            *(
                b'{"line": "/ban <name>: <number>d", "why": <value>}',
                b'{"line": "/<letters>"}',
                b'{"password": <value>}',
            ),
            *(b'{"text": "<letters>", "as": <value>}', b'{"name": "<letters>", "id": "<known_key>", "as": <value>}'),
            *(b'{"text": "<letters>", "to": <value>}', b'{"text": "<text>", "to": "Bob", "id": <value>}'),
        ),
        "range": (
            b"Range: bytes=<small>-<small>",
            b"Range: bytes=-<small>",
            b"Range: bytes=<small>-",
            b"Range: bytes=<number>-<small>",
        ),
        "whole_text": lambda dice: with_length(GRAMMAR.make(dice, "text")),
        "five": lambda dice: bytes(dice.choices(b"abcdef", k=5)),
        # Requests in which anything may be odd.
        "request": (b"<asking>", b"<saying>", b"<malformed>"),
        "asking": (b"<read> <path><query> <version>\r\n<fields>\r\n",),
        "saying": (
            b"POST <post><query> <version>\r\n<fields><length>\r\n<body>",
            b"PUT /files/<file><query> <version>\r\n<fields><length>\r\n<body>",
        ),
        "malformed": (
            *(
                b"<word> <path> <version>\r\n\r\n",
                b"GET\r\n\r\n",
                b"GET / / HTTP/1.1\r\n\r\n",
                b"\r\n\r\n\r\n<request>",
            ),
            *(
                b"GET /<text> HTTP/1.1\r\n<text>\r\n\r\n",
                b"GET <path> HTTP/1.1\n\n",
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            ),
        ),
        "read": (b"GET", b"GET", b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"DELETE", b"CONNECT", b"get"),
        "path": (b"<known>", b"<known>", b"<known>", b"/files/<file>", b"/<text>", b"*", b"http://x/", b"//", b""),
        "post": (b"/name", b"/messages", b"/messages", b"/leave", b"/password", b"<known>"),
        "known": [path.encode() for path in _ROUTES if "*" not in path],
        "file": (b"a.txt", b"<letters>.txt", b"<text>", b"%E2%82", b"..%2f", b"%00", b"<letters>%20<word>", b"a" * 300),
        "query": (b"", b"", b"?<pairs>", b"?<text>"),
        "pairs": (b"<field>", b"<field>&<pairs>"),
        "field": (
            b"name=<name>",
            b"after=<number>",
            b"before=<number>",
            b"limit=<number>",
            b"<text>=<text>",
            b"name=%ff",
        ),
        "version": (b"HTTP/1.1",) * 6 + (b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/0.9", b"http/1.1", b"<word>"),
        "fields": (b"Host: localhost:8080\r\n<others>",) * 6 + (b"", b"<others>", b"Host: <text>\r\n"),
        "others": (b"", b"<other>\r\n<others>", b"<other>\r\n<cookie>"),
        "cookie": (
            b"",
            b"Cookie: groupchat=<key>\r\n",
            b"Authorization: Bearer <key>\r\n",
            b"Cookie: <text>; __Host-groupchat=<key>\r\n",
        ),
        "other": (
            *(
                b"Cookie: groupchat=<key>",
                b"Authorization: Bearer <key>",
                b"Authorization: Basic <text>",
                b"Cookie: <text>",
            ),
            *(b"Range: bytes=<number>-<number>", b"Range: bytes=<number>-", b"Range: <text>", b"If-Range: <text>"),
            *(
                b"If-Match: <text>",
                b"If-Unmodified-Since: <text>",
                b"If-Modified-Since: <text>",
                b"Content-Range: <text>",
            ),
            *(b"Accept-Encoding: <text>", b"Accept: <text>", b"Content-Encoding: <text>", b"If-Match: *"),
            *(b"If-None-Match: <text>", b"Last-Event-ID: <number>", b"Connection: <text>", b"Connection: close"),
            *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: <text>", b"Expect: 100-continue", b"Expect: <text>"),
            *(b"Content-Length: <number>", b"Content-Type: application/json", b"Upgrade: websocket", b"Origin: <text>"),
            *(
                b"X-Forwarded-For: <text>",
                b"Sec-Fetch-Site: cross-site",
                b"Accept: text/html",
                b"<text>: <text>",
                b": x",
            ),
        ),
        "length": (
            *(b"Content-Length: <small>\r\n",) * 6,
            *(b"", b"Content-Length: <number>\r\n", b"Transfer-Encoding: chunked\r\n"),
        ),
        "small": lambda dice: b"%d" % dice.randrange(60),
        "body": (b"<text>", b"<json>", b"<json>", b"<number>\r\n<text>\r\n0\r\n\r\n", b"<bytes>", b""),
        "json": (
            b'{"text": <value>, "id": <value>}',
            b'{"text": <value>, "to": <value>}',
            b'{"name": <value>, "id": <value>}',
            b"<value>",
        ),
        "value": (
            *(b'"<text>"', b'"<letters>"', b"<number>", b"null", b"true", b"[<value>]", b'{"<letters>": <value>}'),
            *(b'"\\ud800"', b"1e999", b"[" * 5000, b'{"a":' * 2000, b'"\\u0000"', b"-0", b"9" * 4400),
        ),
    }
)


def connection(dice: Dice) -> bytes:
    """Return what one client sends."""
    data = GRAMMAR.make(dice, "connection")
    return dice.mutate(data, (*POOL, b"\r\n", b": ", b" HTTP/1.1\r\n")) if dice.one_in(4) else data
