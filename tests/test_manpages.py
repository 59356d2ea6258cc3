"""The manual pages: what the parsers say, in a form that roff reads without a warning."""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SkipTest, TestCase

from tests.programs import need
from tools.manpages import WHERE, pages


class PageTests(TestCase):
    def test_they_are_what_the_tool_makes(self) -> None:
        if sys.version_info[:2] != (3, 11):
            raise SkipTest("the help of argparse has another form in each version of Python: the pages are of 3.11")
        for name, text in pages().items():
            self.assertEqual((WHERE / name).read_text(), text, f"{name}: run python -m tools.manpages")

    def test_roff_reads_them_without_a_warning(self) -> None:
        command = [need("groff", "groff"), "-man", "-Tutf8", "-ww", "-rLL=100n", "-Kutf8", "-P-c", "-P-b", "-P-u"]
        for page in sorted(WHERE.iterdir()):
            done = subprocess.run([*command, str(page)], capture_output=True, text=True, check=False, timeout=60)
            self.assertEqual((done.returncode, done.stderr), (0, ""), page.name)
            for section in ("NAME", "SEE ALSO"):
                self.assertIn(section, done.stdout)
