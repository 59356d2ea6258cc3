"""The load generator for TCP: built from tcpload.c when it is needed, and run by `load.run`, or by `listening`.

A server under load needs a file for each connection: `allow_files` first.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .load import LIMIT_SECONDS, LoadError
from .servers import TCP, Server

SOURCE = Path(__file__).resolve().parent / "tcpload.c"


def allow_files() -> None:
    """Servers started from now on may open as many files as the system lets them."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def built(other: Path) -> Path:
    """The generator, compiled (once) into the directory that the other one is in. Raises LoadError."""
    program = other.with_name("tcpload")
    if program.exists():
        return program
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang") or "cc"
    command = [compiler, "-O2", "-Wall", "-Wextra", "-o", str(program), str(SOURCE)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise LoadError(f"the load generator does not compile:\n{made.stderr}")
    return program


@contextmanager
def listening(program: Path, server: Server, members: int) -> Iterator[dict[str, float]]:
    """So many members have joined over TCP, and read what is said, while another load runs.

    What they counted is there at the end (see tcpload.c). Raises LoadError with the reason.
    """
    command = [str(program), str(server.ports[TCP]), "listen", "-n", str(members)]
    figures: dict[str, float] = {}
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    watchdog = threading.Timer(2 * LIMIT_SECONDS, process.kill)
    watchdog.start()
    try:
        _next_phase(process, figures)  # all have joined
        _go_on(process)
        yield figures
        _go_on(process)
        _next_phase(process, figures)  # they have counted
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()


def _go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write("\n")
        process.stdin.flush()
    except BrokenPipeError:
        pass  # the next phase, which does not come, says why


def _next_phase(process: subprocess.Popen[str], figures: dict[str, float]) -> None:
    assert process.stdout is not None
    assert process.stderr is not None
    _, *pairs = process.stdout.readline().split() or [""]
    if not pairs:
        raise LoadError(f"the listeners: {process.stderr.read().strip() or 'ended: they hung'}")
    figures |= {key: float(value) for key, _, value in (pair.partition("=") for pair in pairs)}
