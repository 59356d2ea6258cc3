"""RFC 9110 as far as this server answers: a table for each section."""

from __future__ import annotations

import gzip
import time
from email.utils import parsedate_to_datetime
from typing import Any

from groupchat.core.limits import MAX_SIZE, MAX_WEB_BODY
from groupchat.frontends.web import answers, negotiation, preconditions, ranges
from groupchat.frontends.web.guard import TrustedHosts
from tests.shelves import hash_of
from tests.web import KEY, MAX_FILE, Reply, WebTestCase, parse

DATA = bytes(range(256)) * 4
TAG = f'"{hash_of(DATA)}"'
OTHER = '"other"'
BEFORE, SAME, AFTER = (f"Thu, 01 Jan 1970 00:00:{second} GMT" for second in (11, 12, 13))
"""Dates around that of each file on the shelf of the tests."""

PAGE = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
"""What a browser accepts when a person opens an address."""


class DateTests(WebTestCase):
    """Sections 5.6.7 (dates) and 6.6.1 (Date)."""

    def test_three_forms_of_a_date_are_understood(self) -> None:
        at = 784111777.0
        for date, expected in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", at),
            ("Sunday, 06-Nov-94 08:49:37 GMT", at),
            ("Sun Nov  6 08:49:37 1994", at),
            ("Wed Nov 16 08:49:37 1994", at + 864_000),
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
            ("Fri, 31 Dec 9999 23:59:59 GMT", 253402300799.0),
            *(
                (text, -1.0)
                for text in ["", "0", "now", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 +0200"]
            ),
            *((text, -1.0) for text in ["Sun, 32 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 24:49:37 GMT"]),
            *((text, -1.0) for text in ["Sun, 06 Nov 01994 08:49:37 GMT", "sun, 06 nov 1994 08:49:37 gmt"]),
            ("Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT", -1.0),
        ]:
            self.assertEqual(preconditions._date(date, -1.0), expected, date)

    def test_every_answer_has_the_date(self) -> None:
        self.shelf.files = {"a": b"abc"}
        self.join()
        for raw in [
            *("GET / HTTP/1.1", "GET /me HTTP/1.0", "GET /nothing HTTP/1.1", "HEAD /files/a HTTP/1.1", "nonsense"),
            *("GET /events HTTP/1.1", "GET /files/b HTTP/1.1", "BREW / HTTP/1.1", f"GET /{'x' * 5000} HTTP/1.1"),
            f"GET / HTTP/1.1\r\nX: {'x' * 20_000}",
            "PUT /files/x?name=cron HTTP/1.1\r\nContent-Length: 99999999999",
            "GET /files/a HTTP/1.1\r\nRange: bytes=0-1",
            "GET /files/a HTTP/1.1\r\nRange: bytes=9-",
            f"GET /files/a HTTP/1.1\r\nIf-None-Match: {hash_of(b'abc')}",
            "GET /files/a HTTP/1.1\r\nIf-Match: x",
            "GET / HTTP/1.1\r\nHost: evil.example",
            "POST /leave HTTP/1.1",
        ]:
            line = self.line()
            more = "" if "Host" in raw else "Host: x\r\n"
            line.send(f"{raw}\r\n{more}Cookie: groupchat={KEY}\r\n\r\n".encode())
            self.check_date(line.heard())

    def test_a_refused_connection_is_told_the_date(self) -> None:
        refused = answers.serialized(answers.Refusal(503, "Too many.").answer())
        self.check_date(refused)

    def check_date(self, data: bytes) -> None:
        dates = [line[6:].decode() for line in data.partition(b"\r\n\r\n")[0].split(b"\r\n") if line[:6] == b"Date: "]
        self.assertEqual(len(dates), 1, data[:200])
        self.assertLess(abs(parsedate_to_datetime(dates[0]).timestamp() - time.time()), 60)


