"""HTTP with a real daemon, over real sockets: with http.client, and with curl, if it is installed."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, TestCase

from tests.certificates import make_certificate
from tests.daemon import TWISTD, Daemon, UDPMember

SECONDS = 30.0
KEY = "0123456789abcdef" * 2


class Script:
    """A client with a key. Each request has a connection of its own."""

    def __init__(self, port: int, key: str = KEY, context: ssl.SSLContext | None = None) -> None:
        self._port = port
        self._key = key
        self._context = context
        self.headers: dict[str, str] = {}

    def connect(self) -> http.client.HTTPConnection:
        if self._context is not None:
            return http.client.HTTPSConnection("localhost", self._port, timeout=SECONDS, context=self._context)
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=SECONDS)

    def open(self, method: str, path: str, body: Any = None, **headers: str) -> http.client.HTTPResponse:
        fields = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        fields |= self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        connection = self.connect()
        connection.request(method, path, body, fields)
        return connection.getresponse()

    def ask(self, method: str, path: str, body: Any = None, status: int = 200, **headers: Any) -> bytes:
        with self.open(method, path, body, **headers) as response:
            found = response.read()
        assert response.status == status, (response.status, found)
        return found

    def json(self, method: str, path: str, body: Any = None, **headers: Any) -> Any:
        return json.loads(self.ask(method, path, body, **headers))

    def join(self, name: str) -> None:
        self.ask("POST", "/name", name)

    def say(self, text: str, number: int = 0) -> None:
        body = {"text": text} | ({"id": str(number)} if number else {})
        self.ask("POST", "/messages", json.dumps(body), Content_Type="application/json")

    def events(self, after: int | None = None) -> Stream:
        headers = {} if after is None else {"Last_Event_ID": str(after)}
        return Stream(self.open("GET", "/events", **headers))


class Stream:
    """A stream of events. `last` is the id of the last event."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        assert response.status == 200, response.read()
        self._response = response
        self.last = 0

    def blocks(self) -> Iterator[dict[str, str]]:
        fields: dict[str, str] = {}
        while line := self._response.readline().decode():
            if line != "\n":
                name, _, value = line.rstrip("\n").partition(": ")
                fields[name] = value
            elif fields:
                self.last = int(fields.get("id", self.last))
                yield fields
                fields = {}

    def lines(self, count: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while len(found) < count:
            block = next(self.blocks())
            if "data" in block:
                found.append(json.loads(block["data"]))
        return found

    def texts(self, count: int) -> list[str]:
        return [line["text"] for line in self.lines(count)]

    def rest(self) -> list[dict[str, str]]:
        """Return all events until the stream ends or breaks."""
        found = []
        try:
            for block in self.blocks():
                found.append(block)
        except OSError:
            pass
        return found

    def close(self) -> None:
        self._response.close()


class WebDaemonTestCase(TestCase):
    """A test with a daemon that serves the page."""

    options: tuple[str, ...] = ()

    def setUp(self) -> None:
        self.directory = tempfile.TemporaryDirectory(prefix="groupchat-test-")
        self.addCleanup(self.directory.cleanup)
        self.web = "0"
        self.start()
        self.addCleanup(self.stop)

    def stop(self) -> None:
        self.daemon.stop()

    def start(self, *more: str) -> None:
        options = ["--web", self.web, "--rate", "0", "--files", "files", *self.options, *more]
        self.daemon = Daemon("--interface", "127.0.0.1", *options, directory=self.directory)
        (port,) = self.daemon.web
        self.port, self.web = port, str(port)

    def script(self, name: str = "", key: str = KEY) -> Script:
        script = Script(self.port, key)
        if name:
            script.join(name)
        return script

    def curl(self, *words: str, data: bytes = b"") -> tuple[int, str]:
        """Return the status and the body that curl got. `data` is its input."""
        program = shutil.which("curl")
        if program is None:
            raise SkipTest("there is no curl")
        command = [program, "--silent", "--show-error", "--max-time", "60", "--write-out", "\n%{http_code}", *words]
        done = subprocess.run(command, input=data, capture_output=True, timeout=90, check=False)
        body, _, status = done.stdout.decode().rpartition("\n")
        return int(status or 0), body

    def check_no_parts(self) -> None:
        """Wait until no part of an upload is left."""
        folder = Path(self.directory.name) / "files" / ".groupchat"
        deadline = time.monotonic() + SECONDS
        while list(folder.glob("*.part")) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertEqual(list(folder.glob("*.part")), [])

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


class ConversationTests(WebDaemonTestCase):
    def test_page_and_udp_members_talk_to_each_other(self) -> None:
        alice, carol = self.script("Alice"), self.script("Carol", "ee" * 16)
        bob = UDPMember(self.daemon.port)
        self.addCleanup(bob.close)
        bob.ask("1 Bob")
        first, tab, second = alice.events(), alice.events(), carol.events()
        alice.say("hello")
        bob.ask("2 hi there")
        carol.say("welcome")
        for stream in (first, tab, second):
            self.assertEqual(stream.texts(3), ["hello", "hi there", "welcome"])
            stream.close()
        self.assertEqual(bob.ask("5"), "Carol: welcome")

    def test_a_stream_is_told_that_the_daemon_stops(self) -> None:
        stream = self.script("Alice").events()
        next(stream.blocks())
        output = self.daemon.stop()
        self.assertEqual(stream.rest(), [{"event": "stopping", "data": "{}"}])
        self.assertNotIn("Traceback", output)
        self.assertNotIn("Unhandled", output)

    def test_metrics_count_live_readers(self) -> None:
        alice = self.script("Alice")
        stream = alice.events()
        figures = alice.ask("GET", "/metrics").decode()
        self.assertIn("groupchat_event_streams 1.0", figures)
        self.assertIn("groupchat_live 1.0", figures)
        self.assertEqual(alice.ask("GET", "/healthz"), b"ok\n")
        stream.close()


class RestartTests(WebDaemonTestCase):
    def test_killing_the_daemon_loses_and_doubles_nothing(self) -> None:
        alice, carol = self.script("Alice"), self.script("Carol", "ee" * 16)
        seen: list[str] = []
        stream, said = carol.events(), 0
        for _ in range(3):
            for _ in range(20):
                said += 1
                alice.say(f"text {said}", said)
            seen += stream.texts(10)  # the daemon is killed before the others are read
            self.daemon.kill()
            with self.assertRaises(OSError):
                alice.say("nobody hears this")
            self.start()
            alice.say(f"text {said}", said)  # again, as if its answer had been lost
            stream.close()
            stream = carol.events(stream.last)
        seen += stream.texts(said - len(seen))
        self.assertEqual(seen, [f"text {number}" for number in range(1, said + 1)])
        alice.say("the end")
        self.assertEqual(stream.texts(1), ["the end"])
        stream.close()

    def test_a_session_that_is_not_resumed_leaves(self) -> None:
        self.daemon.stop()
        self.start("--hold", "1")
        alice = self.script("Alice")
        self.daemon.kill()
        self.start("--hold", "1")
        deadline = time.monotonic() + SECONDS
        while b"groupchat_members 0.0" not in Script(self.port, "").ask("GET", "/metrics"):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)
        self.assertIsNone(Script(self.port).json("GET", "/me")["name"])
        self.assertIsNotNone(alice)


