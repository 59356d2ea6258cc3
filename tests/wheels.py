"""Wheels of this tree and of the last release, and virtual environments to install them in."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from io import BytesIO
from pathlib import Path

from tests.programs import need, unavailable

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 300.0
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--retries", "1", "--timeout", "20"]


def _run(*command: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=SECONDS)


def _git(*words: str) -> bytes:
    done = _run(need("git", "git"), *words)
    if done.returncode:
        unavailable(f"needs a clone with its history: git {words[0]}: {done.stderr.decode().strip()}")
    return done.stdout


def last_release() -> str:
    """Return the version of the newest release in the changelog."""
    found = re.search(r"^## ([\d.]+) - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), flags=re.M)
    assert found, "the changelog has no release"
    return found[1]


def released_tree(directory: Path) -> None:
    """Write the tree of the commit that set the version of the last release."""
    version = f'__version__ = "{last_release()}"'
    commits = _git("log", "--format=%H", f"-S{version}", "--", "groupchat/__init__.py").decode().split()
    if not commits:
        unavailable(f"needs a clone with its history: no commit sets {version}")
    with tarfile.open(fileobj=BytesIO(_git("archive", commits[-1]))) as archive:
        archive.extractall(directory, filter="data")


def this_tree(directory: Path) -> None:
    """Write a copy of this tree: building a wheel in it would leave files behind."""
    for name in _git("ls-files", "-z", "--cached", "--others", "--exclude-standard").decode().split("\0"):
        if name and (ROOT / name).is_file():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, directory / name)


def build(tree: Path, to: Path) -> Path:
    """Build the wheel of a tree, and return its path. setuptools comes from the registry of packages."""
    done = _run(*PIP, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(to), str(tree))
    if done.returncode:
        unavailable("no wheel can be built here:\n" + done.stderr.decode()[-2000:])
    (wheel,) = to.glob("*.whl")
    return wheel


class Environment:
    """A virtual environment with the packages of this one, except for groupchat."""

    def __init__(self, directory: Path) -> None:
        done = _run(sys.executable, "-m", "venv", "--without-pip", str(directory))
        assert not done.returncode, done.stdout + done.stderr
        self._bin = directory / "bin"
        # What is installed here comes first. An editable groupchat is not among the packages: its own .pth is not read.
        packages = sysconfig.get_path("purelib", vars={"base": str(directory), "platbase": str(directory)})
        Path(packages, "packages.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
        self.twistd = [*self.python, "-c", "from twisted.scripts.twistd import run; run()"]

    @property
    def python(self) -> list[str]:
        """The interpreter, which takes no package from PYTHONPATH or the current directory."""
        return [str(self._bin / "python"), "-I"]

    def installer(self, wheel: Path) -> list[str]:
        """Return the command that installs a wheel in place of the one that is there."""
        return [
            *PIP,
            "--python",
            self.python[0],
            "install",
            "--quiet",
            "--no-deps",
            "--no-index",
            "--force-reinstall",
            str(wheel),
        ]

    def install(self, wheel: Path) -> None:
        done = _run(*self.installer(wheel))
        assert not done.returncode, done.stderr.decode()

    def run(self, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run Python with these words and this standard input, and with a home of its own."""
        return subprocess.run(
            [*self.python, *words],
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
            cwd=self._bin,
            env={name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
            | {"HOME": str(self._bin.parent)},
        )
