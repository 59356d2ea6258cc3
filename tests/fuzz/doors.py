"""Every door, and how to run a round of inputs through it in memory."""

from __future__ import annotations

from collections.abc import Callable

from tests.fuzz import storage, world

DOORS: dict[str, Callable[[str, int], None]] = {
    "udp": world.datagram_round,
    "lines": world.lines_round,
    "http": world.http_round,
    "quic": world.quic_round,
    "file": storage.files,
    "wal": storage.wals,
    "snapshot": storage.snapshots,
}
"""Functions that are given the name of a round, SEED/DOOR/NUMBER, and the number of inputs. They raise Fault."""
