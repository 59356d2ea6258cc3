"""Resumable uploads over HTTP: tus 1.0.0, without sockets. Files in a directory are in test_announced."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha1
from typing import Any

from groupchat.core.commands import Ban, Mute, OperatorCommand, Unmute
from groupchat.core.errors import IllegalMessage, NotNow
from groupchat.core.limits import MAX_METADATA, MAX_UPLOADS_EACH, Limits
from groupchat.files import NoShelf
from groupchat.frontends.web.site import Site
from tests.test_numbers import NO_NUMBERS, TOO_LARGE
from tests.web import HOST, KEY, MAX_FILE, ROUTES, Line, Reply, WebTestCase, parse

DATA = bytes(range(256)) * 4
BYTES = "application/offset+octet-stream"
OTHER = "f" * 32


def metadata(name: str) -> str:
    return f"filename {b64encode(name.encode()).decode()},filetype,is/odd eA=="


def checksum(data: bytes) -> str:
    return f"sha1 {b64encode(sha1(data).digest()).decode()}"


class ResumableTestCase(WebTestCase):
    def tus(self, method: str, path: str, body: bytes | None = None, **more: Any) -> Line:
        more.setdefault("Tus_Resumable", "1.0.0")
        more.setdefault("key", KEY)
        return self.request(method, path, body, **more)

    def reply(self, line: Line) -> Reply:
        reply, _ = parse(line.heard(), head=line.is_head)
        self.assertEqual(reply.headers["tus-resumable"], "1.0.0")
        return reply

    def tells(self, method: str, path: str, body: bytes | None = None, **more: Any) -> Reply:
        line = self.tus(method, path, body, **more)
        line.is_head = method == "HEAD"
        return self.reply(line)

    def create(self, size: int = len(DATA), name: str = "a.bin", query: str = "", **more: Any) -> Reply:
        more.setdefault("Upload_Metadata", metadata(name))
        return self.tells("POST", f"/uploads{query}", b"", Upload_Length=str(size), **more)

    def begun(self, size: int = len(DATA), name: str = "a.bin", query: str = "", **more: Any) -> str:
        """Announce a file, and return the path of its upload."""
        reply = self.create(size, name, query, **more)
        self.assertEqual((reply.status, reply.body), (201, b""))
        return reply.headers["location"]

    def patch_line(self, path: str, data: bytes, offset: int, **more: Any) -> Line:
        more.setdefault("Content_Type", BYTES)
        return self.tus("PATCH", path, data, Upload_Offset=str(offset), **more)

    def send(self, path: str, data: bytes, offset: int, **more: Any) -> Reply:
        return self.reply(self.patch_line(path, data, offset, **more))

    def offset(self, path: str, **more: Any) -> int:
        reply = self.tells("HEAD", path, **more)
        self.assertEqual(reply.status, 200)
        return int(reply.headers["upload-offset"])

    def half(self, path: str, data: bytes, size: int = len(DATA), key: str = KEY) -> Line:
        """Send the head of a PATCH, and only the beginning of its body."""
        line = self.line()
        head = f"PATCH {path} HTTP/1.1\r\nHost: x\r\nCookie: groupchat={key}\r\nTus-Resumable: 1.0.0\r\n"
        head += f"Content-Type: {BYTES}\r\nUpload-Offset: 0\r\nContent-Length: {size}\r\n\r\n"
        line.send(head.encode() + data)
        return line

    def operate(self, command: OperatorCommand) -> None:
        command.by = "root"
        self.lobby.service.operate(command)
        self.lobby.settle()


class ProtocolTests(ResumableTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.join()

    def test_options_say_what_there_is(self) -> None:
        for path in ("/uploads", "/uploads/", "/uploads/x"):
            reply = self.tells("OPTIONS", path, Tus_Resumable="")
            self.assertEqual(reply.status, 204)
            found = [
                reply.headers[f"tus-{name}"] for name in ("version", "extension", "checksum-algorithm", "max-size")
            ]
            self.assertEqual(found, ["1.0.0", "creation,termination,expiration,checksum", "sha1", str(MAX_FILE)])

    def test_a_file_is_sent_in_several_requests(self) -> None:
        path = self.begun()
        at = 0
        for end in (0, 1, 500, 1024):
            self.assertEqual(self.offset(path), at)
            reply = self.send(path, DATA[at:end], at)
            self.assertEqual((reply.status, reply.headers["upload-offset"]), (204, str(end)))
            self.assertEqual("upload-expires" in reply.headers, end < 1024)
            at = end
        self.assertEqual(reply.headers["location"], "/files/a.bin")
        self.assertEqual(self.shelf.files, {"a.bin": DATA})
        self.assertEqual(self.shelf.owners["a.bin"].name, "Alice")
        self.assertEqual(self.told()[-1], "Alice shared a.bin (1.0 kB)")

    def test_a_sender_that_missed_the_answer_learns_it(self) -> None:
        path = self.begun()
        self.send(path, DATA, 0)
        reply = self.tells("HEAD", path)
        self.assertEqual([reply.headers[f"upload-{what}"] for what in ("offset", "length")], ["1024", "1024"])
        self.assertEqual(reply.headers["location"], "/files/a.bin")
        self.assertNotIn("upload-expires", reply.headers)
        self.refused(self.send(path, b"", 1024), 409, "1024")
        self.refused(self.tells("DELETE", path), 403, "shared")
        self.assertEqual(len(self.told()), 2)

    def test_head_tells_what_was_announced(self) -> None:
        reply = self.tells("HEAD", self.begun())
        self.assertEqual(reply.headers["upload-metadata"], metadata("a.bin"))
        self.assertEqual(reply.headers["cache-control"], "no-store")
        self.assertEqual(reply.headers["upload-expires"], "Sun, 09 Sep 2001 01:46:40 GMT")

    def test_an_empty_file_is_shared_at_once(self) -> None:
        path = self.begun(0)
        self.assertEqual(self.shelf.files, {"a.bin": b""})
        self.assertEqual((self.offset(path), self.told()[-1]), (0, "Alice shared a.bin (0 B)"))

    def test_an_empty_file_that_is_refused_leaves_nothing(self) -> None:
        self.lobby.service.may_share = lambda *_: None  # type: ignore[method-assign]
        self.operate(Mute("Alice", why="noise"))
        self.refused(self.create(0), 403, "muted")
        self.assertEqual((self.shelf.files, self.shelf.announced), ({}, {}))

    def test_a_request_without_the_version_is_refused(self) -> None:
        path = self.begun()
        for method, where in [("POST", "/uploads"), ("HEAD", path), ("PATCH", path), ("DELETE", path)]:
            for version in ("", "0.2.2", "1.0.0, 1.0.0"):
                reply = self.tells(method, where, Tus_Resumable=version, Upload_Offset="0", Content_Type=BYTES)
                self.assertEqual((reply.status, reply.headers["tus-version"]), (412, "1.0.0"))

    def test_a_wrong_offset_changes_nothing(self) -> None:
        path = self.begun()
        self.send(path, DATA[:100], 0)
        for offset in (0, 99, 101, 1023, 1024):
            self.refused(self.send(path, DATA[offset : offset + 10], offset), 409, "100")
        self.assertEqual(self.offset(path), 100)

    def test_more_bytes_than_announced_are_refused(self) -> None:
        path = self.begun()
        self.refused(self.send(path, DATA + b"x", 0), 413, "1024 bytes")
        self.refused(self.send(path, b"x", MAX_FILE), 413)
        line = self.tus("PATCH", path, Upload_Offset="0", Content_Type=BYTES, Transfer_Encoding="chunked")
        line.send(b"400\r\n" + DATA + b"\r\n1\r\nx\r\n0\r\n\r\n")
        self.refused(parse(line.heard())[0], 413)
        self.assertEqual(self.shelf.files, {})

    def test_a_chunked_body_is_taken(self) -> None:
        path = self.begun()
        line = self.tus("PATCH", path, Upload_Offset="0", Content_Type=BYTES, Transfer_Encoding="chunked")
        line.send(b"400\r\n" + DATA + b"\r\n0\r\n\r\n")
        self.assertEqual(self.reply(line).status, 204)
        self.assertEqual(self.shelf.files, {"a.bin": DATA})

    def test_another_content_type_is_refused(self) -> None:
        path = self.begun()
        for kind in ("", "application/octet-stream", "text/plain", "multipart/form-data; boundary=x"):
            self.assertEqual(self.send(path, DATA, 0, Content_Type=kind).status, 415)
        self.assertEqual(self.send(path, DATA, 0, Content_Type=f"{BYTES}; charset=x").status, 204)

    def test_a_body_in_a_coding_is_refused(self) -> None:
        self.assertEqual(self.send(self.begun(), DATA, 0, Content_Encoding="gzip").status, 415)

    def test_the_method_may_be_in_a_header(self) -> None:
        path = self.begun()
        reply = self.tells(
            "POST", path, DATA[:9], Upload_Offset="0", Content_Type=BYTES, X_HTTP_Method_Override="PATCH"
        )
        self.assertEqual((reply.status, reply.headers["upload-offset"]), (204, "9"))
        reply = self.tells("POST", path, b"", X_HTTP_Method_Override="HEAD")
        self.assertEqual((reply.status, reply.headers["upload-offset"], reply.body), (200, "9", b""))
        self.assertEqual(self.tells("POST", path, b"", X_HTTP_Method_Override="DELETE").status, 204)
        self.assertEqual(self.tells("HEAD", path).status, 404)
        self.assertEqual(self.post("/leave", X_HTTP_Method_Override="GET").status, 204)

    def test_an_upload_that_is_given_up_is_forgotten(self) -> None:
        path = self.begun()
        self.send(path, DATA[:100], 0)
        self.assertEqual(self.tells("DELETE", path).status, 204)
        self.assertEqual(self.shelf.announced, {})
        for method in ("HEAD", "PATCH", "DELETE"):
            self.assertEqual(self.tells(method, path, Upload_Offset="100", Content_Type=BYTES).status, 404)

    def test_other_methods_are_refused(self) -> None:
        for method, path in [("GET", "/uploads"), ("PUT", "/uploads"), ("GET", "/uploads/x"), ("POST", "/uploads/x")]:
            reply = self.ask(method, path)
            self.assertEqual((reply.status, "OPTIONS" in reply.headers["allow"]), (405, True))


class ChecksumTests(ResumableTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.join()

    def test_bytes_with_the_right_checksum_count(self) -> None:
        path = self.begun()
        self.assertEqual(self.send(path, DATA[:500], 0, Upload_Checksum=checksum(DATA[:500])).status, 204)
        self.assertEqual(self.send(path, DATA[500:], 500, Upload_Checksum=checksum(DATA[500:])).status, 204)
        self.assertEqual(self.shelf.files, {"a.bin": DATA})

    def test_bytes_with_a_wrong_checksum_do_not_count(self) -> None:
        path = self.begun()
        self.send(path, DATA[:500], 0)
        for data in (DATA[500:600], DATA[500:]):
            self.refused(self.send(path, data, 500, Upload_Checksum=checksum(b"other")), 460, "another")
            self.assertEqual(self.offset(path), 500)
        self.assertEqual(self.shelf.files, {})

    def test_other_checksums_are_refused_before_the_body(self) -> None:
        path = self.begun()
        good = checksum(DATA)
        for given in (
            "md5 AAAA",
            "sha1",
            "sha1 ",
            "sha1 AAAA",
            "sha1 !",
            good[:-1],
            f"{good},{good}",
            "SHA1" + good[4:],
        ):
            self.refused(self.send(path, DATA, 0, Upload_Checksum=given), 400, "sha1")
        self.assertEqual(self.offset(path), 0)


class BrokenTests(ResumableTestCase):
    """Connections that break, or stay open without anybody behind them."""

    def setUp(self) -> None:
        super().setUp()
        self.join()

    def test_what_came_before_a_break_is_kept(self) -> None:
        path = self.begun()
        line = self.half(path, DATA[:300])
        line.lose()
        self.lobby.settle()
        self.assertEqual(self.offset(path), 300)
        self.assertEqual(self.send(path, DATA[300:], 300).status, 204)
        self.assertEqual(self.shelf.files, {"a.bin": DATA})

    def test_a_connection_that_nobody_noticed_is_displaced(self) -> None:
        path = self.begun()
        line = self.half(path, DATA[:300])
        self.assertEqual(self.offset(path), 300)
        self.assertIn(b"HTTP/1.1 503 ", line.heard())
        line.send(DATA[300:])  # comes too late
        again = self.half(path, b"")
        self.assertEqual(self.send(path, DATA[300:], 300).status, 204)
        self.assertEqual(self.shelf.files, {"a.bin": DATA})
        self.assertIn(b"HTTP/1.1 409 ", again.heard())
        self.assertEqual(len(self.site.resumed), 0)

    def test_stale_connections_take_no_places(self) -> None:
        paths = [self.begun(name=f"{n}") for n in range(MAX_UPLOADS_EACH)]
        more = self.begun(name="more")
        for path in paths:
            self.half(path, DATA[:10])
        self.refused(self.send(more, DATA, 0), 503, "Too many")
        self.assertEqual([self.offset(path) for path in paths], [10] * len(paths))
        self.assertEqual(self.send(more, DATA, 0).status, 204)

    def test_one_host_announces_few_uploads_at_once(self) -> None:
        self.shelf.slow = True
        lines = [self.tus("POST", "/uploads", b"", Upload_Length="9") for _ in range(MAX_UPLOADS_EACH)]
        self.refused(self.create(), 503, "Too many")
        self.shelf.go_on()
        self.assertEqual([self.reply(line).status for line in lines], [201] * len(lines))

    def test_giving_up_ends_the_request_under_way(self) -> None:
        path = self.begun()
        line = self.half(path, DATA[:300])
        self.assertEqual(self.tells("DELETE", path).status, 204)
        self.assertIn(b"HTTP/1.1 503 ", line.heard())
        self.assertEqual((self.shelf.announced, self.shelf.files), ({}, {}))

    def test_head_waits_until_a_whole_file_is_shared(self) -> None:
        path = self.begun()
        self.shelf.slow = True
        line = self.patch_line(path, DATA, 0)
        for _ in range(3):
            self.shelf.go_on()
        line.lose()
        head = self.tus("HEAD", path)
        head.is_head = True
        for _ in range(10):
            self.shelf.go_on()
            self.lobby.settle()
        self.assertEqual(self.reply(head).headers["upload-offset"], "1024")
        self.assertEqual(self.told()[-1], "Alice shared a.bin (1.0 kB)")

    def test_a_silent_sender_times_out_and_goes_on(self) -> None:
        path = self.begun()
        line = self.half(path, DATA[:300])
        self.pass_time(62)
        self.assertIn(b"HTTP/1.1 408 ", line.heard())
        line.lose()
        self.lobby.settle()
        self.assertEqual(self.offset(path), 300)

    def test_the_shelf_may_refuse_for_now(self) -> None:
        path = self.begun()
        self.shelf.refuses = NotNow("The shelf is full.")
        reply = self.send(path, DATA, 0)
        self.refused(reply, 503, "full")
        self.assertIn("retry-after", reply.headers)
        self.refused(self.create(), 503, "full")
        self.shelf.refuses = IllegalMessage("Your files may take at most 2 GB.")
        self.refused(self.create(), 403, "2 GB")
        self.shelf.refuses = None
        self.assertEqual(self.offset(path), 0)


class ResumableByByteTests(BrokenTests):
    step = 7


class WhoTests(ResumableTestCase):
    """Who may begin an upload, and who may go on with it."""

    def test_strangers_begin_no_uploads(self) -> None:
        self.refused(self.create(key=""), 403, "join first")
        self.assertEqual(self.shelf.announced, {})

    def test_only_who_began_an_upload_goes_on_with_it(self) -> None:
        self.join()
        self.join("Mallory", OTHER)
        path = self.begun()
        guest = self.begun(query="?name=cron", key="")
        strangers = [(path, OTHER, ""), (path, "", "?name=Alice"), (path, "", "?name=cron"), (path, "", "")]
        strangers += [(guest, KEY, ""), (guest.replace("cron", "corn"), "", ""), (guest.partition("?")[0], "", "")]
        for where, key, query in strangers:
            for method in ("HEAD", "PATCH", "DELETE"):
                reply = self.tells(method, where + query, Upload_Offset="0", Content_Type=BYTES, key=key)
                self.assertIn(reply.status, (403, 404), (where, key, query))
        self.assertEqual(self.send(path, DATA, 0).status, 204)
        self.assertEqual(self.send(guest, DATA, 0, key="").status, 204)

    def test_nobody_else_ends_a_request_that_sends(self) -> None:
        self.join()
        self.join("Mallory", OTHER)
        path = self.begun()
        line = self.half(path, DATA[:300])
        for method in ("HEAD", "PATCH", "DELETE"):
            reply = self.tells(method, path, Upload_Offset="0", Content_Type=BYTES, key=OTHER)
            self.assertEqual(reply.status, 404)
        line.send(DATA[300:])
        self.assertIn(b"HTTP/1.1 204 ", line.heard())
        self.assertEqual(self.shelf.files, {"a.bin": DATA})

    def test_a_guest_finds_its_name_in_the_location(self) -> None:
        path = self.begun(query="?name=r%C3%A9my%20%26%20co", key="")
        self.assertTrue(path.endswith("?name=r%C3%A9my%20%26%20co"), path)
        self.assertEqual(self.send(path, DATA, 0, key="").status, 204)
        self.assertEqual(self.told(), ["rémy & co shared a.bin (1.0 kB)"])

    def test_a_member_who_left_cannot_go_on(self) -> None:
        self.join()
        path = self.begun()
        self.send(path, DATA[:10], 0)
        self.post("/leave")
        self.refused(self.send(path, DATA[10:], 10), 403, "join first")
        self.join("Alice", OTHER)
        self.refused(self.send(path, DATA[10:], 10, key=OTHER), 404, "no such upload")

    def test_who_is_muted_shares_nothing_until_unmuted(self) -> None:
        self.join()
        path = self.begun()
        line = self.half(path, DATA[:-1])
        self.operate(Mute("Alice", why="noise"))
        line.send(DATA[-1:])
        self.refused(parse(line.heard())[0], 403, "muted")
        self.assertEqual(self.shelf.files, {})
        self.refused(self.create(), 403, "muted")
        self.refused(self.send(path, DATA[-1:], 1023), 403, "muted")
        self.assertEqual(self.offset(path), 1023)
        self.operate(Unmute("Alice"))
        self.assertEqual(self.send(path, DATA[-1:], 1023).status, 204)
        self.assertEqual(self.shelf.files, {"a.bin": DATA})

    def test_who_is_banned_is_refused_everywhere(self) -> None:
        self.join()
        path = self.begun()
        self.operate(Ban(HOST, why="noise", sure=True))
        for method, where in [("POST", "/uploads"), ("HEAD", path), ("PATCH", path), ("DELETE", path)]:
            self.assertEqual(self.tells(method, where, Upload_Length="9", Upload_Offset="0").status, 403)

    def test_the_page_of_another_site_is_refused(self) -> None:
        self.join()
        for method in ("OPTIONS", "POST", "PATCH", "DELETE"):
            reply = self.request(
                method, "/uploads/x", b"", key=KEY, Origin="http://evil.example", Tus_Resumable="1.0.0"
            )
            self.refused(parse(reply.heard())[0], 403, "another site")

    def test_a_group_without_files_has_no_uploads(self) -> None:
        self.join()
        self.site.has_files, self.site.shelf = False, NoShelf()
        self.refused(self.create(), 404, "No files")
        self.assertEqual(Site(self.lobby.registry, ROUTES).has_files, False)


class PasswordTests(ResumableTestCase):
    limits = Limits(password=b"sesame")

    def test_guests_need_the_password_for_each_request(self) -> None:
        basic: dict[str, Any] = {"Authorization": f"Basic {b64encode(b'cron:sesame').decode()}"}
        self.assertEqual(self.create(key="").status, 401)
        path = self.begun(key="", **basic)
        self.assertEqual(self.send(path, DATA, 0, key="").status, 401)
        self.assertEqual(self.tells("HEAD", path, key="").status, 401)
        self.assertEqual(self.send(path, DATA, 0, key="", **basic).status, 204)
        self.assertEqual(self.told(), ["cron shared a.bin (1.0 kB)"])


class HostileTests(ResumableTestCase):
    """Heads that no client of tus sends."""

    def setUp(self) -> None:
        super().setUp()
        self.join()

    def test_what_is_no_number_of_bytes_is_refused(self) -> None:
        path = self.begun()
        for number in {*NO_NUMBERS, *TOO_LARGE, "9, 9", "9;q=1"}:
            if number.isascii() and number.strip() not in ("1", ""):
                self.assertIn(self.tells("POST", "/uploads", b"", Upload_Length=number).status, (400, 413), number)
                reply = self.tells("PATCH", path, b"", Upload_Offset=number, Content_Type=BYTES)
                self.assertIn(reply.status, (400, 409), number)
        self.refused(self.create(MAX_FILE + 1), 413, str(MAX_FILE))
        self.assertEqual(self.create(MAX_FILE).status, 201)
        self.assertEqual(len(self.shelf.announced), 2)

    def test_metadata_that_cannot_be_read_is_refused(self) -> None:
        odd = [
            "filename  YQ==",
            "filename YQ=",
            "filename YQ==,filename Yg==",
            "filename !",
            "YQ==,,x",
            ",",
        ]
        odd += ["filename /w==", "a b c", "filename YQ==\tx", "\u00e9 YQ==", "x " + "YWFh" * (MAX_METADATA // 4)]
        for given in odd:
            self.refused(self.create(Upload_Metadata=given), 400, "Upload-Metadata")
        self.assertEqual(self.shelf.announced, {})

    def test_a_file_without_a_name_gets_one(self) -> None:
        for given, name in [("", "file"), ("filename", "file"), ("name YQ==", "a"), ("name YQ==,filename Yg==", "b")]:
            path = self.begun(Upload_Metadata=given)
            self.assertEqual(self.shelf.announced[path.rpartition("/")[2]].name, name)

    def test_extensions_that_are_missing_are_refused(self) -> None:
        for name, value in (("Upload_Concat", "partial"), ("Upload_Concat", "final;/a"), ("Upload_Defer_Length", "1")):
            header: dict[str, Any] = {name: value}
            self.refused(self.create(**header), 400, "extension")

    def test_a_body_with_the_creation_is_refused(self) -> None:
        self.assertEqual(self.tells("POST", "/uploads", b"x", Upload_Length="1", Content_Type=BYTES).status, 413)

    def test_unknown_uploads_are_not_there(self) -> None:
        for name in ("x", "..", "%00", "a%2fb", "0" * 64, "x" * 3000, "%C3%BC"):
            for method in ("HEAD", "PATCH", "DELETE"):
                reply = self.tells(method, f"/uploads/{name}", Upload_Offset="0", Content_Type=BYTES)
                self.assertEqual(reply.status, 404)

    def test_a_slow_disk_pauses_the_sender(self) -> None:
        self.shelf.slow = True
        line = self.tus("POST", "/uploads", b"", Upload_Length="3000000")
        self.shelf.go_on()
        path = self.reply(line).headers["location"]
        line = self.half(path, b"", 3_000_000)
        sent = 0
        while sent < 3_000_000:
            if line.transport.producerState == "producing":
                line.send(bytes(60_000))
                sent += 60_000
            else:
                self.shelf.go_on()
        for _ in range(10):
            self.shelf.go_on()
        self.assertEqual(self.reply(line).status, 204)
        self.assertLess(self.shelf.most_unwritten, 600_000)
