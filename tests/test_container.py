"""The image that Containerfile makes, where buildah can make it: built, run and asked for its health."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from twisted.trial.unittest import SkipTest, TestCase

from tests.programs import need
from tests.slow import slow
from tests.test_proxies import free_port
from tests.wheels import PIP, ROOT, SECONDS, build, this_tree

DEBIAN = "bookworm"
PACKAGES = "--include=python3,python3-venv"
OFFLINE = "[global]\nno-index = true\nfind-links = /wheels\n"


@slow
class ContainerTests(TestCase):
    """The base is a small Debian instead of the image that Containerfile names, which may be out of reach."""

    timeout = 2 * SECONDS

    def setUp(self) -> None:
        buildah, mmdebstrap = need("buildah", "buildah"), need("mmdebstrap", "mmdebstrap")
        directory = tempfile.TemporaryDirectory(prefix="groupchat-test-container-", ignore_cleanup_errors=True)
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        storage = ["--root", str(self.directory / "root"), "--runroot", str(self.directory / "run")]
        self.buildah = [buildah, *storage, "--storage-driver", "vfs"]
        self.addCleanup(self.run_buildah, "rm", "--all")
        system = self.directory / "system.tar"
        self.only_if_possible(mmdebstrap, "--variant=minbase", PACKAGES, DEBIAN, str(system))
        self.only_if_possible(*self.buildah, "from", "--name", "base", "scratch")
        self.run_buildah("add", "--quiet", "base", str(system), "/")

    def only_if_possible(self, *command: str) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
        if done.returncode:
            raise SkipTest(f"no image can be made on this machine: {done.stderr[-500:]}")

    def run_buildah(self, *words: str) -> str:
        done = subprocess.run([*self.buildah, *words], capture_output=True, text=True, check=False, timeout=SECONDS)
        self.assertEqual(done.returncode, 0, f"{words[0]}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        return done.stdout

    def run_inside(self, *words: str) -> str:
        return self.run_buildah("run", "--isolation", "chroot", "group", "--", *words)

    def add_wheels(self) -> None:
        """Let pip in the image find what the package needs without a network."""
        (self.directory / "tree").mkdir()
        this_tree(self.directory / "tree")
        wheel = build(self.directory / "tree", self.directory / "wheel")
        python = self.run_buildah("run", "--isolation", "chroot", "base", "--", "python3", "-V").split()[1]
        only = ["--only-binary=:all:", "--python-version", python, "--dest", str(self.directory / "wheels")]
        download = [*PIP, "download", "--quiet", *only, f"{wheel}[web,tls,quic]", "setuptools"]
        self.only_if_possible(*download)
        (self.directory / "pip.conf").write_text(OFFLINE)
        self.run_buildah("copy", "--quiet", "base", str(self.directory / "wheels"), "/wheels")
        self.run_buildah("copy", "--quiet", "base", str(self.directory / "pip.conf"), "/etc/pip.conf")

    def build(self) -> dict[str, Any]:
        """Build the image, and return its configuration."""
        self.add_wheels()
        self.run_buildah("commit", "--quiet", "base", "localhost/base")
        self.run_buildah(
            *("bud", "--isolation", "chroot", "--format", "docker", "--build-arg", "BASE=localhost/base"),
            *("--tag", "localhost/groupchat", "--file", str(ROOT / "Containerfile"), str(ROOT)),
        )
        self.run_buildah("from", "--name", "group", "localhost/groupchat")
        found = json.loads(self.run_buildah("inspect", "--type", "image", "localhost/groupchat"))["Docker"]["config"]
        return dict(found)

    def test_the_daemon_runs_and_is_healthy_and_no_root(self) -> None:
        image = self.build()
        self.assertEqual((image["User"], list(image["Volumes"])), ("10001:10001", ["/data"]))
        port = str(free_port())
        moved = {"12345": "0", "8080": port}  # the test shares the network of the machine
        words = [moved.get(word, word) for word in [*image["Entrypoint"], *image["Cmd"]]]
        health = [word.replace("8080", port) for word in image["Healthcheck"]["Test"][1:]]
        command = [*self.buildah, "run", "--isolation", "chroot", "group", "--", *words, "--port", "0"]
        with (self.directory / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as daemon:
            try:
                self.wait_for_the_page(port, daemon)
                self.run_inside(*health)
                self.assertEqual(self.run_inside("stat", "-c", "%u %a", "groupchat.sqlite"), "10001 600\n")
                self.assertTrue(self.run_inside("groupchat-admin", "check", "groupchat.sqlite").endswith("sound\n"))
                self.run_inside("groupchat-admin", "stop")
                self.assertEqual(daemon.wait(SECONDS), 0)
            finally:
                daemon.kill()
        self.assertNotIn("cache", (self.directory / "log").read_text())
        with self.assertRaises(AssertionError):
            self.run_inside(*health)

    def wait_for_the_page(self, port: str, daemon: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + SECONDS
        while time.monotonic() < until and daemon.poll() is None:
            try:
                urlopen(f"http://127.0.0.1:{port}/healthz", timeout=SECONDS).close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        self.fail((self.directory / "log").read_text())