class PreconditionTests(WebTestCase):
    """Section 13: If-Match, If-Unmodified-Since, If-None-Match, If-Modified-Since; and their order, 13.2.2."""

    TABLE = (
        # If-Match, 13.1.1: strong comparison
        ({"If_Match": TAG}, 200, 412),
        ({"If_Match": "*"}, 200, 412),
        ({"If_Match": OTHER}, 412, 412),
        ({"If_Match": f"{OTHER}, {TAG}"}, 200, 412),
        ({"If_Match": f'"a,b" , , {TAG}'}, 200, 412),
        ({"If_Match": f"W/{TAG}"}, 412, 412),
        ({"If_Match": TAG.strip('"')}, 412, 412),
        ({"If_Match": f'"x{TAG[1:]}'}, 412, 412),
        # If-Unmodified-Since, 13.1.4
        ({"If_Unmodified_Since": BEFORE}, 412, 200),
        ({"If_Unmodified_Since": SAME}, 200, 200),
        ({"If_Unmodified_Since": AFTER}, 200, 200),
        ({"If_Unmodified_Since": "nonsense"}, 200, 200),
        # If-None-Match, 13.1.2: weak comparison
        ({"If_None_Match": TAG}, 304, 200),
        ({"If_None_Match": f"W/{TAG}"}, 304, 200),
        ({"If_None_Match": f"{OTHER},{TAG}"}, 304, 200),
        ({"If_None_Match": "*"}, 304, 200),
        ({"If_None_Match": OTHER}, 200, 200),
        ({"If_None_Match": "nonsense"}, 200, 200),
        # If-Modified-Since, 13.1.3
        ({"If_Modified_Since": BEFORE}, 200, 200),
        ({"If_Modified_Since": SAME}, 304, 200),
        ({"If_Modified_Since": AFTER}, 304, 200),
        ({"If_Modified_Since": "nonsense"}, 200, 200),
        # The order: tags come before dates, and what must hold before what must not.
        ({"If_Match": TAG, "If_Unmodified_Since": BEFORE}, 200, 412),
        ({"If_Match": OTHER, "If_Unmodified_Since": AFTER}, 412, 412),
        ({"If_None_Match": OTHER, "If_Modified_Since": AFTER}, 200, 200),
        ({"If_None_Match": TAG, "If_Modified_Since": BEFORE}, 304, 200),
        ({"If_Match": TAG, "If_None_Match": TAG}, 304, 412),
        ({"If_Match": OTHER, "If_None_Match": TAG}, 412, 412),
        ({"If_Unmodified_Since": BEFORE, "If_Modified_Since": BEFORE}, 412, 200),
        ({"If_Unmodified_Since": AFTER, "If_Modified_Since": AFTER}, 304, 200),
    )
    """Headers, then the status for a file that is there, then that for a new file that is sent."""

    def setUp(self) -> None:
        super().setUp()
        self.shelf.files = {"a": DATA}

    def test_a_download_obeys_all_preconditions(self) -> None:
        for headers, status, _ in self.TABLE:
            for method in ("GET", "HEAD"):
                reply = self.ask(method, "/files/a", **headers)
                self.assertEqual(reply.status, status, (method, headers))
                if method == "GET":
                    self.assertEqual(reply.body if status == 200 else b"", DATA if status == 200 else b"")
                if status == 304:
                    self.assertEqual((reply.headers["etag"], reply.headers["last-modified"]), (TAG, SAME))

    def test_preconditions_come_before_a_range(self) -> None:
        for headers, status, _ in self.TABLE:
            reply = self.get("/files/a", Range="bytes=5-", **headers)
            self.assertEqual(reply.status, 206 if status == 200 else status, headers)
            reply = self.get("/files/a", Range="bytes=9999-", **headers)
            self.assertEqual(reply.status, 416 if status == 200 else status, headers)

    def test_what_is_not_there_has_no_preconditions(self) -> None:
        for headers, _, _ in self.TABLE:
            self.assertEqual(self.get("/files/nothing", **headers).status, 404, headers)

    def test_an_upload_obeys_preconditions_before_its_body(self) -> None:
        there = {200: 201, 304: 412, 412: 412}
        for headers, status, new in self.TABLE:
            reads = status == 304 and "If_None_Match" not in headers  # If-Modified-Since is for GET and HEAD only
            expected = 201 if reads else there[status]
            self.shelf.files = {"a": DATA}
            self.assertEqual(self.put("a", **headers).status, expected, headers)
            self.assertEqual(set(self.shelf.files), {"a", "another a"} if expected == 201 else {"a"}, headers)
            self.assertEqual(self.put("new", **headers).status, there[new], headers)

    def put(self, name: str, **headers: str) -> Reply:
        line = self.line()
        fields = "".join(f"{header.replace('_', '-')}: {value}\r\n" for header, value in headers.items())
        head = f"PUT /files/{name}?name=cron HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n"
        line.send(f"{head}{fields}\r\n".encode())
        data = line.heard()
        if data == b"HTTP/1.1 100 Continue\r\n\r\n":
            line.send(b"abc")
            data = line.heard()
        return parse(data)[0]

    def test_an_upload_says_where_the_file_is(self) -> None:
        self.assertEqual(self.put("b%20%C3%BC").headers["location"], "/files/b%20%C3%BC")
        self.assertEqual(self.put("a").headers["location"], "/files/another%20a")

    def test_the_page_obeys_tags(self) -> None:
        for more in ({}, {"Accept_Encoding": "gzip"}):
            tag = self.get("/", **more).headers["etag"]
            for headers, status in [
                ({"If_None_Match": tag}, 304),
                ({"If_None_Match": f"W/{tag}"}, 304),
                ({"If_None_Match": OTHER}, 200),
                ({"If_Match": tag}, 200),
                ({"If_Match": OTHER}, 412),
                ({"If_Modified_Since": AFTER}, 200),
                ({"If_Unmodified_Since": BEFORE}, 200),
            ]:
                reply = self.get("/", **more, **headers)
                self.assertEqual(reply.status, status, headers)
                if status == 304:
                    self.assertEqual((reply.headers["etag"], reply.headers["vary"]), (tag, "Accept-Encoding"))
                    self.assertNotIn("content-encoding", reply.headers)

    def test_what_has_no_version_matches_none(self) -> None:
        self.join()
        for path in ("/me", "/members", "/history", "/files", "/healthz", "/metrics"):
            for headers, status in [
                ({"If_Match": OTHER}, 412),
                ({"If_Match": "*"}, 200),
                ({"If_None_Match": OTHER}, 200),
                ({"If_Unmodified_Since": BEFORE}, 200),
                ({"If_Modified_Since": AFTER}, 200),
            ]:
                self.assertEqual(self.get(path, **headers).status, status, (path, headers))

    def test_nothing_is_posted_for_another_version(self) -> None:
        for headers, status in [
            ({"If_Match": OTHER}, 412),
            ({"If_Match": "*"}, 412),
            ({"If_None_Match": "*"}, 200),
            ({"If_Unmodified_Since": BEFORE}, 200),
        ]:
            self.assertEqual(self.post("/messages?name=cron", "hi", "", **headers).status, status, headers)
        self.assertEqual(self.told(), ["cron: hi"] * 2)

    def test_a_refused_request_is_refused_as_it_was(self) -> None:
        for headers in ({"If_Match": OTHER}, {"If_None_Match": "*"}):
            self.refused(self.get("/members", **headers), 403)
            self.refused(self.get("/nothing", **headers), 404)


