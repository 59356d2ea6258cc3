"""The command `groupchat tls://...` against a real daemon: which certificates it trusts."""

from __future__ import annotations

import re
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.certificates import make_certificate
from tests.daemon import running
from tests.programs import need
from tests.slow import slow
from tests.terminals import Terminal
from tests.test_client import CLIENT, ENVIRONMENT, ProcessCase, run

DAY = timedelta(days=1)


class Authority:
    """A certificate authority. `path` is the file of its own certificate."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Our authority")])
        builder = self._builder(self._name, self._key, DAY).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self.path = directory / "ca.pem"
        self.path.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))

    def vouch(self, *, ends: timedelta = DAY) -> tuple[Path, Path]:
        """Return the files of a key and a certificate for this machine."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        builder = self._builder(subject, key, ends)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        key_file, certificate_file = self._directory / "vouched.key", self._directory / "vouched.pem"
        key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        certificate_file.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))
        return key_file, certificate_file

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, ends: timedelta) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 3 * DAY)
            .not_valid_after(now + ends)
        )


class TLSCase(ProcessCase):
    def setUp(self) -> None:
        super().setUp()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.environment = {**ENVIRONMENT, "XDG_DATA_HOME": str(self.directory / "data")}
        self.environment.pop("SSL_CERT_FILE", None)
        self.environment.pop("SSL_CERT_DIR", None)

    @property
    def known(self) -> Path:
        return self.directory / "data" / "groupchat" / "known_servers"

    @contextmanager
    def guarded(self, files: tuple[Path, Path], port: int = 0) -> Iterator[int]:
        """Run a daemon with this key and certificate; yield its port."""
        key, certificate = files
        endpoint = f"ssl:{port}:privateKey={key}:certKey={certificate}"
        with running("--tcp", endpoint, "--db", ":memory:", "--interface", "127.0.0.1") as daemon:
            yield daemon.tcp[0]

    def talk(self, url: str, *options: str | Path) -> tuple[int, str]:
        """Run a client that says a line. Return its exit status and its standard error."""
        words = [url, "--name", "Zoe", *options]
        done = run(*words, typed=b"hello\n/history 1\n", environment=self.environment)
        said = done.stdout.decode()
        self.assertEqual(done.returncode == 0, "Zoe: hello" in said, (said, done.stderr))
        if done.returncode:
            self.assertEqual(said, "")
        return done.returncode, done.stderr.decode()

    def accepted(self, url: str, *options: str | Path) -> None:
        self.assertEqual(self.talk(url, *options), (0, ""))

    def refused(self, words: str, url: str, *options: str | Path) -> str:
        """Check that a client is refused, in one line with these words. Return the line."""
        status, told = self.talk(url, *options)
        self.assertEqual(status, 1)
        self.assertIn(words, told)
        self.assertRegex(told, r"\Agroupchat: [^\n]+\n\Z")
        return told


class UnknownTest(TLSCase):
    def test_it_is_refused_with_its_fingerprint(self) -> None:
        openssl = need("openssl", "openssl")
        files = make_certificate(self.directory)
        printed = subprocess.run(
            [openssl, "x509", "-in", files[1], "-noout", "-fingerprint", "-sha256"], capture_output=True, check=True
        )
        with self.guarded(files) as port:
            told = self.refused("is not one that this system knows", f"tls://localhost:{port}")
            self.assertIn("--trust-new, or --ca FILE", told)
            self.assertIn(printed.stdout.decode().strip().partition("=")[2], told)
            self.assertFalse(self.known.exists())

    def test_trust_new_remembers_it(self) -> None:
        with self.guarded(make_certificate(self.directory)) as port:
            url = f"tls://localhost:{port}"
            self.accepted(url, "--trust-new")
            self.assertEqual(stat.S_IMODE(self.known.stat().st_mode), 0o600)
            self.assertEqual(stat.S_IMODE(self.known.parent.stat().st_mode), 0o700)
            self.assertRegex(self.known.read_text(), rf"\Alocalhost:{port} [0-9A-F:]{{95}}\n\Z")
            self.accepted(url)
            self.refused("is not one that this system knows", f"tls://127.0.0.1:{port}")  # another name of it

    def test_a_changed_certificate_is_refused_loudly(self) -> None:
        with self.guarded(make_certificate(self.directory)) as port:
            self.accepted(f"tls://localhost:{port}", "--trust-new")
        before = self.known.read_text()
        with self.guarded(make_certificate(self.directory), port) as again:
            self.assertEqual(again, port)
            for options in ([], ["--trust-new"]):
                told = self.refused(
                    f"THE CERTIFICATE OF localhost:{port} HAS CHANGED", f"tls://localhost:{port}", *options
                )
                self.assertIn(str(self.known), told)
                self.assertNotIn("--trust-new", told)
            self.assertEqual(self.known.read_text(), before)
            self.known.write_text("")  # as it is told to do
            self.accepted(f"tls://localhost:{port}", "--trust-new")


