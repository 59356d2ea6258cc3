"""The load generators: compiled when they are needed, and run against one server.

A generator stops at each phase that it reaches, and goes on when the server's CPU time and memory have been read. What
is measured lies between two phases.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .servers import Server, ServerError, Usage

SOURCES = Path(__file__).resolve().parent
# Joining 10,000 members and collecting what waits for them takes seconds; ten times as much means a hang.
LIMIT_SECONDS = 120.0


class LoadError(Exception):
    """A run that failed. The text says why."""


@dataclass(slots=True)
class Result:
    """The figures that the generator printed (see udpload.c), and the server's usage at each phase."""

    figures: dict[str, float] = field(default_factory=dict)
    usages: dict[str, Usage] = field(default_factory=dict)

    def cpu_seconds(self) -> float:
        return self.usages["done"].cpu - self.usages["started"].cpu

    def cpu_share(self) -> float:
        """Return the server's share of one CPU during the measurement."""
        return self.cpu_seconds() / (self.usages["done"].at - self.usages["started"].at)


@contextmanager
def built() -> Iterator[Path]:
    """Compile udpload.c into a temporary directory, and return the program. Raises LoadError."""
    with tempfile.TemporaryDirectory(prefix="groupchat-udpload-") as directory:
        yield compiled(Path(directory), "udpload")


def compiled(directory: Path, name: str) -> Path:
    """Compile a load generator into a directory, if it is not there yet. Raises LoadError without a C compiler."""
    program = directory / name
    if program.exists():
        return program
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise LoadError("no C compiler: the load generators are written in C; install one, or name it in CC")
    command = [compiler, "-O2", "-Wall", "-Wextra", "-o", str(program), str(SOURCES / f"{name}.c")]
    try:
        made = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise LoadError(f"the C compiler {compiler} does not run: {error.strerror}") from error
    if made.returncode:
        raise LoadError(f"{name}.c does not compile:\n{made.stderr}")
    return program


def run(program: Path | Sequence[str], server: Server, mode: str, **options: float) -> Result:
    """Run a generator once. `options` are its own, by letter. Raises LoadError with the reason."""
    command = [str(program)] if isinstance(program, Path) else [*program]
    flags = [text for letter, value in options.items() for text in (f"-{letter}", f"{value:g}")]
    process = subprocess.Popen(
        [*command, str(server.port), mode, *flags],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watchdog = threading.Timer(LIMIT_SECONDS + options.get("s", 0), process.kill)
    watchdog.start()
    try:
        return _follow(process, server)
    except ServerError as error:
        raise LoadError(str(error)) from error
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()


def _follow(process: subprocess.Popen[str], server: Server) -> Result:
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stderr is not None
    result = Result()
    for line in process.stdout:
        phase, *pairs = line.split()
        result.usages[phase] = server.usage()
        result.figures |= {key: float(value) for key, _, value in (pair.partition("=") for pair in pairs)}
        process.stdin.write("\n")
        process.stdin.flush()
    if process.wait():
        raise LoadError(_reason(process.stderr.read().strip(), server))
    return result


def _reason(said: str, server: Server) -> str:
    said = said or "the load generator was killed after a timeout"
    return f"{said} ({server.last_line()})" if server.died() else said