class RangeTests(WebTestCase):
    """Sections 14 and 15.5.17: Range, Content-Range, and what is answered if there is no such part."""

    TABLE = (
        ("bytes=0-0", range(0, 1)),
        ("bytes=10-19", range(10, 20)),
        ("bytes=1000-", range(1000, 1024)),
        ("bytes=0-", range(0, 1024)),
        ("bytes=0-1023", range(0, 1024)),
        ("bytes=0-1024", range(0, 1024)),
        ("bytes=-4", range(1020, 1024)),
        ("bytes=-1024", range(0, 1024)),
        ("bytes=-9999", range(0, 1024)),
        ("BYTES=1-2", range(1, 3)),
        ("bytes= 1-2 ", range(1, 3)),
        ("bytes=,1-2,\t", range(1, 3)),
        ("bytes=0001-0002", range(1, 3)),
        (f"bytes=1023-{'9' * 5000}", range(1023, 1024)),
        (f"bytes=-{'9' * 5000}", range(0, 1024)),
        (f"bytes={'0' * 5000}1-1", range(1, 2)),
        *((asked, range(0)) for asked in ["bytes=1024-", "bytes=5000-6000", "bytes=-0", f"bytes={'9' * 5000}-"]),
        *((asked, None) for asked in ["bytes=0-1,5-6", "bytes=5-2", "bytes=x-y", "lines=0-1", "bytes=", "bytes=-"]),
        *(
            (asked, None)
            for asked in ["bytes=--1", "0-1", "bytes", "bytes=1 0-20", "bytes=1-2-3", "bytes=1", "bytes=+1-2"]
        ),
        *((asked, None) for asked in ["bytes=\u0661-", "bytes=0x1-", "bytes =0-1", f"bytes={'0-0,' * 2000}0-0"]),
    )
    """A range, and the bytes of a file of 1,024 bytes that it asks for: none, or all of them (None)."""

    def setUp(self) -> None:
        super().setUp()
        self.shelf.files = {"a": DATA, "empty": b""}

    def test_a_range_is_read_as_it_is_written(self) -> None:
        for asked, part in self.TABLE:
            self.assertEqual(ranges.requested(asked, 1024), part, asked[:40])

    def test_a_part_is_sent_with_its_place(self) -> None:
        for asked, part in self.TABLE:
            if not asked.isascii():
                continue
            reply = self.get("/files/a", Range=asked)
            if part is None:
                self.assertEqual((reply.status, reply.body), (200, DATA), asked[:40])
                self.assertNotIn("content-range", reply.headers)
            elif part:
                self.assertEqual((reply.status, reply.body), (206, DATA[part.start : part.stop]), asked[:40])
                self.assertEqual(reply.headers["content-range"], f"bytes {part.start}-{part.stop - 1}/1024")
                self.assertEqual((reply.headers["etag"], reply.headers["accept-ranges"]), (TAG, "bytes"))
            else:
                self.refused(reply, 416, "1024 bytes")
                self.assertEqual(reply.headers["content-range"], "bytes */1024", asked[:40])
                self.assertNotIn("content-disposition", reply.headers)

    def test_an_empty_file_has_no_part(self) -> None:
        for asked, status in [("bytes=0-", 416), ("bytes=0-0", 416), ("bytes=-5", 200), ("bytes=-0", 416)]:
            self.assertEqual(self.get("/files/empty", Range=asked).status, status, asked)

    def test_the_largest_file_has_a_last_byte(self) -> None:
        last = MAX_SIZE - 1
        self.assertEqual(ranges.requested(f"bytes={last}-", MAX_SIZE), range(last, MAX_SIZE))
        self.assertEqual(ranges.requested("bytes=-1", MAX_SIZE), range(last, MAX_SIZE))
        self.assertFalse(ranges.requested(f"bytes={MAX_SIZE}-", MAX_SIZE))

    def test_head_ignores_a_range(self) -> None:
        for asked in ("bytes=0-1", "bytes=9999-", "nonsense"):
            reply = self.ask("HEAD", "/files/a", Range=asked)
            self.assertEqual((reply.status, reply.headers["content-length"]), (200, "1024"), asked)

    def test_only_the_same_version_is_continued(self) -> None:
        for same, status in [
            (TAG, 206),
            (OTHER, 200),
            (f"W/{TAG}", 200),
            (f"{OTHER}, {TAG}", 200),
            ("*", 200),
            (SAME, 200),  # many versions may have the same time
            (BEFORE, 200),
            (AFTER, 200),
            ("nonsense", 200),
        ]:
            reply = self.get("/files/a", Range="bytes=1000-", If_Range=same)
            self.assertEqual((reply.status, len(reply.body)), (status, 24 if status == 206 else 1024), same)
            self.assertEqual(self.get("/files/a", If_Range=same).status, 200)  # without Range it says nothing
            if status == 200:
                self.assertEqual(self.get("/files/a", Range="bytes=9999-", If_Range=same).status, 200)

    def test_a_version_without_a_hash_is_not_continued(self) -> None:
        self.shelf.hashes = False
        tag = self.get("/files/a").headers["etag"]
        self.assertTrue(tag.startswith("W/"))
        self.assertEqual(self.get("/files/a", Range="bytes=1-", If_Range=tag).status, 200)
        self.assertEqual(self.get("/files/a", Range="bytes=1-", If_Match=tag).status, 412)
        self.assertEqual(self.get("/files/a", If_None_Match=tag).status, 304)

    def test_the_hash_is_waited_for_to_compare_versions(self) -> None:
        asked, opening = [], self.shelf.open

        def open_file(name: str, hashed: bool = True) -> Any:
            asked.append(hashed)
            return opening(name)

        self.patch(self.shelf, "open", open_file)
        for headers in ({}, {"Range": "bytes=1-"}, {"If_None_Match": TAG}, {"If_Match": TAG}, {"If_Range": TAG}):
            self.get("/files/a", **headers)
        self.assertEqual(asked, [False, False, False, True, True])

    def test_a_part_of_a_file_cannot_be_sent(self) -> None:
        for value in ("bytes 5-9/10", "bytes 0-9/10", "bytes */10", "nonsense"):
            head = f"PUT /files/x?name=cron HTTP/1.1\r\nHost: x\r\nContent-Range: {value}\r\nExpect: 100-continue\r\n"
            line = self.line()
            line.send(f"{head}Content-Length: 5\r\n\r\n".encode())
            reply, _ = parse(line.heard())
            self.refused(reply, 400, "Content-Range")
            self.assertEqual(reply.interim, 0)
        self.assertEqual((self.told(), set(self.shelf.files)), ([], {"a", "empty"}))


