"""What `groupchat-admin check` says of a directory of shared files."""

from __future__ import annotations

import os
from pathlib import Path

from groupchat.files.disk import unlisted


def shelf_facts(directory: Path) -> list[tuple[str, str]]:
    """Return how many files are shared, and each name that is not, with the reason. Raises OSError."""
    count, others = unlisted(directory)
    return [("shared", f"{count} files"), *(("not shared", f"{_escaped(name)}: {why}") for name, why in others)]


def _escaped(name: str) -> str:
    """Return a name with escapes in place of all that is not seen, or is not UTF-8."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
