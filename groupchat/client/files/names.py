"""Names of files: which ones are safe to write, how they are typed, and names of partial files."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from socket import gethostname
from unicodedata import normalize
from urllib.parse import unquote

from groupchat.client.text import clean_line
from groupchat.core.filenames import MAX_NAME, is_listed

DIGITS = 16
"""The number of digits of a file's hash in the name of its partial file."""

_FILE_URL = re.compile(r"file:(?://([^/]*))?(/.*)", re.IGNORECASE)

_PART = re.compile(rf"\.([0-9a-f]{{{DIGITS}}})\.part")


class BadNameError(Exception):
    """There can be no file of this name here; `str()` says why."""


def is_safe(name: str) -> bool:
    """Return True if a server may list this name, and a file system can have it."""
    return is_listed(name) and len(name.encode()) <= MAX_NAME


def part_name(name: str, sha256: str) -> str:
    """Return the name of the partial file of a download. It is at most MAX_NAME bytes long."""
    end = f".{sha256[:DIGITS]}.part"
    return name.encode()[: MAX_NAME - len(end)].decode("utf-8", "ignore") + end


def find_part(folder: Path, name: str) -> tuple[Path, str] | None:
    """Return the newest partial file for a name, and the beginning of the hash in its name. Raises OSError."""
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
    """Return the path to save a file under: here, in the directory `to`, or as `to`. Raises BadNameError."""
    try:
        to = typed_path(to)
        path = Path(to).expanduser() if to else Path()
        if not to or to.endswith("/") or path.is_dir():
            if not is_safe(name):
                raise BadNameError("that is no name for a file here: give another one to save it under")
            path /= name
        if not path.parent.is_dir():
            raise BadNameError(f"there is no directory {path.parent}")
        if b"\0" in path.name.encode():
            raise ValueError
    except (OSError, RuntimeError, ValueError) as error:  # too long, an unknown user's home, or not UTF-8
        why = getattr(error, "strerror", None) or "there is no such place"
        raise BadNameError(f"{clean_line(to)}: {why}: give another name to save it under") from error
    if os.path.lexists(path):
        raise BadNameError(f"{path} exists already: give another name to save it under")
    return path


def split(words: str, names: Collection[str]) -> tuple[str, str]:
    """Split what was typed into the name of a file and the path to save it under.

    The name is in quotation marks, or the longest of `names`, in any normal form, that the text begins with; otherwise
    it is all of it.
    """
    known = {normalize("NFC", name): name for name in names} | {name: name for name in names}
    quoted = re.fullmatch(r'"([^"]+)"(?: +(.+))?', words) or re.fullmatch(r"'([^']+)'(?: +(.+))?", words)
    if quoted is not None:
        return known.get(normalize("NFC", quoted[1]), quoted[1]), quoted[2] or ""
    for end in (len(words), *(at for at in reversed(range(len(words))) if words[at] == " ")):
        name = known.get(words[:end]) or known.get(normalize("NFC", words[:end]))
        if name is not None:
            return name, words[end:].strip()
    return words, ""


def unquoted(words: str) -> str:
    """Return the text without quotation marks around it."""
    words = words.strip()
    return words[1:-1] if len(words) > 1 and words[0] == words[-1] and words[0] in "\"'" else words


def typed_path(words: str) -> str:
    """Return the path that was typed, or dragged into the terminal: as a shell would take it, or as a URL (RFC 8089).

    A path that exists as it was typed is taken as it is.
    """
    words = words.strip()
    if os.path.lexists(os.path.expanduser(words)):
        return words
    url = _FILE_URL.fullmatch(words)
    if url is not None and (url[1] or "localhost").lower() in ("localhost", gethostname().lower()):
        return unquote(url[2], errors="surrogateescape")
    with suppress(ValueError):
        path, *more = shlex.split(words)
        return words if more else path
    return words
