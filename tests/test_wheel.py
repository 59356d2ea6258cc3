"""The wheel: what it installs beside the package."""

from __future__ import annotations

import tempfile
from configparser import ConfigParser
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.slow import slow
from tests.wheels import ROOT, Environment, build, this_tree

MADE = [path for folder in ("man", "completions") for path in (ROOT / "contrib" / folder).rglob("*") if path.is_file()]

COMPLETIONS = {
    "bash": "bash-completion/completions",
    "fish": "fish/vendor_completions.d",
    "zsh": "zsh/site-functions",
}
"""Where each shell looks for completions, below share."""


class DataTests(TestCase):
    def test_all_manual_pages_and_completions_are_listed(self) -> None:
        config = ConfigParser()
        config.read(ROOT / "setup.cfg")
        listed = " ".join(config["options.data_files"].values()).split()
        self.assertEqual(sorted(listed), sorted(str(path.relative_to(ROOT)) for path in MADE))


@slow
class WheelTests(TestCase):
    def test_it_installs_commands_manual_pages_and_completions(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="groupchat-test-wheel-")
        self.addCleanup(directory.cleanup)
        here = Path(directory.name)
        (here / "tree").mkdir()
        this_tree(here / "tree")
        environment = Environment(here / "venv")
        environment.install(build(here / "tree", here / "wheel"))
        share = here / "venv" / "share"
        self.assertEqual(len(MADE), len([path for path in share.rglob("*") if path.is_file()]))
        for page in (ROOT / "contrib" / "man").iterdir():
            self.assertEqual((share / "man" / f"man{page.suffix[1:]}" / page.name).read_text(), page.read_text())
        for shell, place in COMPLETIONS.items():
            for path in (ROOT / "contrib" / "completions" / shell).iterdir():
                self.assertEqual((share / place / path.name).read_text(), path.read_text())
        for command in ("groupchat", "groupchat-admin"):
            self.assertIn("groupchat ", environment.run(str(here / "venv" / "bin" / command), "--version").stdout)