class PasswordTests(WebDaemonTestCase):
    def start(self, *more: str) -> None:
        path = Path(self.directory.name) / "password"
        path.write_text("open sesame\n")
        super().start("--password-file", str(path), *more)

    def test_the_cookie_of_the_password_survives_a_restart(self) -> None:
        script = Script(self.port, "")
        script.ask("GET", "/me", status=401)
        with script.open("POST", "/password", "open sesame") as response:
            self.assertEqual(response.status, 204)
            cookie = (response.headers["Set-Cookie"] or "").partition(";")[0]
        script = Script(self.port)
        script.headers = {"Cookie": cookie}
        script.join("Alice")
        self.daemon.kill()
        self.start()
        self.assertEqual(script.json("GET", "/me")["name"], "Alice")

    def test_curl_sends_the_password(self) -> None:
        said = ("-d", "backup done", self.url("/messages"))
        self.assertEqual(self.curl("-u", "cron:open sesame", *said), (200, '{"number": 1}'))
        self.assertEqual(self.curl(*said)[0], 401)
        self.assertEqual(self.curl("-u", "cron:wrong", *said)[0], 401)
        self.assertEqual(self.curl("-u", "cron:open sesame", self.url("/metrics"))[0], 200)


class CurlTests(WebDaemonTestCase):
    def test_one_curl_command_says_a_text(self) -> None:
        stream = self.script("Alice").events()
        said = self.curl("-d", "backup done", self.url("/messages?name=cron"))
        self.assertEqual(said, (200, '{"number": 2}'))
        self.assertEqual(self.curl("-d", "hi", self.url("/messages?name=Alice"))[0], 409)
        self.assertEqual(self.curl("-d", "hi", "-H", "Origin: http://evil", self.url("/messages?name=x"))[0], 403)
        (line,) = stream.lines(1)
        self.assertEqual((line["name"], line["text"], line["by"]), ("cron", "backup done", "0"))
        stream.close()

    def test_curl_keeps_the_cookie(self) -> None:
        jar = str(Path(self.directory.name) / "jar")
        self.assertEqual(self.curl("-c", jar, "-d", "Alice", self.url("/name"))[0], 200)
        status, body = self.curl("-b", jar, self.url("/me"))
        self.assertEqual((status, json.loads(body)["name"]), (200, "Alice"))

    def test_curl_sends_fetches_and_resumes_files(self) -> None:
        path, back = Path(self.directory.name) / "data.bin", Path(self.directory.name) / "back.bin"
        path.write_bytes(os.urandom(3_000_001))
        status, body = self.curl("-T", str(path), self.url("/files/data.bin?name=cron"))
        self.assertEqual((status, json.loads(body)), (201, {"name": "data.bin"}))
        self.assertEqual(self.curl("-o", str(back), self.url("/files/data.bin"))[0], 200)
        self.assertEqual(back.read_bytes(), path.read_bytes())
        back.write_bytes(path.read_bytes()[:1_000_000])
        self.assertEqual(self.curl("-C", "-", "-o", str(back), self.url("/files/data.bin"))[0], 206)
        self.assertEqual(back.read_bytes(), path.read_bytes())

    def test_a_file_that_is_too_large_is_refused_at_once(self) -> None:
        self.daemon.stop()
        self.start("--max-file", "1")
        path = Path(self.directory.name) / "data.bin"
        path.write_bytes(bytes(30_000_000))
        for more in [(), ("-H", "Expect:")]:
            status, body = self.curl(*more, "-T", str(path), self.url("/files/data.bin?name=cron"))
            self.assertEqual(status, 413)
            self.assertIn("at most", json.loads(body)["error"])
        self.check_no_parts()

    def test_curl_sends_what_a_program_writes(self) -> None:
        self.daemon.stop()
        self.start("--max-file", "2")
        folder = Path(self.directory.name) / "files"
        for size, status in [(0, 201), (1, 201), (2_000_000, 201), (2_000_001, 413), (30_000_000, 413)]:
            for more in ([], ["-H", "Expect: 100-continue"]):
                data, name = os.urandom(size), f"{size}{len(more)}"
                answer = self.curl(*more, "-T", "-", self.url(f"/files/{name}?name=cron"), data=data)
                self.assertEqual(answer[0], status, answer)
                self.assertEqual((folder / name).exists(), status == 201)
                if status == 201:
                    self.assertEqual((folder / name).read_bytes(), data)
        self.check_no_parts()
        said = self.curl("-H", "Transfer-Encoding: chunked", "-d", "hi", self.url("/messages?name=x"))
        self.assertEqual(said[0], 200)

    def test_curl_cannot_share_a_part_or_a_form(self) -> None:
        path = Path(self.directory.name) / "ten.bin"
        path.write_bytes(b"0123456789")
        url = self.url("/files/ten.bin?name=cron")
        self.assertEqual(self.curl("-C", "5", "-T", str(path), url)[0], 400)
        self.assertEqual(self.curl("-X", "PUT", "-F", f"file=@{path}", url)[0], 415)
        self.assertEqual(self.curl("-F", "text=hello", self.url("/messages?name=cron"))[0], 415)
        self.assertEqual(json.loads(self.curl(self.url("/files"))[1]), {"files": []})

    def test_curl_asks_as_it_does_a_proxy(self) -> None:
        url = f"http://localhost:{self.port}/me"
        self.assertEqual(self.curl("--proxy", self.url("/"), "--noproxy", "", url)[0], 200)
        self.assertEqual(self.curl("--proxy", self.url("/"), "--noproxy", "", "http://evil.example/me")[0], 421)

    def test_curl_sends_utf8_as_it_is(self) -> None:
        self.assertEqual(self.curl("-d", "hi", self.url("/messages?name=Jürg"))[0], 200)
        self.assertEqual(self.curl("-X", "POST", self.url("/leave"))[0], 204)

    def test_a_download_goes_on_with_the_same_file_only(self) -> None:
        path, back = Path(self.directory.name) / "files" / "a.bin", Path(self.directory.name) / "back.bin"
        path.write_bytes(bytes(100_000))
        tags = [f'"{hashlib.sha256(data).hexdigest()}"' for data in (bytes(100_000), b"x" * 100_000)]
        for header, same, other in [("If-Range", 206, 200), ("If-Match", 206, 412)]:
            for tag, status in [(tags[0], same), (tags[1], other)]:
                back.write_bytes(bytes(50_000))
                got = self.curl("-C", "50000", "-H", f"{header}: {tag}", "-o", str(back), self.url("/files/a.bin"))
                self.assertEqual(got[0], status, (header, tag))

    def test_the_documented_commands_work(self) -> None:
        page = (Path(__file__).parent.parent / "docs" / "protocol.md").read_text()
        commands = re.findall(r"^    ((?:KEY=|curl |tar ).*)$", page, flags=re.M)
        self.assertGreater(len(commands), 6)
        script = "\n".join(["set -e", "mkdir -p notes", "echo report > report.pdf", *commands])
        self.assertEqual(script.count("curl --fail-with-body "), script.count("curl "))
        script = script.replace("HOST:8080", f"127.0.0.1:{self.port}")
        script = re.sub(r"^(curl .* -N .*)$", r"\1 --max-time 2 || test $? = 28", script, flags=re.M)
        for name, status, words in [("cron", 0, "retry: 1000"), (":", 22, "A name has no")]:
            command = ["sh", "-c", script.replace("name=cron", f"name={name}")]
            ran = subprocess.run(
                command, cwd=self.directory.name, capture_output=True, text=True, check=False, timeout=SECONDS
            )
            self.assertEqual(ran.returncode, status, ran.stderr)
            self.assertIn(words, ran.stdout)


