"""The load generator for TCP, tcpload.c, which is run by `load.run` or by `listening`.

A server needs a file descriptor for each connection: call `allow_files` before starting it.
"""

from __future__ import annotations

import resource
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .load import LIMIT_SECONDS, LoadError, compiled
from .servers import TCP, Server


def allow_files() -> None:
    """Let the servers started from now on open as many files as the system allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def built(other: Path) -> Path:
    """Compile the generator, once, into the directory of the other one. Raises LoadError."""
    return compiled(other.parent, "tcpload")


@contextmanager
def listening(program: Path, server: Server, members: int) -> Iterator[dict[str, float]]:
    """Have members joined over TCP, which read all lines while another load runs.

    The dictionary is filled with their figures at the end (see tcpload.c). Raises LoadError with the reason.
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
        _next_phase(process, figures)  # they have printed their figures
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
        pass  # _next_phase reports why the generator ended


def _next_phase(process: subprocess.Popen[str], figures: dict[str, float]) -> None:
    assert process.stdout is not None
    assert process.stderr is not None
    _, *pairs = process.stdout.readline().split() or [""]
    if not pairs:
        raise LoadError(f"the listeners: {process.stderr.read().strip() or 'ended: they hung'}")
    figures |= {key: float(value) for key, _, value in (pair.partition("=") for pair in pairs)}
