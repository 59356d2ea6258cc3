"""What the name of a shared file may be. Pure.

Of what is in the directory anything is listed that is one line of text. What is uploaded needs a name that is fine on
any disk, and in any line of the group: no `:`, since a line with `: ` in it is something that somebody said.
"""

from __future__ import annotations

import re
from unicodedata import category, normalize

from groupchat.core.errors import IllegalMessage

MAX_NAME = 255
"""The longest name, in bytes of UTF-8."""

MAX_SUFFIX = 16
"""What is behind the last dot is a suffix if it is no longer, in bytes."""

_FORBIDDEN = '/\\:*?"<>|'
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # control, format, surrogate, private, unassigned; separators
_DEVICE = re.compile(r"(CON|PRN|AUX|NUL|CLOCK\$|CONIN\$|CONOUT\$|(COM|LPT)[0-9¹²³]) *(\..*)?", re.IGNORECASE)


def is_listed(name: str) -> bool:
    """Whether a file of this name in the directory can be listed and fetched. Surrogates stand for what is no UTF-8."""
    return bool(name) and name[0] != "." and "/" not in name and _is_seen(name)


def check_name(name: str) -> str:
    """The name under which this may be uploaded: in NFC. Raises IllegalMessage for what may not be, saying why."""
    if not name:
        raise IllegalMessage("A file needs a name.")
    if len(name) > MAX_NAME or not _is_seen(name):
        raise (
            _too_long(name)
            if len(name) > MAX_NAME
            else IllegalMessage("The name of a file has no control or other unseen characters in it.")
        )
    name = normalize("NFC", name)
    if len(name.encode()) > MAX_NAME:
        raise _too_long(name)
    if not _is_seen(name) or any(mark in name for mark in _FORBIDDEN):
        raise IllegalMessage(f"The name of a file has none of {' '.join(_FORBIDDEN)} in it.")
    if name[0] in ". " or name[-1] in ". ":
        raise IllegalMessage("The name of a file neither begins nor ends with a dot or a space.")
    if name[0].isspace() or name[-1].isspace() or category(name[0]).startswith("M"):
        raise IllegalMessage("The name of a file begins and ends with something that can be seen.")
    if _DEVICE.fullmatch(name):
        raise IllegalMessage("That is the name of a device on Windows: a file cannot have it.")
    return name


def folded(name: str) -> str:
    """The same for two names that some disk takes for one."""
    return normalize("NFC", normalize("NFC", name).casefold())


def numbered(name: str, number: int) -> str:
    """Another name, for when this one is taken: `photo (2).jpg`. It is cut where there is no room."""
    stem, suffix = _split(name)
    suffix = f" ({number}){suffix}"
    room = MAX_NAME - len(suffix.encode())
    return stem.encode()[:room].decode(errors="ignore") + suffix


def _split(name: str) -> tuple[str, str]:
    stem, dot, suffix = name.rpartition(".")
    if not stem or len(suffix.encode()) > MAX_SUFFIX:
        return name, ""
    if stem.lower().endswith(".tar") and len(stem) > len(".tar"):
        stem, suffix = stem[:-4], stem[-3:] + dot + suffix
    return stem, dot + suffix


def _is_seen(name: str) -> bool:
    return name.isprintable() or not any(category(character) in _UNSEEN for character in name)


def _too_long(name: str) -> IllegalMessage:
    return IllegalMessage(f"The name of a file has at most {MAX_NAME} bytes; that one has {_length(name)}.")


def _length(name: str) -> int:
    return len(name.encode(errors="replace"))
