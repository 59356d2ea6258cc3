"""The documentation is true: its links, its commands and its options."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

import groupchat
from tests.daemon import TWISTD, running
from tests.programs import need

ROOT = Path(__file__).parent.parent
PACKAGE = Path(groupchat.__file__).parent
PAGES = [path for folder in (".", "docs", "examples", "benchmarks") for path in sorted((ROOT / folder).glob("*.md"))]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
SECONDS = 60.0


def anchors(page: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings: list[str] = re.findall(r"^#+ +(.+)$", re.sub(r"^```.*?^```", "", page, flags=re.M | re.S), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


class LinkTests(SynchronousTestCase):
    def test_links_lead_to_files_and_headings_that_exist(self) -> None:
        links = 0
        for page in PAGES:
            text = page.read_text()
            for link in re.findall(r'\]\(([^)\s]+)\)|src="([^"]+)"', text):
                path, _, anchor = "".join(link).partition("#")
                if path.startswith(("https:", "http:")):
                    continue
                target = page.parent / path if path else page
                self.assertTrue(target.exists(), f"{page.name}: {path}")
                if anchor:
                    self.assertIn(anchor, anchors(target.read_text()), f"{page.name}: {path}#{anchor}")
                links += 1
        self.assertGreater(links, 30)

    def test_modules_that_the_docs_name_exist(self) -> None:
        text = (ROOT / "docs" / "architecture.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()
        named = re.findall(r"`((?:core|wire|log|service|files|quic|frontends|client)/\w+)`", text)
        self.assertGreater(len(named), 15)
        found = {str(path.relative_to(PACKAGE).with_suffix("")) for path in PACKAGE.glob("*/*")}
        self.assertEqual([name for name in named if name not in found], [])

    def test_readme_has_at_most_150_lines(self) -> None:
        self.assertLessEqual(len((ROOT / "README.md").read_text().splitlines()), 150)


class OptionTests(SynchronousTestCase):
    def test_the_options_of_the_help_and_of_the_docs_are_the_same(self) -> None:
        command = [*TWISTD, "groupchat", "--help"]
        shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS).stdout
        listed = re.findall(r"^ +(?:-\w, )?(--[\w-]+)", shown, flags=re.M)
        documented = re.findall(r"^\| (?:`-\w`, )?`(--[\w-]+)`", OPERATIONS, flags=re.M)
        self.assertGreater(len(listed), 20)
        self.assertEqual(sorted(listed), sorted(documented))


class CertificateTests(SynchronousTestCase):
    def test_client_accepts_the_certificate_of_the_openssl_command(self) -> None:
        need("openssl", "openssl")
        found = re.search(r"^    (openssl req .*\\\n.*)$", OPERATIONS, flags=re.M)
        assert found is not None
        command = found[1].replace("chat.example.org", "localhost")
        with tempfile.TemporaryDirectory(prefix="groupchat-docs-") as directory:
            subprocess.run(["sh", "-c", command], cwd=directory, check=True, capture_output=True, timeout=SECONDS)
            key, certificate = Path(directory, "key.pem"), Path(directory, "cert.pem")
            names = x509.load_pem_x509_certificate(certificate.read_bytes()).extensions.get_extension_for_class(
                x509.SubjectAlternativeName
            )
            self.assertEqual(names.value.get_values_for_type(x509.DNSName), ["localhost"])
            with running("--db", ":memory:", "--tcp", f"ssl:0:privateKey={key}:certKey={certificate}") as daemon:
                self.assertEqual(self.chat(f"tls://localhost:{daemon.tcp[0]}", certificate), 0)
                self.assertEqual(self.chat(f"tls://127.0.0.1:{daemon.tcp[0]}", certificate), 1)

    def chat(self, url: str, certificate: Path) -> int:
        """Say one line with our client, and return its exit status."""
        command = [sys.executable, "-m", "groupchat", url, "--name", "Alice", "--ca", str(certificate)]
        said = subprocess.run(command, input=b"hello\n", check=False, capture_output=True, timeout=SECONDS)
        return said.returncode