class FileTests(WebDaemonTestCase):
    def test_a_file_arrives_as_it_was_sent(self) -> None:
        alice, data = self.script("Alice"), os.urandom(20_000_003)
        stream = alice.events()
        self.assertEqual(json.loads(alice.ask("PUT", "/files/b.bin", data, status=201)), {"name": "b.bin"})
        self.assertEqual([line["size"] for line in stream.lines(1)], ["20.0 MB"])
        stream.close()
        with alice.open("GET", "/files/b.bin") as response:
            self.assertEqual(response.headers["ETag"], f'"{hashlib.sha256(data).hexdigest()}"')
            self.assertEqual(hashlib.sha256(response.read()).digest(), hashlib.sha256(data).digest())
        part = alice.ask("GET", "/files/b.bin", status=206, Range="bytes=1000000-2999999")
        self.assertEqual(part, data[1_000_000:3_000_000])
        (file,) = alice.json("GET", "/files")["files"]
        self.assertEqual((file["size"], file["sha256"]), (len(data), hashlib.sha256(data).hexdigest()))

    def test_half_a_file_is_removed(self) -> None:
        alice = self.script("Alice")
        with socket.create_connection(("127.0.0.1", self.port), SECONDS) as sock:
            head = f"PUT /files/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 100\r\n\r\n"
            sock.sendall(head.encode() + b"half of it")
        self.check_no_parts()
        self.assertEqual(alice.json("GET", "/files")["files"], [])