class NamedTest(TLSCase):
    """Certificates with --ca."""

    def test_the_right_one(self) -> None:
        authority = Authority(self.directory)
        with self.guarded(authority.vouch()) as port:
            for host in ("localhost", "127.0.0.1"):
                self.accepted(f"tls://{host}:{port}", "--ca", authority.path)
            self.assertFalse(self.known.exists())

    def test_the_certificate_itself(self) -> None:
        files = make_certificate(self.directory)
        with self.guarded(files) as port:
            self.accepted(f"tls://localhost:{port}", "--ca", files[1])

    def test_another_one(self) -> None:
        ours, other = self.directory / "ours", self.directory / "other"
        ours.mkdir()
        other.mkdir()
        wrong = Authority(other).path
        with self.guarded(Authority(ours).vouch()) as port:
            for options in ([], ["--trust-new"]):
                self.refused("does not vouch for the certificate", f"tls://localhost:{port}", "--ca", wrong, *options)
        self.assertFalse(self.known.exists())

    def test_a_file_with_none_in_it(self) -> None:
        empty = self.directory / "empty"
        empty.write_text("nothing\n")
        for path in (empty, self.directory / "nowhere", self.directory):
            self.refused("has no certificate in it that can be read", "tls://localhost:1", "--ca", path)

    def test_another_name(self) -> None:
        authority = Authority(self.directory)
        with self.guarded(authority.vouch()) as port:
            url = f"tls://[::ffff:127.0.0.1]:{port}"  # which leads there as well
            self.refused("it is for another name", url, "--ca", authority.path)

    def test_one_that_has_expired(self) -> None:
        authority = Authority(self.directory)
        with self.guarded(authority.vouch(ends=-DAY)) as port:
            self.refused("it has expired", f"tls://localhost:{port}", "--ca", authority.path)
            self.environment["SSL_CERT_FILE"] = str(authority.path)
            self.refused("it has expired", f"tls://localhost:{port}")


class SystemTest(TLSCase):
    """Certificates that the system trusts, by SSL_CERT_FILE."""

    def test_a_certificate_the_system_trusts_needs_no_question(self) -> None:
        authority = Authority(self.directory)
        self.environment["SSL_CERT_FILE"] = str(authority.path)
        with self.guarded(authority.vouch()) as port:
            url = f"tls://localhost:{port}"
            self.accepted(url)
            self.assertEqual(self.known.read_text(), f"localhost:{port} system\n")
        with self.guarded(authority.vouch(), port):
            self.accepted(url)  # the system says who is new
        with self.guarded(make_certificate(self.directory), port):
            self.refused("HAS CHANGED", url)
            self.refused("HAS CHANGED", url, "--trust-new")

    def test_another_name(self) -> None:
        authority = Authority(self.directory)
        self.environment["SSL_CERT_FILE"] = str(authority.path)
        with self.guarded(authority.vouch()) as port:
            self.refused("it is for another name", f"tls://[::ffff:127.0.0.1]:{port}")


class WrongKindTest(TLSCase):
    def test_tls_where_there_is_none(self) -> None:
        with running("--tcp", "0", "--db", ":memory:") as daemon:
            told = self.refused("is it tls:// there, and not tcp://?", f"tls://localhost:{daemon.tcp[0]}")
            self.assertIn("no TLS", told)

    @slow  # the client waits 10 seconds for a greeting
    def test_none_where_there_is_tls(self) -> None:
        with self.guarded(make_certificate(self.directory)) as port:
            self.refused("the right one of tcp:// and tls://?", f"tcp://localhost:{port}")

    def test_nobody_there(self) -> None:
        self.refused("nothing is listening there", "tls://localhost:1", "--trust-new")


class AskedTest(TLSCase):
    """On a terminal the user is asked."""

    @contextmanager
    def asked(self, port: int) -> Iterator[Terminal]:
        command = [*CLIENT, f"tls://localhost:{port}", "--name", "Zoe"]
        terminal = Terminal(command, {**self.environment, "TERM": "xterm", "NO_COLOR": "1"})
        try:
            terminal.wait(lambda: b"Trust it from now on (yes, no)?" in terminal.screen, "the question")
            yield terminal
        finally:
            terminal.close()

    def test_no_and_then_yes(self) -> None:
        with self.guarded(make_certificate(self.directory)) as port:
            with self.asked(port) as terminal:
                terminal.type("no\r")
                self.assertEqual(terminal.end(), 1)
                self.assertIn(b"it was not trusted", terminal.screen)
            self.assertFalse(self.known.exists())
            with self.asked(port) as terminal:
                self.assertTrue(re.search(rb"SHA-256 [0-9A-F:\s]{95}", terminal.screen))
                terminal.type("yes\r")
                terminal.wait(lambda: b"You are Zoe." in terminal.screen, "the welcome")
                terminal.type("/quit\r")
                self.assertEqual(terminal.end(), 0)
            self.accepted(f"tls://localhost:{port}")
