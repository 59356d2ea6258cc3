"""Hostile and mistaken HTTP: each request gets a short answer, changes nothing, and leaves nothing behind."""

from __future__ import annotations

import random
from ipaddress import ip_network
from typing import Any

from groupchat.core.limits import (
    MAX_WEB_BODY,
    MAX_WEB_HEAD,
    MAX_WEB_UNSENT_EACH,
    WEB_HEAD_SECONDS,
    WEB_IDLE_SECONDS,
    WEB_LINGER_SECONDS,
    Limits,
)
from groupchat.frontends.web.guard import TrustedHosts
from tests.web import KEY, Line, WebTestCase, parse


class SiteTests(WebTestCase):
    """Requests from pages of other sites, and host names that were made to point here."""

    hosts = TrustedHosts(frozenset(["chat.example.org"]))

    def test_other_sites_cannot_post(self) -> None:
        self.join()
        self.told()
        for headers in [
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://localhost:8081"},
            {"Origin": "http://localhost:8080.evil.example"},
            {"Sec_Fetch_Site": "cross-site"},
            {"Sec_Fetch_Site": "same-site"},
            {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"},
            {"Sec_Fetch_Site": "x", "Origin": "http://localhost:8080"},
        ]:
            for path in ["/messages?name=x", "/name", "/leave", "/password"]:
                self.refused(self.post(path, "hi", **headers), 403, "another site")
        self.assertEqual(self.told(), [])

    def test_other_sites_cannot_read(self) -> None:
        for path in ["/", "/me", "/files", "/events"]:
            self.refused(self.get(path, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors"), 403)
            self.refused(self.get(path, Origin="https://evil.example"), 403)
        self.assertEqual(self.get("/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate").status, 200)

    def test_the_page_itself_can_post(self) -> None:
        for headers in [
            {"Origin": "http://localhost:8080", "Sec_Fetch_Site": "same-origin"},
            {"Origin": "http://LOCALHOST:8080"},
            {"Sec_Fetch_Site": "none"},
            {},
        ]:
            self.assertEqual(self.post("/messages?name=x", "hi", **headers).status, 200, headers)

    def test_names_that_strangers_cannot_own_are_allowed(self) -> None:
        for host in [
            *("localhost", "localhost:8080", "127.0.0.1:1", "192.168.1.2", "[::1]:8080", "[::1]", "pi", "pi.local"),
            *("PI.LOCAL.", "a.home.arpa:80", "chat.example.org:443", "Chat.Example.Org"),
        ]:
            self.assertEqual(self.get("/me", Host=host).status, 200, host)

    def test_other_host_names_are_refused(self) -> None:
        for host in [
            *("evil.example", "evil.example:8080", "127.0.0.1.evil.example", "xchat.example.org", "www.evillocal"),
            *("chat.example.org.evil.example", "1.2.3.4.5", "a b", "a@b", "a/b", "localhost:port", "[::1", ".."),
            "x" * 300,
        ]:
            self.refused(self.get("/me", Host=host), 421, "--web-host")

    def test_the_host_header_is_sent_exactly_once(self) -> None:
        line = self.line()
        line.send(b"GET /me HTTP/1.1\r\n\r\n")
        self.assertIn(b"HTTP/1.1 400 ", line.heard())
        line = self.line()
        line.send(b"GET /me HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        self.assertIn(b"HTTP/1.1 400 ", line.heard())

    def test_http_1_0_needs_no_host_header(self) -> None:
        line = self.line()
        line.send(b"GET /me HTTP/1.0\r\n\r\n")
        self.assertIn(b" 200 OK", line.heard())
        self.assertTrue(line.is_over)


class ProxyTests(WebTestCase):
    """Clients behind a trusted proxy, and clients that only claim to be."""

    limits = Limits(max_per_host=1)
    hosts = TrustedHosts(proxies=(ip_network("10.0.0.7/32"), ip_network("::1/128")))

    def host(self, forwarded: str, *, line: Line | None = None) -> str:
        self.post("/leave")
        reply = self.ask("POST", "/name", "Alice", line=line, X_Forwarded_For=forwarded, Authorization=f"Bearer {KEY}")
        self.assertEqual(reply.status, 200)
        return self.lobby.service.group.by_key["alice"].host

    def test_a_trusted_proxy_says_where_a_client_is(self) -> None:
        self.assertEqual(self.host("192.0.2.1"), "192.0.2.1")
        self.assertEqual(self.host("203.0.113.9, 192.0.2.1"), "192.0.2.1")  # a client can write what is before it
        self.assertEqual(self.host("2001:db8::1"), "2001:db8::1")
        for nothing in ["", "unknown", "1.2.3", "192.0.2.1,", "a" * 1000]:
            self.assertEqual(self.host(nothing), "10.0.0.7")

    def test_other_clients_cannot_say_where_they_are(self) -> None:
        self.assertEqual(self.host("192.0.2.1", line=self.line("10.0.0.8")), "10.0.0.8")

    def test_cookies_are_secure_behind_a_proxy_with_tls(self) -> None:
        self.assertIn("; Secure", self.post("/name", "Alice", "", X_Forwarded_Proto="https").cookies[0])
        self.assertNotIn("; Secure", self.post("/name", "Carol", "", X_Forwarded_Proto="http").cookies[0])
        reply = self.ask("POST", "/name", "Dora", line=self.line("10.0.0.8"), X_Forwarded_Proto="https")
        self.assertNotIn("; Secure", reply.cookies[0])


class ShapeTests(WebTestCase):
    """Malformed requests, and requests that two parsers would read differently."""

    def answer(self, raw: bytes) -> int:
        """Return the status of the only answer, after which the connection is closed."""
        line = self.line()
        line.send(raw)
        reply, rest = parse(line.heard())
        self.assertEqual(rest, b"", raw[:80])
        self.assertLess(len(reply.body), 200)
        self.assertIn("error", reply.json)
        self.pass_time(WEB_LINGER_SECONDS + 1)
        self.assertTrue(line.is_over, raw[:80])
        return reply.status

    def test_malformed_requests_get_a_400(self) -> None:
        for raw in [
            b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
            b"hello\r\n\r\n",
            b"GET\r\n\r\n",
            b"GET /\r\n\r\n",
            b"GET / HTTP/2.0\r\n\r\n",
            b"GET / HTTP/1.1 x\r\n\r\n",
            b"GET  / HTTP/1.1\r\n\r\n",
            b"G T / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
            b"GET / HTTP/1.1\r\n folded: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\x00y\r\n\r\n",
            b"GET /a\x00b HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\nContent-Length: 3\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ]:
            self.assertEqual(self.answer(raw), 400, raw)

    def test_any_bytes_in_any_header_are_answered(self) -> None:
        for name in [
            *("Authorization", "Cookie", "Origin", "Expect", "Content-Type", "Connection", "Sec-Fetch-Site"),
            *("Sec-Fetch-Mode", "X-Forwarded-For", "Last-Event-ID", "Accept-Encoding"),
            *("If-None-Match", "If-Modified-Since", "If-Range", "Range"),
        ]:
            for path in ["/", "/me", "/files/a", "/events", "/metrics"]:
                line = self.line()
                self.shelf.files["a"] = b"abc"
                head = f"GET {path} HTTP/1.1\r\nHost: x\r\n{name}: ".encode()
                line.send(head + b"\xff\xbd \x80=;, \xe9\r\n\r\n")
                status = parse(line.heard())[0].status
                self.assertIn(status, (200, 400, 403, 417), (name, path))
        line = self.line()
        line.send(b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n")
        self.assertIn(b"HTTP/1.1 421 ", line.heard())

    def test_ambiguous_lengths_are_refused(self) -> None:
        for fields in [
            b"Content-Length: 3\r\nContent-Length: 3",
            b"Content-Length: 3\r\nContent-Length: 4",
            b"Content-Length: 3\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: chunked\r\nContent-Length: 3",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: xchunked",
            b"Transfer-Encoding: chunked, gzip",
            b"Transfer-Encoding: identity",
            b"Transfer-Encoding: ",
            b"Transfer-Encoding: chunked\r\nContent-Length: 0",
            b"Content-Length: 0\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: chunked\r\n\tX",
            b"Content-Length: +3",
            b"Content-Length: -1",
            b"Content-Length: 0x3",
            b"Content-Length: 3, 3",
            b"Content-Length: ",
        ]:
            raw = b"POST /messages?name=x HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n\r\nabcGET / HTTP/1.1\r\n\r\n"
            self.assertEqual(self.answer(raw), 400, fields)
        self.assertEqual(self.told(), [])

    def test_other_transfer_codings_are_not_implemented(self) -> None:
        for coding in (b"gzip, chunked", b"gzip,chunked", b"chunked, chunked"):
            head = b"POST /messages?name=x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: " + coding + b"\r\n\r\n"
            self.assertEqual(self.answer(head + b"2\r\nhi\r\n0\r\n\r\n"), 501)
        self.assertEqual(self.told(), [])

    def test_large_heads_are_refused(self) -> None:
        for raw, status in [
            (b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
            (b"GET /" + b"x" * (MAX_WEB_HEAD + 1), 431),
            (b"GET / HTTP/1.1\r\nX: " + b"x" * (MAX_WEB_HEAD + 1), 431),
            (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1000, 431),
            (b"GET / HTTP/1.1\r\n" + (b"X: " + b"y" * 1000 + b"\r\n") * 20, 431),
        ]:
            line = self.line()
            line.send(raw)
            self.assertIn(b"HTTP/1.1 %d " % status, line.heard(), raw[:30])

    def test_unknown_methods_and_paths_are_refused(self) -> None:
        self.refused(self.ask("DELETE", "/me"), 405)
        self.assertEqual(self.ask("GET", "/messages").headers["allow"], "POST")
        self.refused(self.ask("POST", "/me", "x"), 405)
        self.refused(self.ask("OPTIONS", "/me"), 405)
        self.refused(self.ask("BREW", "/nothing"), 404)
        self.refused(self.ask("OPTIONS", "*"), 404)
        self.refused(self.ask("CONNECT", "localhost:22"), 404)
        self.refused(self.ask("GET", "/me", "a body"), 413)
        self.refused(self.ask("POST", "/messages?name=x", "x", Expect="wonders"), 417)

    def test_queries_are_bounded(self) -> None:
        self.refused(self.post("/messages?" + "a=b&" * 50 + "name=x", "hi", key=""), 400, "query")

    def test_requests_cannot_inject_headers(self) -> None:
        for path in ["/me%0d%0aX:%20y", "/files/a%0d%0aX:%20y", "/%0d%0aX: y", "/events?after=1%0d%0a"]:
            line = self.line()
            line.send(f"GET {path} HTTP/1.1\r\nHost: x\r\nCookie: groupchat={KEY}%0d%0aX: y\r\n\r\n".encode())
            head = line.heard().partition(b"\r\n\r\n")[0]
            self.assertNotIn(b"X:", head)

    def test_headers_do_not_name_the_software(self) -> None:
        for header, value in self.get("/me", key="").headers.items():
            self.assertNotIn("twisted", (header + value).lower())

    def test_expect_100_continue_is_answered(self) -> None:
        line = self.line()
        head = "POST /messages?name=x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-Continue\r\n\r\n"
        line.send(head.encode())
        self.assertEqual(line.heard(), b"HTTP/1.1 100 Continue\r\n\r\n")
        line.send(b"hi")
        self.assertEqual(parse(line.heard())[0].status, 200)

    def test_a_refused_request_is_not_told_to_continue(self) -> None:
        line = self.line()
        head = (
            f"POST /messages?name=x HTTP/1.1\r\nHost: x\r\nContent-Length: {MAX_WEB_BODY + 1}\r\nExpect: 100-continue"
        )
        line.send(head.encode() + b"\r\n\r\n")
        reply, _ = parse(line.heard())
        self.assertEqual((reply.status, reply.interim, reply.headers["connection"]), (413, 0, "close"))

    def test_random_bytes_do_no_harm(self) -> None:
        noise = random.Random(7)
        parts = [b"GET ", b"POST ", b"/", b"/me", b" HTTP/1.1", b"\r\n", b"\n", b"Host: x", b": ", b"Content-Length: 5"]
        parts += [b"Transfer-Encoding: chunked", b"\x00", b"\xff", b" ", b"abcde", b"\r\n\r\n", b"5\r\n", b"0\r\n\r\n"]
        for _ in range(500):
            line = self.line()
            line.send(b"".join(noise.choices(parts, k=noise.randrange(30))))
            line.heard()
            line.lose()
        self.assertEqual(self.told(), [])


class NoiseByteByByteTests(ShapeTests):
    step = 1


class TimeTests(WebTestCase):
    """Every wait for a client has an end."""

    limits = Limits(name_within=10)

    def closed_after(self, line: Line, seconds: float) -> bytes:
        """Return what arrived on a connection that is closed after so many seconds, and not before."""
        self.pass_time(seconds - 2)
        self.assertFalse(line.is_over)
        self.pass_time(3)
        self.assertTrue(line.is_over)
        return line.heard()

    def test_a_silent_connection_is_closed(self) -> None:
        self.assertEqual(self.closed_after(self.line(), 10), b"")

    def test_a_slow_head_is_refused(self) -> None:
        line = self.line()
        for byte in b"GET / HTTP/1.1\r\nX":
            line.send(bytes([byte]))
            self.pass_time(1)
        self.assertFalse(line.is_over)
        self.pass_time(WEB_HEAD_SECONDS - 15)
        self.assertIn(b"HTTP/1.1 408 ", line.heard())
        self.assertTrue(line.is_over)

    def test_a_slow_body_is_refused(self) -> None:
        line = self.line()
        line.send(b"POST /messages?name=x HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
        for _ in range(15):
            line.send(b"x")
            self.pass_time(1)
        self.assertFalse(line.is_over)
        self.pass_time(WEB_HEAD_SECONDS - 13)
        self.assertIn(b"HTTP/1.1 408 ", line.heard())
        self.assertTrue(line.is_over)
        self.assertEqual(self.told(), [])

    def test_a_slow_body_after_another_request_is_refused(self) -> None:
        line = self.line()
        line.send(b"GET /me HTTP/1.1\r\nHost: x\r\n\r\nPOST /name HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx")
        self.assertEqual(parse(line.heard())[0].status, 200)
        self.pass_time(WEB_HEAD_SECONDS + 1)
        self.assertIn(b"HTTP/1.1 408 ", line.heard())

    def test_an_idle_connection_is_closed(self) -> None:
        line = self.request("GET", "/healthz")
        line.heard()
        self.assertEqual(self.closed_after(line, WEB_IDLE_SECONDS), b"")

    def test_a_client_that_reads_nothing_is_dropped(self) -> None:
        line = self.request("GET", "/healthz")
        line.channel.pauseProducing()
        self.pass_time(59)
        self.assertFalse(line.is_dropped)
        self.pass_time(2)
        self.assertTrue(line.is_over)
        self.pass_time(61)
        self.assertTrue(line.is_dropped)

    def test_a_disk_that_does_not_answer_means_503(self) -> None:
        self.shelf.slow = True
        line = self.request("GET", "/files")
        self.pass_time(21)
        self.refused(parse(line.heard())[0], 503, "ask again")

    def test_a_client_that_stops_reading_a_file_is_dropped(self) -> None:
        self.shelf.slow = True
        self.shelf.files["a"] = bytes(9)
        line = self.request("GET", "/files/a")
        line.channel.pauseProducing()
        self.pass_time(59)
        self.assertFalse(line.is_dropped)
        self.pass_time(2)
        self.assertTrue(line.is_dropped)

    def test_the_body_of_a_refused_request_is_not_kept(self) -> None:
        line = self.line()
        line.send(b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
        self.assertIn(b"HTTP/1.1 404 ", line.heard())
        decoder: Any = line.channel._transferDecoder
        request = decoder.dataCallback.__self__
        for _ in range(3):
            line.send(b"x" * 100_000)
            self.pass_time(1)
        self.assertEqual(request.body, b"")
        self.assertTrue(line.is_over)
        self.assertEqual(line.heard(), b"")

    def test_the_connection_closes_after_a_refused_body(self) -> None:
        line = self.line()
        line.send(b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
        self.assertIn(b"HTTP/1.1 404 ", line.heard())
        self.assertFalse(line.is_over)
        line.send(b"67890GET /me HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual((line.heard(), line.is_over), (b"", True))

    def test_a_client_that_does_not_close_is_dropped(self) -> None:
        line = self.request("GET", "/healthz", Connection="close")
        line.heard()
        self.assertTrue(line.is_over)
        self.pass_time(59)
        self.assertFalse(line.is_dropped)
        self.pass_time(2)
        self.assertTrue(line.is_dropped)

    def test_connections_count_towards_the_common_limit(self) -> None:
        self.lobby.registry.limits = Limits(max_connections=2)
        self.lobby.call()
        self.line()
        with self.assertRaises(AssertionError):
            self.line()
        self.assertEqual(self.lobby.registry.refused, 1)
        self.lobby.registry.connections.clear()
        self.lines.clear()
        self.site.deadlines._deadlines.clear()

    def test_the_backlog_of_one_host_is_bounded(self) -> None:
        self.shelf.files = {f"{number} {'x' * 200}": b"" for number in range(2000)}
        lines = []
        for _ in range(20):
            line = self.line()
            self.patch(line.transport, "write", lambda data, line=line: line.channel.pauseProducing())
            lines.append(line)
            self.request("GET", "/files", line=line)
            self.lobby.settle()
        self.assertGreater(len(self.site.backlog), MAX_WEB_UNSENT_EACH)
        self.assertLess(len(self.site.backlog), MAX_WEB_UNSENT_EACH + 1_000_000)
        self.refused(self.get("/files"), 503, "first")
        lines[0].lose()
        lines[1].channel.resumeProducing()
        self.assertLess(len(self.site.backlog), MAX_WEB_UNSENT_EACH)
        self.assertEqual(self.get("/files").status, 200)

    def test_pipelined_answers_wait_until_the_last_one_is_taken(self) -> None:
        for files in (False, True):  # an answer in one piece, and one that is read from the disk
            self.shelf.files = {"x": b"x" * 100_000} if files else {f"{n} {'x' * 200}": b"" for n in range(500)}
            line = self.line()
            written: list[bytes] = []

            def write(data: bytes, line: Line = line, written: list[bytes] = written) -> None:
                written.append(data)
                if len(data) > 65536:
                    line.channel.pauseProducing()

            self.patch(line.transport, "write", write)
            self.patch(line.transport, "writeSequence", lambda parts, write=write: write(b"".join(parts)))
            line.send(b"GET /files%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"/x" if files else b"") * 300)
            for taken in range(1, 4):
                line.heard()
                self.assertEqual(b"".join(written).count(b"HTTP/1.1 200"), taken)
                line.channel.resumeProducing()
            line.lose()

    def test_pipelined_requests_are_bounded(self) -> None:
        self.shelf.slow = True
        line = self.request("GET", "/files")
        for _ in range(100):
            line.send(b"GET /me HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
        self.assertEqual(line.transport.producerState, "paused")
        self.assertLess(sum(map(len, line.channel._dataBuffer)), 100_000)