class StalledTests(WebDaemonTestCase):
    options = ("--stall", "2", "--name-within", "4", "--max-connections", "400", "--max-per-host", "0")

    def rss(self) -> int:
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.daemon.process.pid}/status").read_text())
        assert found
        return int(found[1])

    def test_stalled_readers_cost_little_memory_and_are_dropped(self) -> None:
        alice = self.script("Alice")
        stalled = []
        for number in range(30):
            key = f"{number:032x}"
            Script(self.port, key).join(f"S{number}")
            sock = socket.socket()
            self.addCleanup(sock.close)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", self.port))
            sock.sendall(f"GET /events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n".encode())
            stalled.append(sock)
        stream, before = alice.events(), self.rss()
        read: list[str] = []
        for number in range(400):
            alice.say(f"{number} " + "x" * 4000)
            read += [text.partition(" ")[0] for text in stream.texts(1)]
        self.assertEqual(read, [str(number) for number in range(400)])
        self.assertLess(self.rss() - before, 20_000)  # kB; 1.6 MB were said to each of 30 readers
        deadline = time.monotonic() + SECONDS
        while b"groupchat_event_streams 1.0" not in alice.ask("GET", "/metrics"):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)
        stream.close()

    def test_slow_connections_leave_room_for_others(self) -> None:
        alice = self.script("Alice")
        slow = [socket.create_connection(("127.0.0.1", self.port), SECONDS) for _ in range(395)]
        for sock in slow:
            self.addCleanup(sock.close)
        for sock in slow[:100]:
            sock.sendall(b"GET / HTTP/1.1\r\nX: ")
        alice.say("still there")
        more = [socket.create_connection(("127.0.0.1", self.port), SECONDS) for _ in range(20)]
        answers = []
        for sock in more:
            self.addCleanup(sock.close)
            sock.settimeout(SECONDS)
            answers.append(sock.recv(4096)[:12])  # refused, or closed after --name-within
        self.assertEqual(set(answers), {b"HTTP/1.1 503", b""})
        for sock in slow[100:]:
            self.assertEqual(sock.recv(1), b"")
        alice.say("room again")