class NegotiationTests(WebTestCase):
    """Sections 12.4.2 (weights), 12.5.1 (Accept), 12.5.3 (Accept-Encoding) and 15.5.7 (406)."""

    ENCODINGS = (
        (None, "identity"),
        ("", "identity"),
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("x-gzip", "gzip"),
        ("gzip, deflate, br, zstd", "gzip"),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", "gzip"),
        ("deflate", "identity"),
        ("gzip;q=0", "identity"),
        ("gzip;q=0.0", "identity"),
        ("gzip;q=0.000, identity", "identity"),
        ("gzip;q=0.001", "gzip"),
        ("gzip ; q=0.5", "gzip"),
        ("gzip;q=0.5, identity;q=1", "identity"),
        ("gzip;q=0.5, identity;q=0.5", "gzip"),
        ("gzip, identity", "gzip"),
        ("identity", "identity"),
        ("*", "gzip"),
        ("*;q=0.5", "gzip"),
        ("*;q=0.5, gzip;q=0.2", "identity"),
        ("*;q=0.5, gzip;q=0", "identity"),
        ("identity;q=0", ""),
        ("identity;q=0, gzip", "gzip"),
        ("identity;q=0, *", "gzip"),
        ("*;q=0", ""),
        ("*;q=0, gzip", "gzip"),
        ("*;q=0, identity", "identity"),
        ("gzip;q=0, *;q=0", ""),
        ("gzip;q=0, identity;q=0", ""),
        ("gzip;q=x", "identity"),
        ("gzip;q=2", "identity"),
        ("gzip;q=-1", "identity"),
        ("gzip;q=0.0001", "identity"),
        ("gzipped", "identity"),
        (",,gzip,,", "gzip"),
        (";q=1,;;;,=", "identity"),
    )

    def test_the_page_comes_in_the_coding_that_is_preferred(self) -> None:
        plain = self.get("/").body
        for header, coding in self.ENCODINGS:
            self.assertEqual(negotiation.encoding(header), coding, header)
            reply = self.get("/", Accept_Encoding=header)
            self.assertEqual(reply.headers["vary"], "Accept-Encoding")
            if not coding:
                self.refused(reply, 406)
                continue
            self.assertEqual(reply.status, 200, header)
            self.assertEqual(reply.headers.get("content-encoding"), "gzip" if coding == "gzip" else None, header)
            self.assertEqual(gzip.decompress(reply.body) if coding == "gzip" else reply.body, plain)

    def test_each_coding_has_a_tag_of_its_own(self) -> None:
        self.assertNotEqual(self.get("/").headers["etag"], self.get("/", Accept_Encoding="gzip").headers["etag"])

    def test_what_has_one_form_is_sent_in_that(self) -> None:
        self.shelf.files = {"a": DATA}
        for path in ("/me", "/files", "/files/a", "/healthz"):
            for headers in ({"Accept_Encoding": "identity;q=0"}, {"Accept": "image/png"}, {"Accept_Language": "de"}):
                reply = self.get(path, **headers)
                self.assertEqual((reply.status, "content-encoding" in reply.headers), (200, False), (path, headers))

    def test_people_are_refused_with_a_page(self) -> None:
        for accept, is_page in [
            (PAGE, True),
            ("text/html", True),
            ("TEXT/HTML;level=1", True),
            ("application/json, text/html;q=0.9", False),
            ("text/html, application/json;q=0.9", True),
            ("text/html;q=0", False),
            ("text/html;q=x", False),
            ("*/*", False),
            ("text/*", False),
            ("application/json", False),
            ("", False),
        ]:
            self.assertEqual(negotiation.is_html(accept), is_page, accept)
            for path, status in [("/nothing", 404), ("/files/nothing", 404), ("/members", 403), ("/leave", 405)]:
                reply = self.get(path, key="", Accept=accept)
                self.assertEqual(reply.status, status)
                kind = "text/html; charset=utf-8" if is_page else "application/json"
                self.assertEqual(reply.headers["content-type"], kind, accept)
                self.assertIn("default-src 'none'", reply.headers["content-security-policy"])
        self.assertEqual(self.ask("HEAD", "/nothing", Accept=PAGE).body, b"")

    def test_a_page_of_a_refusal_contains_no_markup_of_others(self) -> None:
        reply = self.get("/files/%3Cb%3E%22&", Accept=PAGE)
        self.assertIn(b"<p>There is no file &lt;b&gt;&quot;&amp;.</p>", reply.body)


