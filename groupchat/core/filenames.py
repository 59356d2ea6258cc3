"""The rules of the names of shared files.

A file in the directory is listed if its name is one line of which all is seen: see unseen.py. An uploaded file needs a
name that works on any disk, and in any line of the group: no `:`, since a line with `: ` in it is something that
somebody said.
"""

from __future__ import annotations

import re
from unicodedata import category, normalize

from groupchat.core.errors import IllegalMessage

MAX_NAME = 255
"""The longest name, in bytes of UTF-8."""

MAX_SUFFIX = 16
"""The longest suffix, in bytes: if there is more after the last dot, the name has no suffix."""

_FORBIDDEN = '/\\:*?"<>|'
_DEVICE = re.compile(r"(CON|PRN|AUX|NUL|CLOCK\$|CONIN\$|CONOUT\$|(COM|LPT)[0-9¹²³]) *(\..*)?", re.IGNORECASE)


def is_listed(name: str) -> bool:
    """Return True if a file in the directory is listed under this name. Surrogates in it stand for invalid UTF-8."""
    return 0 < len(name) <= MAX_NAME and name[0] != "." and "/" not in name and _is_visible(name)


def check_name(name: str) -> str:
    """Return the name of an upload in NFC. Raises IllegalMessage, saying why, if it is not allowed."""
    if not name:
        raise IllegalMessage("A file needs a name.")
    if len(name) > MAX_NAME:
        raise _too_long(name)
    name = normalize("NFC", name)
    if not _is_visible(name):
        raise IllegalMessage("The name of a file cannot contain control characters or invisible characters.")
    if len(name.encode()) > MAX_NAME:
        raise _too_long(name)
    if any(mark in name for mark in _FORBIDDEN):
        raise IllegalMessage(f"The name of a file cannot contain any of {' '.join(_FORBIDDEN)}")
    if name[0] in ". " or name[-1] in ". ":
        raise IllegalMessage("The name of a file cannot begin or end with a dot or a space.")
    if name[0].isspace() or name[-1].isspace() or category(name[0]).startswith("M"):
        raise IllegalMessage("The name of a file has to begin and end with a visible character.")
    if _DEVICE.fullmatch(name):
        raise IllegalMessage("That name is reserved for a device on Windows.")
    return name


def folded(name: str) -> str:
    """Return a key that is the same for two names which some disk takes for one."""
    return normalize("NFC", normalize("NFC", name).casefold())


def numbered(name: str, number: int) -> str:
    """Return another name, such as `photo (2).jpg`, to use when this one is taken. It is cut if it is too long."""
    stem, suffix = _split(name)
    suffix = f" ({number}){suffix}"
    stem = stem.encode()[: MAX_NAME - len(suffix.encode())].decode(errors="ignore")
    while not _is_visible(stem):  # it was cut within a sequence
        stem = stem[:-1]
    return stem + suffix


def _split(name: str) -> tuple[str, str]:
    stem, dot, suffix = name.rpartition(".")
    if not stem or len(suffix.encode()) > MAX_SUFFIX:
        return name, ""
    if stem.lower().endswith(".tar") and len(stem) > len(".tar"):
        stem, suffix = stem[:-4], stem[-3:] + dot + suffix
    return stem, dot + suffix


def _is_visible(name: str) -> bool:
    if name.isprintable():
        return True
    from groupchat.core.unseen import is_seen  # few names need its tables, which take 10 ms to load

    return is_seen(name)


def _too_long(name: str) -> IllegalMessage:
    size = len(name.encode(errors="replace"))
    return IllegalMessage(f"The name of a file has at most {MAX_NAME} bytes; that one has {size}.")
