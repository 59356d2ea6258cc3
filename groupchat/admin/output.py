"""What groupchat-admin prints: text, which may come from anybody, cannot drive a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from groupchat.core.texts import FORBIDDEN

_ENCODER = json.JSONEncoder(ensure_ascii=False)


def safe(text: str) -> str:
    """Return the text with escapes, which JSON has too, in place of characters that could drive a terminal."""
    return FORBIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def as_json(found: Mapping[str, object]) -> str:
    return safe(_ENCODER.encode(found))


def utc(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def local(at: float) -> str:
    return f"{datetime.fromtimestamp(at):%Y-%m-%d %H:%M:%S}"


def complain(problem: str) -> None:
    with suppress(OSError):
        print(f"groupchat-admin: {safe(problem)}", file=sys.stderr, flush=True)


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns. The last one is not padded: only a terminal knows the width of a name."""
    widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:-1]]
    for row in rows:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]))
