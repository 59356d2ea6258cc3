"""Names of files: which ones are fit to be written, how they are typed, and what a part of one is called."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from groupchat.client.text import clean

MAX_NAME = 255
"""Bytes: the longest name that file systems have."""

DIGITS = 16
"""How many digits of the hash of a file are in the name of a part of it."""

_PART = re.compile(rf"\.([0-9a-f]{{{DIGITS}}})\.part")


class BadNameError(Exception):
    """There can be no such file here; `str()` of it says why."""


def is_fit(name: str) -> bool:
    """Whether this is a plain name: of one file, in one directory, which is not hidden, and says what it is."""
    encoded = name.encode("utf-8", "surrogateescape")
    return (
        0 < len(encoded) <= MAX_NAME
        and clean(encoded) == name
        and not set(name) & set("/\t\n")
        and not name.startswith(".")
    )


def part_name(name: str, sha256: str) -> str:
    """What the part of a file is called, which is being fetched. It is no longer than a name may be."""
    end = f".{sha256[:DIGITS]}.part"
    return name.encode()[: MAX_NAME - len(end)].decode("utf-8", "ignore") + end


def find_part(folder: Path, name: str) -> tuple[Path, str] | None:
    """The newest part of a file of this name, and how the hash of the file begins. Raises OSError."""
    kept = part_name(name, "0" * DIGITS)[: -DIGITS - len("..part")]
    found = []
    for entry in os.scandir(folder):
        digits = _PART.fullmatch(entry.name.removeprefix(kept)) if entry.name.startswith(kept) else None
        if digits is not None and entry.is_file(follow_symlinks=False):
            found.append((entry.stat().st_mtime, entry.path, digits[1]))
    if not found:
        return None
    _, path, beginning = max(found)
    return Path(path), beginning


def target(name: str, to: str) -> Path:
    """Where a file is saved: here, in a directory, or under another name. Raises BadNameError."""
    try:
        path = Path(to).expanduser() if to else Path()
        if not to or to.endswith("/") or path.is_dir():
            if not is_fit(name):
                raise BadNameError("that is no name for a file here: give another one to save it under")
            path /= name
        if not path.parent.is_dir():
            raise BadNameError(f"there is no directory {path.parent}")
        if b"\0" in path.name.encode():
            raise ValueError
    except (OSError, RuntimeError, ValueError) as error:  # such as one too long, of nobody, or that is no UTF-8
        why = getattr(error, "strerror", None) or "there is no such place"
        raise BadNameError(f"{clean(os.fsencode(to))}: {why}: give another name to save it under") from error
    if os.path.lexists(path):
        raise BadNameError(f"{path} exists already: give another name to save it under")
    return path


def split(words: str, names: Iterable[str]) -> tuple[str, str]:
    """The name of a file, and where it is to be saved, in what was typed.

    The name is in quotation marks, or the longest of these names with which it begins; if there is none, all of it.
    """
    quoted = re.fullmatch(r'"([^"]+)"(?: +(.+))?', words) or re.fullmatch(r"'([^']+)'(?: +(.+))?", words)
    if quoted is not None:
        return quoted[1], unquoted(quoted[2] or "")
    known = [name for name in names if words == name or words.startswith(f"{name} ")]
    if not known:
        return words, ""
    name = max(known, key=len)
    return name, unquoted(words.removeprefix(name).strip())


def unquoted(words: str) -> str:
    """Without the quotation marks around it."""
    words = words.strip()
    return words[1:-1] if len(words) > 1 and words[0] == words[-1] and words[0] in "\"'" else words