class UnknownNameTests(WebTestCase):
    """Section 15.5.20 (421): a name that the server does not know, opened in a browser."""

    hosts = TrustedHosts(frozenset(["chat.example.org"]))

    def test_a_page_says_what_to_tell_the_operator(self) -> None:
        reply = self.get("/", Host="chat.example.com:8080", Accept=PAGE)
        self.assertEqual((reply.status, reply.headers["content-type"]), (421, "text/html; charset=utf-8"))
        for words in ("<!doctype html>", "--web-host chat.example.com,", "make run OPTIONS=", "by its address"):
            self.assertIn(words, reply.body.decode())

    def test_a_malformed_name_is_not_repeated(self) -> None:
        for host in ("<script>", "a'b", "a b.example.com", "x" * 300 + ".com", "\xff.com", "a.com/;rm"):
            reply = self.get("/", Host=host, Accept=PAGE)
            self.assertEqual(reply.status, 421)
            self.assertNotIn(host, reply.body.decode())
            self.assertEqual(reply.body.count(b"<p>"), 1)

    def test_programs_are_told_in_json(self) -> None:
        self.refused(self.get("/", Host="chat.example.com", Accept="*/*"), 421, "--web-host")
        self.refused(self.get("/", Host="chat.example.com"), 421, "--web-host")


