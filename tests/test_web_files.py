"""Files over HTTP, without sockets: downloads, ranges, headers and uploads."""

from __future__ import annotations

from typing import Any

from groupchat.core.errors import NotNow
from groupchat.core.limits import FILE_CHUNK, MAX_DOWNLOADS_HOST, MAX_UPLOADS_EACH
from tests.shelves import hash_of
from tests.web import KEY, MAX_FILE, Line, WebTestCase, parse

DATA = bytes(range(256)) * 4


class DownloadTests(WebTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.shelf.files = {
            "a.bin": DATA,
            "photo.PNG": b"png",
            "page.html": b"<script>",
            "empty": b"",
            "ü (1).txt": b"x",
        }

    def test_a_file_is_sent_with_its_headers(self) -> None:
        reply = self.get("/files/a.bin")
        self.assertEqual((reply.status, reply.body), (200, DATA))
        self.assertEqual(reply.headers["etag"], f'"{hash_of(DATA)}"')
        self.assertEqual(reply.headers["accept-ranges"], "bytes")
        self.assertEqual(reply.headers["last-modified"], "Thu, 01 Jan 1970 00:00:12 GMT")
        self.assertEqual(self.get("/files/empty").body, b"")

    def test_only_images_are_shown_inline(self) -> None:
        for name, kind, way in [
            ("photo.PNG", "image/png", "inline"),
            ("page.html", "application/octet-stream", "attachment"),
            ("a.bin", "application/octet-stream", "attachment"),
        ]:
            headers = self.get(f"/files/{name}").headers
            self.assertEqual(headers["content-type"], kind)
            self.assertTrue(headers["content-disposition"].startswith(f"{way};"), name)
            self.assertEqual(headers["x-content-type-options"], "nosniff")
            self.assertIn("sandbox", headers["content-security-policy"])

    def test_file_names_are_encoded_and_checked(self) -> None:
        reply = self.get("/files/%C3%BC%20(1).txt")
        self.assertEqual(reply.body, b"x")
        shown = reply.headers["content-disposition"]
        self.assertEqual(shown, "attachment; filename=\"_ (1).txt\"; filename*=UTF-8''%C3%BC%20%281%29.txt")
        self.refused(self.get("/files/%ff"), 400)
        for name in ["", "nothing", "..", "%2e%2e%2fx", "a%2fb", ".groupchat", "%00"]:
            self.refused(self.get(f"/files/{name}"), 404)

    def test_a_reader_that_takes_nothing_uses_little_memory(self) -> None:
        self.shelf.files["big"] = bytes(8 * FILE_CHUNK)
        line = self.line()
        write, written = line.transport.write, 0

        def full(data: bytes) -> None:
            nonlocal written
            written += len(data)
            write(data)
            if len(data) > 10_000:
                line.channel.pauseProducing()

        line.transport.write = full  # type: ignore[method-assign]
        self.request("GET", "/files/big", line=line)
        self.assertLess(written, 2 * FILE_CHUNK)
        for _ in range(20):
            line.channel.resumeProducing()
        reply, _ = parse(line.heard())
        self.assertEqual(len(reply.body), 8 * FILE_CHUNK)

    def test_a_reader_that_is_full_again_at_once_can_stall(self) -> None:
        self.shelf.files["big"] = bytes(8 * FILE_CHUNK)
        line = self.line()
        write = line.transport.write

        def full(data: bytes) -> None:
            write(data)
            if len(data) > 10_000:
                line.channel.pauseProducing()

        line.transport.write = full  # type: ignore[method-assign]
        self.request("GET", "/files/big", line=line)
        line.channel.resumeProducing()
        self.pass_time(self.site.stall - 1)
        self.assertFalse(line.is_dropped)
        self.pass_time(2)
        self.assertTrue(line.is_dropped)

    def test_a_lost_reader_leaves_nothing_open(self) -> None:
        self.shelf.slow = True
        line = self.request("GET", "/files/a.bin")
        self.shelf.go_on()
        line.lose()
        self.shelf.go_on()
        self.assertEqual(self.shelf.open_now, 0)

    def test_a_download_of_a_changed_file_is_aborted(self) -> None:
        self.shelf.slow = True
        line = self.request("GET", "/files/a.bin")
        self.shelf.go_on()
        self.shelf.go_on()
        self.shelf.refuses = NotNow("It has changed.")
        self.shelf.files["b"] = bytes(3 * FILE_CHUNK)
        self.shelf.refuses = None
        line = self.request("GET", "/files/b")
        self.shelf.go_on()
        self.shelf.refuses = NotNow("It has changed.")
        self.shelf.go_on()
        self.assertTrue(line.is_dropped)
        self.assertLess(len(line.heard()), 3 * FILE_CHUNK)

    def test_transfers_of_one_host_are_limited(self) -> None:
        self.shelf.slow = True
        for _ in range(MAX_DOWNLOADS_HOST):
            self.request("GET", "/files/a.bin")
        self.refused(self.get("/files/a.bin"), 503, "Too many")
        self.assertEqual(len(self.lobby.registry.downloads), MAX_DOWNLOADS_HOST)
        self.lobby.registry.downloads.take("10.0.0.8")
        self.lobby.registry.downloads.give_back("10.0.0.8")

    def test_files_are_listed(self) -> None:
        (first, *_) = self.get("/files").json["files"]
        self.assertEqual(first, {"name": "a.bin", "size": 1024, "at": 12.7, "sha256": hash_of(DATA)})


class HalfClosedTests(WebTestCase):
    """Clients that half-close right after the request, as netcat does."""

    def test_a_half_closed_request_is_answered_later(self) -> None:
        self.shelf.files = {"x": b"abc"}
        self.shelf.slow = True
        line = self.line()
        line.send(b"GET /files/x HTTP/1.1\r\nHost: x\r\n\r\n")
        line.channel.readConnectionLost()
        self.assertEqual((line.heard(), line.is_over), (b"", False))
        for _ in range(5):
            self.shelf.go_on()
        self.assertTrue(line.heard().endswith(b"abc"))
        self.assertTrue(line.is_over)
        line.lose()

    def test_half_a_request_is_dropped(self) -> None:
        head = self.lobby.service.group.history.head
        for data in (b"", b"GET /me HT", b"POST /messages?name=a HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhel"):
            line = self.line()
            line.send(data)
            line.channel.readConnectionLost()
            self.assertTrue(line.is_over or line.is_dropped, data)
            line.lose()
        self.assertEqual(self.lobby.service.group.history.head, head)


class UploadTests(WebTestCase):
    def put(self, name: str = "a.bin", data: bytes = DATA, key: str = KEY, **headers: Any) -> Line:
        return self.request("PUT", f"/files/{name}", data, key=key, **headers)

    def test_a_member_can_upload(self) -> None:
        self.join()
        reply, _ = parse(self.put().heard())
        self.assertEqual((reply.status, reply.json), (201, {"name": "a.bin"}))
        self.assertEqual(self.shelf.files["a.bin"], DATA)
        self.assertEqual(self.told()[-1], "Alice shared a.bin (1.0 kB)")
        self.assertEqual(self.shelf.owners["a.bin"].name, "Alice")

    def test_a_guest_can_upload(self) -> None:
        reply, _ = parse(self.put("a.bin?name=cron", key="").heard())
        self.assertEqual(reply.status, 201)
        self.assertEqual(self.told(), ["cron shared a.bin (1.0 kB)"])

    def test_an_upload_needs_a_name(self) -> None:
        self.refused(parse(self.put(key="").heard())[0], 403)
        self.assertEqual(self.shelf.files, {})

    def test_a_name_in_use_is_changed(self) -> None:
        self.join()
        self.put()
        self.assertEqual(parse(self.put().heard())[0].json, {"name": "another a.bin"})

    def test_a_large_file_is_refused_before_its_body(self) -> None:
        self.join()
        line = self.line()
        head = f"PUT /files/x HTTP/1.1\r\nHost: x\r\nCookie: groupchat={KEY}\r\nExpect: 100-continue\r\n"
        line.send(f"{head}Content-Length: {MAX_FILE + 1}\r\n\r\n".encode())
        reply, _ = parse(line.heard())
        self.assertEqual((reply.status, reply.interim), (413, 0))

    def test_the_sender_is_paused_while_the_disk_is_slow(self) -> None:
        self.join()
        self.shelf.slow = True
        data = bytes(10 * FILE_CHUNK)
        head = f"PUT /files/x HTTP/1.1\r\nHost: x\r\nCookie: groupchat={KEY}\r\nContent-Length: {len(data)}\r\n\r\n"
        line = self.line()
        line.send(head.encode())
        at = 0
        while at < len(data):
            if line.transport.producerState == "producing":
                line.send(data[at : at + 65536])
                at += 65536
            else:
                self.shelf.go_on()
        for _ in range(10):
            self.shelf.go_on()
        self.assertEqual(parse(line.heard())[0].status, 201)
        self.assertEqual(self.shelf.files["x"], data)
        self.assertLessEqual(self.shelf.most_unwritten, 2 * FILE_CHUNK)

    def test_continue_is_sent_once_there_is_room(self) -> None:
        self.join()
        self.shelf.slow = True
        line = self.line()
        head = f"PUT /files/x HTTP/1.1\r\nHost: x\r\nCookie: groupchat={KEY}\r\nExpect: 100-continue\r\n"
        line.send(f"{head}Content-Length: 3\r\n\r\n".encode())
        self.assertEqual(line.heard(), b"")
        self.shelf.go_on()
        self.assertEqual(line.heard(), b"HTTP/1.1 100 Continue\r\n\r\n")
        line.send(b"abc")
        for _ in range(5):
            self.shelf.go_on()
        self.assertEqual(parse(line.heard())[0].status, 201)

    def test_a_broken_upload_is_forgotten(self) -> None:
        self.join()
        line = self.line()
        head = f"PUT /files/x HTTP/1.1\r\nHost: x\r\nCookie: groupchat={KEY}\r\nContent-Length: 100\r\n\r\n"
        line.send(head.encode() + b"abc")
        line.lose()
        self.lobby.settle()
        self.assertEqual((self.shelf.files, self.shelf.parts, self.shelf.events), ({}, {}, ["drop"]))

    def test_a_complete_upload_outlives_its_connection(self) -> None:
        self.join()
        self.shelf.slow = True
        line = self.put()
        line.lose()
        for _ in range(10):
            self.shelf.go_on()
        self.assertEqual(self.told()[-1], "Alice shared a.bin (1.0 kB)")

    def test_a_silent_upload_times_out(self) -> None:
        self.join()
        line = self.line()
        head = f"PUT /files/x HTTP/1.1\r\nHost: x\r\nCookie: groupchat={KEY}\r\nContent-Length: 100\r\n\r\n"
        line.send(head.encode() + b"abc")
        self.pass_time(58)
        line.send(b"d")
        self.pass_time(58)
        self.assertFalse(line.is_over)
        self.pass_time(4)
        self.assertIn(b"HTTP/1.1 408 ", line.heard())
        self.assertTrue(line.is_over)

    def test_an_upload_the_shelf_refuses_is_refused(self) -> None:
        self.join()
        self.shelf.refuses = NotNow("The shelf is full.")
        self.refused(parse(self.put().heard())[0], 503, "full")

    def test_a_member_who_left_meanwhile_shares_nothing(self) -> None:
        self.join()
        self.shelf.slow = True
        line = self.put()
        self.assertEqual(self.post("/leave").status, 204)
        for _ in range(10):
            self.shelf.go_on()
            self.lobby.settle()
        self.refused(parse(line.heard())[0], 409, "no longer")
        self.assertEqual(self.shelf.files, {})

    def test_transfers_of_one_host_are_limited(self) -> None:
        self.join()
        self.shelf.slow = True
        for number in range(MAX_UPLOADS_EACH):
            self.put(f"{number}")
        self.refused(parse(self.put("more").heard())[0], 503, "Too many")

    def test_a_member_who_left_elsewhere_can_join_again(self) -> None:
        self.join()
        self.shelf.slow = True
        self.put()
        caller = self.lobby.call()
        caller.send(f"/resume {KEY} 0", "1 /quit")
        self.assertIn("ok 1", caller.heard())
        self.join("Alicia")
        self.assertEqual(self.told()[-1], "Alicia has joined")
        caller.lose()

    def test_an_upload_keeps_the_session_in_use(self) -> None:
        self.join()
        self.shelf.slow = True
        line = self.put()
        self.pass_time(400)
        for _ in range(10):
            self.shelf.go_on()
        self.assertEqual(parse(line.heard())[0].status, 201)
        self.pass_time(10)


class UploadByByteTests(UploadTests):
    step = 7
