"""The page, in a real browser on a real daemon: tests/browser has the tests, which node runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.programs import need, unavailable

HERE = Path(__file__).parent / "browser"
STATIC = HERE.parent.parent / "groupchat" / "frontends" / "web" / "static"
SECONDS = 300
MOST_BYTES = 60_000


class PageTest(TestCase):
    timeout = SECONDS + 20

    def run_in_browser(self, script: str) -> None:
        node, chromium = need("node", "nodejs"), need("chromium", "chromium")
        if not (HERE / "node_modules" / "playwright-core").is_dir():
            unavailable("needs playwright-core and axe-core: npm ci --prefix tests/browser")
        # A process group of its own, so that no daemon and no browser outlives it, however it ends.
        process = subprocess.Popen(
            [node, "--test", "--test-reporter=spec", str(HERE / script)],
            env={**os.environ, "PYTHON": sys.executable, "CHROMIUM": chromium},
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

    def test_people_talk(self) -> None:
        self.run_in_browser("talk.mjs")

    def test_the_server_goes_away(self) -> None:
        self.run_in_browser("away.mjs")

    def test_files(self) -> None:
        self.run_in_browser("files.mjs")

    def test_what_others_write_is_text(self) -> None:
        self.run_in_browser("safety.mjs")

    def test_long_conversations(self) -> None:
        self.run_in_browser("long.mjs")

    def test_everybody_can_use_it(self) -> None:
        self.run_in_browser("access.mjs")

    def test_it_is_small(self) -> None:
        self.assertLess(sum(file.stat().st_size for file in STATIC.iterdir()), MOST_BYTES)