class TargetTests(WebTestCase):
    """RFC 9112, section 3.2: targets; RFC 9110, sections 4.2 and 7.4."""

    hosts = TrustedHosts(frozenset(["chat.example.org"]))

    def test_an_absolute_target_is_understood(self) -> None:
        for target, status in [
            ("http://localhost:8080/me", 200),
            ("HTTP://LOCALHOST/me", 200),
            ("http://chat.example.org/me", 200),
            ("http://[::1]:8080/me", 200),
            ("http://localhost", 200),
            ("http://localhost?x=y", 200),
            ("http://localhost/nothing", 404),
            ("http://evil.example/me", 421),
            ("http://localhost@evil.example/me", 400),
            ("http://user:word@localhost/me", 400),
            ("http:///me", 400),
            ("http://:8080/me", 421),
            ("https://localhost/me", 421),
            ("ftp://localhost/me", 400),
            ("http:/me", 404),
            ("//localhost/me", 404),
            ("*", 404),
        ]:
            self.assertEqual(self.ask("GET", target).status, status, target)

    def test_the_host_of_the_target_counts(self) -> None:
        self.assertEqual(self.ask("GET", "http://localhost/me", Host="evil.example").status, 200)
        self.refused(self.ask("GET", "http://evil.example/me", Host="localhost"), 421)
        said = {"Origin": "http://localhost:8080"}
        self.assertEqual(self.ask("POST", "http://localhost:8080/messages?name=x", "hi", Host="x", **said).status, 200)
        self.refused(self.ask("POST", "http://other:8080/messages?name=x", "hi", Host="localhost:8080", **said), 403)

    def test_an_absolute_target_needs_a_host_header_too(self) -> None:
        line = self.line()
        line.send(b"GET http://localhost/me HTTP/1.1\r\n\r\n")
        self.assertIn(b"HTTP/1.1 400 ", line.heard())

    def test_a_target_of_a_file_and_a_query_is_read(self) -> None:
        self.shelf.files = {"ü": b"abc"}
        self.assertEqual(self.ask("GET", "http://localhost/files/%C3%BC").body, b"abc")
        reply = self.ask("POST", "http://localhost/messages?name=J%C3%BCrg", "hi")
        self.assertEqual((reply.status, self.told()), (200, ["Jürg: hi"]))

    def test_utf8_in_a_target_is_read_as_it_is(self) -> None:
        self.shelf.files = {"日本 ü.txt": b"abc"}
        for name in ("Jürg", "日本", "Zoë 2", "Ωmega", "😀x"):
            raw = name.replace(" ", "+").encode()
            line = self.line()
            line.send(b"POST /messages?name=%s HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi" % raw)
            self.assertIn(b"HTTP/1.1 200 ", line.heard(), name)
            self.assertEqual(self.told(), [f"{name}: hi"])
        line = self.line()
        line.send("GET /files/日本%20ü.txt HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        self.assertTrue(line.heard().endswith(b"\r\n\r\nabc"))

    def test_bytes_that_are_not_utf8_are_refused(self) -> None:
        for raw in (b"/messages?name=J\xfcrg", b"/messages?name=\xed\xa0\x80", b"/files/\xff", b"/files/\xc0\xaf"):
            line = self.line()
            line.send(b"%s %s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"GET" if b"files" in raw else b"POST", raw))
            self.assertIn(b"HTTP/1.1 400 ", line.heard(), raw)

    def test_bytes_that_are_not_ascii_are_in_the_target_only(self) -> None:
        for raw in ("GËT /me HTTP/1.1", "GET /me HTTP/1.1é", "GET /mé HTTP/1.\xb2"):
            line = self.line()
            line.send(f"{raw}\r\nHost: x\r\n\r\n".encode())
            self.assertIn(b"HTTP/1.1 400 ", line.heard(), raw)
        line = self.line()
        line.send(b"GET /" + b"\xc3" * 10_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertIn(b"HTTP/1.1 431 ", line.heard())


class ContentTests(WebTestCase):
    """Section 8 (content and how it is coded), 9.3 (methods), 10.1.1 (Expect), 15.5.14 and 15.5.16; RFC 9112, 6.3."""

    def test_without_a_length_there_is_no_body(self) -> None:
        self.join()
        self.assertEqual(self.ask("POST", "/leave", key=KEY).status, 204)
        self.assertEqual(self.ask("POST", "/password").status, 204)
        for path, words in [("/messages?name=x", "nothing"), ("/name", "")]:
            empty, without = self.ask("POST", path, b""), self.ask("POST", path)
            self.assertEqual((without.status, without.json), (empty.status, empty.json), path)
            self.assertEqual(without.status, 409, words)
        self.assertEqual(self.ask("PUT", "/files/empty?name=cron").status, 201)
        self.assertEqual(self.shelf.files, {"empty": b""})

    def test_a_connection_goes_on_after_an_empty_body(self) -> None:
        line = self.line()
        line.send(b"POST /leave HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        first, rest = parse(line.heard())
        self.assertEqual((first.status, parse(rest)[0].body), (204, b"ok\n"))

    def test_parts_of_a_form_are_not_taken_for_content(self) -> None:
        form = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc\r\n--x--\r\n'
        for kind in ("multipart/form-data; boundary=x", "Multipart/Form-Data;boundary=x", "multipart/byteranges"):
            for method, path in [("PUT", "/files/a?name=cron"), ("POST", "/messages?name=cron"), ("POST", "/name")]:
                self.refused(self.ask(method, path, form, Content_Type=kind), 415, "part of a form")
        self.assertEqual((self.told(), self.shelf.files), ([], {}))

    def test_coded_content_is_refused(self) -> None:
        for coding, status in [("gzip", 415), ("identity, br", 415), ("x", 415), ("Identity", 201), ("", 201)]:
            reply = self.ask("PUT", "/files/a?name=cron", b"abc", Content_Encoding=coding)
            self.assertEqual(reply.status, status, coding)
            if status == 415:
                self.assertEqual(reply.headers["accept-encoding"], "identity")
                self.refused(self.ask("POST", "/messages?name=x", "hi", Content_Encoding=coding), 415)

    def test_a_refusal_before_the_body_asks_for_none(self) -> None:
        for more in ("Content-Range: bytes 0-1/2", "Content-Encoding: gzip", "Content-Type: multipart/form-data"):
            line = self.line()
            head = f"PUT /files/x?name=cron HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n{more}\r\nExpect: 100-continue"
            line.send(f"{head}\r\n\r\n".encode())
            reply, _ = parse(line.heard())
            self.assertEqual((reply.status in (400, 415), reply.interim), (True, 0), more)
            self.assertEqual(reply.headers["connection"], "close")

    def test_bodies_are_bounded_whoever_asks(self) -> None:
        for method, path, most in [
            ("POST", "/messages?name=x", MAX_WEB_BODY),
            ("POST", "/leave", MAX_WEB_BODY),
            ("GET", "/me", 0),
            ("PUT", "/files/x?name=x", MAX_FILE),
        ]:
            self.refused(self.ask(method, path, b"", Content_Length=str(most + 1)), 413, "at most")

    def test_a_posted_text_is_in_utf8(self) -> None:
        self.refused(self.post("/messages?name=x", "grüße".encode("latin-1"), ""), 400, "UTF-8")
        self.assertEqual(self.post("/messages?name=x", "grüße", "").status, 200)

    def test_head_is_get_without_content(self) -> None:
        self.shelf.files = {"a": DATA}
        self.join()
        for path in ("/", "/page.js", "/me", "/members", "/history", "/files", "/files/a", "/nothing", "/healthz"):
            head, get = self.ask("HEAD", path, key=KEY), self.get(path)
            self.assertEqual((head.status, head.body), (get.status, b""), path)
            for reply in (head, get):
                del reply.headers["date"]
            self.assertEqual(head.headers, get.headers, path)
