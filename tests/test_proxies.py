"""The configurations of contrib/proxy, each run with its proxy before a real daemon."""

from __future__ import annotations

import http.client
import json
import secrets
import socket
import ssl
import subprocess
import tempfile
import time
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.certificates import make_certificate
from tests.daemon import SECONDS, Daemon
from tests.programs import need
from tests.test_web_daemon import Script

CONTRIB = Path(__file__).resolve().parent.parent / "contrib" / "proxy"
OPTIONS = ("--web", "tcp:0:interface=127.0.0.1", "--trust-proxy", "127.0.0.1/32", "--web-host", "chat.example.org")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ProxyTests(TestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="groupchat-test-proxy-")
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.directory.chmod(0o755)  # a proxy that was started by root reads it as somebody else
        self.key, self.certificate = make_certificate(self.directory)
        self.port = free_port()
        shelf = self.directory / "shelf"
        self.daemon = Daemon(*OPTIONS, "--files", str(shelf), "--max-per-host", "3")  # Alice, Bob, and Dora
        self.addCleanup(self.daemon.stop)

    def configured(self, name: str, **places: str) -> Path:
        """Return a copy of a configuration for this daemon and port, with these texts replaced."""
        text = (CONTRIB / name).read_text()
        for what, place in {"127.0.0.1:8080": f"127.0.0.1:{self.daemon.web[0]}", **places}.items():
            self.assertIn(what, text)
            text = text.replace(what, place)
        path = self.directory / name
        path.write_text(text)
        return path

    def run_proxy(self, *command: str) -> None:
        """Run a proxy in the foreground until the end of the test."""
        log = self.directory / "proxy.log"
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, cwd=self.directory)
        self.addCleanup(process.wait, SECONDS)
        self.addCleanup(process.terminate)
        end = time.monotonic() + SECONDS
        while True:
            self.assertIsNone(process.poll(), log.read_text())
            self.assertLess(time.monotonic(), end, log.read_text())
            try:
                self.script().ask("GET", "/healthz")
                return
            except (OSError, AssertionError, http.client.HTTPException):
                time.sleep(0.05)

    def script(self, key: str = "") -> Script:
        context = ssl.create_default_context(cafile=str(self.certificate))
        return Script(self.port, key or secrets.token_hex(16), context)

    def check(self) -> None:
        """Use the page's requests through the proxy."""
        alice, bob, carol = self.script(), self.script(), self.script()
        alice.join("Alice")
        events = alice.events()
        self.addCleanup(events.close)
        bob.join("Bob")
        bob.say("hello")
        self.assertEqual(events.texts(2), ["", "hello"])
        self.check_cookie()
        self.check_address(carol)
        self.check_files(bob)

    def check_address(self, script: Script) -> None:
        """All members of a client count for its own address, whatever it says."""
        for forged in ("192.0.2.1", "192.0.2.2, 192.0.2.3"):
            script.ask("POST", "/name", "Carol", 409, X_Forwarded_For=forged)

    def check_cookie(self) -> None:
        """The daemon knows that the page is encrypted, and by which names it is known."""
        with self.browser("POST", "/name", "Dora", Origin=f"https://localhost:{self.port}") as response:
            self.assertRegex(response.headers["Set-Cookie"], r"\A__Host-.*; Secure")
        with self.browser("POST", "/name", "Eve", Origin="https://evil.example") as response:
            self.assertEqual(response.status, 403)
        with self.browser("GET", "/me", Host="chat.example.org") as response:
            self.assertTrue(json.load(response)["group"])
        with self.browser("GET", "/me", Host="evil.example") as response:
            self.assertNotIn(b'"group"', response.read())

    def browser(self, method: str, path: str, body: object = None, **headers: str) -> http.client.HTTPResponse:
        script = self.script()
        script.headers = {"Authorization": ""}
        return script.open(method, path, body, **headers)

    def check_files(self, script: Script) -> None:
        data = secrets.token_bytes(3_000_000)
        script.ask("PUT", "/files/big.bin", data, 201)
        self.assertEqual(script.ask("GET", "/files/big.bin"), data)
        self.assertEqual(script.ask("GET", "/files/big.bin", status=206, Range="bytes=5-9"), data[5:10])

    def test_nginx(self) -> None:
        path = self.configured(
            "nginx.conf",
            **{
                "listen [::]:443 ssl;": "",
                "listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
                "server_name chat.example.org;": "",
                "/etc/ssl/chat.example.org/cert.pem": str(self.certificate),
                "/etc/ssl/chat.example.org/key.pem": str(self.key),
            },
        )
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "".join(f"{kind}_temp_path {self.directory}/{kind};\n" for kind in kinds)
        main = self.directory / "main.conf"
        main.write_text(
            f"daemon off; pid {self.directory}/nginx.pid; error_log stderr;\n"
            f"events {{}}\nhttp {{ access_log off; {temporary} include {path}; }}\n"
        )
        self.run_proxy(need("nginx", "nginx-light"), "-c", str(main), "-e", "stderr")
        self.check()

    def test_caddy(self) -> None:
        sites = f"https://localhost:{self.port}, https://chat.example.org:{self.port}"
        tls = f"tls {self.certificate} {self.key}"
        path = self.configured("Caddyfile", **{"chat.example.org {": f"{sites} {{\n\t{tls}"})
        options = f"{{\n\tadmin off\n\tauto_https disable_redirects\n\tstorage file_system {self.directory}\n}}\n"
        path.write_text(options + path.read_text())
        self.run_proxy(need("caddy", "caddy"), "run", "--config", str(path), "--adapter", "caddyfile")
        self.check()

    def test_haproxy(self) -> None:
        both = self.directory / "both.pem"
        both.write_bytes(self.certificate.read_bytes() + self.key.read_bytes())
        path = self.configured(
            "haproxy.cfg", **{"bind :443": f"bind 127.0.0.1:{self.port}", "/etc/ssl/chat.example.org.pem": str(both)}
        )
        self.run_proxy(need("haproxy", "haproxy"), "-db", "-f", str(path))
        self.check()
