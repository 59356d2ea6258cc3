"""The page in a real browser, and a client of tus, with a real daemon. Node runs the tests, in tests/browser."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.programs import need, unavailable
from tests.slow import slow

HERE = Path(__file__).parent / "browser"
STATIC = HERE.parent.parent / "groupchat" / "frontends" / "web" / "static"
SECONDS = 600
MAX_BYTES = 85_000
"""The bound of all files of the page, which are 30 KB when sent with gzip. One stream for all tabs, and a page that
works without storage and cookies, take 11 KB of it; what operators do, and what becomes of it on each page, 8 KB;
uploads that go on where they broke, 4 KB."""


class BrowserTestCase(TestCase):
    timeout = SECONDS + 20

    def run_in_browser(self, script: str, **environment: str) -> None:
        self.run_node(script, CHROMIUM=need("chromium", "chromium"), **environment)

    def run_node(self, script: str, module: str = "playwright-core", **environment: str) -> None:
        node = need("node", "nodejs")
        if not (HERE / "node_modules" / module).is_dir():
            unavailable(f"needs {module}: npm ci --prefix tests/browser")
        # In its own process group, so that the daemon and the browser can be killed with it.
        process = subprocess.Popen(
            [node, "--test", "--test-reporter=spec", str(HERE / script)],
            env={**os.environ, "PYTHON": sys.executable, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
        self.assertEqual(process.returncode, 0, output)


@slow
class TusTests(BrowserTestCase):
    def test_a_client_of_tus_goes_on_after_breaks(self) -> None:
        self.run_node("tus.mjs", "tus-js-client")


class PageTests(BrowserTestCase):
    def test_a_person_joins_and_talks(self) -> None:
        self.run_in_browser("smoke.mjs")

    def test_the_page_is_small(self) -> None:
        self.assertLess(sum(file.stat().st_size for file in STATIC.iterdir()), MAX_BYTES)


@slow
class WholePageTests(BrowserTestCase):
    def test_conversations(self) -> None:
        self.run_in_browser("talk.mjs")

    def test_the_page_of_a_stranger_says_nothing(self) -> None:
        self.run_in_browser("stranger.mjs")

    def test_the_server_stops_and_returns(self) -> None:
        self.run_in_browser("away.mjs")

    def test_storage_that_is_denied_or_odd(self) -> None:
        self.run_in_browser("storage.mjs")

    def test_many_tabs_share_one_stream(self) -> None:
        self.run_in_browser("tabs.mjs")

    def test_seats_with_and_without_tls_and_times(self) -> None:
        self.run_in_browser("seat.mjs")

    def test_what_operators_do(self) -> None:
        self.run_in_browser("moderation.mjs")

    def test_files(self) -> None:
        self.run_in_browser("files.mjs")

    def test_what_others_write_is_only_text(self) -> None:
        self.run_in_browser("safety.mjs")

    def test_long_conversations(self) -> None:
        self.run_in_browser("long.mjs")

    def test_accessibility(self) -> None:
        self.run_in_browser("access.mjs")