class TLSTests(WebDaemonTestCase):
    def start(self, *more: str) -> None:
        key, cert = make_certificate(Path(self.directory.name))
        self.web = f"ssl:0:privateKey={key}:certKey={cert}:interface=127.0.0.1"
        super().start(*more)
        self.context = ssl.create_default_context(cafile=str(cert))

    def test_the_page_works_over_tls(self) -> None:
        alice = Script(self.port, "", self.context)
        with alice.open("POST", "/name", "Alice") as response:
            cookie = response.headers["Set-Cookie"] or ""
            self.assertIn("; Secure", cookie)
        alice.headers = {"Cookie": cookie.partition(";")[0]}
        stream = alice.events()
        alice.say("hello")
        self.assertEqual(stream.texts(1), ["hello"])
        data = os.urandom(5_000_000)
        alice.ask("PUT", "/files/x", data, status=201)
        self.assertEqual(alice.ask("GET", "/files/x"), data)
        self.assertIn("https://", self.daemon.output)
        stream.close()

    def test_clients_that_offer_http_by_alpn_are_served(self) -> None:
        for offered, chosen in [(["h2", "http/1.1"], "http/1.1"), (["http/1.0"], "http/1.0")]:
            self.context.set_alpn_protocols(offered)
            script = Script(self.port, context=self.context)
            with closing(script.connect()) as connection:
                connection.request("GET", "/healthz")
                self.assertEqual(connection.getresponse().status, 200, offered)
                assert isinstance(connection.sock, ssl.SSLSocket)
                self.assertEqual(connection.sock.selected_alpn_protocol(), chosen)

    def test_curl_over_tls(self) -> None:
        cert, jar = str(Path(self.directory.name) / "cert.pem"), str(Path(self.directory.name) / "jar")
        url = f"https://localhost:{self.port}"
        self.assertEqual(self.curl("--cacert", cert, f"{url}/healthz")[0], 200)
        self.assertEqual(self.curl("--cacert", cert, "-c", jar, "-d", "Alice", f"{url}/name")[0], 200)
        status, body = self.curl("--cacert", cert, "-b", jar, f"{url}/me")
        self.assertEqual((status, json.loads(body)["name"]), (200, "Alice"))

    def test_the_cookie_of_an_earlier_version_is_replaced(self) -> None:
        Script(self.port, context=self.context).join("Alice")
        self.daemon.kill()
        self.start()
        browser = Script(self.port, "", self.context)
        browser.headers = {"Cookie": f"groupchat={KEY}"}
        with browser.open("GET", "/me") as response:
            self.assertEqual(json.loads(response.read())["name"], "Alice")
            new, old = response.headers.get_all("Set-Cookie") or []
        self.assertIn("groupchat=; Path=/; Max-Age=0", old)
        browser.headers = {"Cookie": new.partition(";")[0]}
        self.assertEqual(browser.json("GET", "/me")["name"], "Alice")

    def test_a_connection_above_the_limit_gets_a_503(self) -> None:
        self.daemon.stop()
        self.start("--max-connections", "1")
        self.context.set_alpn_protocols(["http/1.1"])
        with closing(Script(self.port, context=self.context).connect()) as first:
            first.connect()
            self.assertEqual(Script(self.port, context=self.context).open("GET", "/healthz").status, 503)


class StartingTests(TestCase):
    def test_wrong_options_are_explained_in_one_line(self) -> None:
        command = [*TWISTD, "--nodaemon", "--pidfile=", "groupchat", "--port", "0", "--db", ":memory:"]
        started = [
            (words, subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True))
            for options, words in [
                (["--web", "99999"], "--web must be a whole number"),
                (["--web", "nonsense:1"], "--web nonsense:1"),
                (["--web-host", "a b"], "--web-host must be the name of a host"),
                (["--files", "x"], "--files needs --quic or --web"),
            ]
        ]
        for words, process in started:
            _, errors = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 1)
            self.assertIn(words, errors)
            self.assertEqual(errors.strip().count("\n"), 0, errors)
