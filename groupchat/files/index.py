"""The index of the shelf: a JSON file with the hash and the owner of each file. Its functions may block."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from typing import Any

from groupchat.files import FileOwner
from groupchat.files.disk import Entry
from groupchat.files.parts import FILE_FLAGS, replace_file

INDEX = "index"
VERSION = 2
"""Version 1 had no ctime: of its files only the owners are believed."""

MAX_INDEX = 64 * 1024 * 1024
"""The longest index that is read, in bytes."""

_encode = json.JSONEncoder(ensure_ascii=False).encode
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Indexed:
    """A record of a file: the hash if it was computed, and the owner if it was uploaded."""

    entry: Entry
    sha256: str | None = None
    owner: FileOwner | None = None


def load(folder: int) -> dict[str, Indexed]:
    """Read the index, by the name of each file. A missing or damaged one is empty: hashes can be computed again."""
    try:
        handle = os.open(INDEX, os.O_RDONLY | FILE_FLAGS, dir_fd=folder)
        with open(handle, encoding="utf-8") as file:
            data = json.loads(file.read(MAX_INDEX))
        if data["version"] == 1:
            return {name: _indexed(name, [*values[:3], 0, None, *values[4:]]) for name, values in data["files"].items()}
        if data["version"] != VERSION:
            return {}
        return {name: _indexed(name, values) for name, values in data["files"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def save(folder: int, files: list[Indexed]) -> None:
    """Write the index, all or nothing. Raises OSError.

    The files are encoded one by one: the other threads wait while json encodes a value, however long it is.
    """
    lines = ",\n".join(_encoded(indexed) for indexed in files if indexed.sha256 or indexed.owner)
    data = f'{{"version": {VERSION}, "files": {{{lines}}}}}'.encode()
    replace_file(folder, INDEX, data)


def _encoded(indexed: Indexed) -> str:
    entry, owner = indexed.entry, indexed.owner or FileOwner(0, "")
    values = [entry.size, entry.mtime, entry.inode, entry.ctime, indexed.sha256, owner.member, owner.host]
    return f"{_encode(entry.name)}: {_encode(values)}"


def _indexed(name: str, values: list[Any]) -> Indexed:
    """Raise TypeError or ValueError for what `save` did not write."""
    size, mtime, inode, ctime, sha256, member, host = values
    if not all(isinstance(value, int) for value in (size, mtime, inode, ctime, member)) or not isinstance(host, str):
        raise ValueError(name)
    if sha256 is not None and not _SHA256.fullmatch(sha256):
        raise ValueError(name)
    return Indexed(Entry(name, size, mtime, inode, ctime), sha256, FileOwner(member, host) if member or host else None)
