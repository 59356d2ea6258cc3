"""The configuration file: TOML in which every option has its own name, and each value becomes arguments.

    rate = 10
    quic = true
    tcp = [12345, "ssl:12346:privateKey=key.pem:certKey=cert.pem"]

Errors are one line that names the file and the line.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from twisted.python.usage import UsageError

MAX_SIZE = 64 * 1024
"""The largest configuration file, in bytes."""


class Kind(Enum):
    """What the value of an option is in the file."""

    FLAG = "true or false"
    NUMBER = "a whole number"
    TEXT = "a string"
    TEXTS = "a string, or an array of strings"
    LIST = "a string, or an array of strings: a list"
    PORTS = "a port, a string, or an array of these"


@dataclass(frozen=True, slots=True)
class Setting:
    """The value of one option in a file, as arguments. `where` names the file and the line."""

    name: str
    arguments: tuple[str, ...]
    where: str


def read(path: Path, kinds: Mapping[str, Kind]) -> list[Setting]:
    """Return what a file sets. Raise UsageError."""
    return [_setting(path, line, name, value, kinds) for name, value, line in _entries(path)]


def _entries(path: Path) -> Iterator[tuple[str, Any, int]]:
    """Yield the keys of a file with their values and lines."""
    text = _text(path)
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as why:
        raise UsageError(_located(path, text, why)) from None
    except (ValueError, RecursionError):
        pass  # it is found below
    statement, begin = "", 1
    for number, line in enumerate(text.split("\n"), 1):  # tomllib tells no lines, but each statement is whole by itself
        statement += line + "\n"
        try:
            found = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue  # it ends on another line
        except (ValueError, RecursionError):  # thousands of digits, or of brackets within brackets
            raise UsageError(f"{path}, line {begin}: that value cannot be.") from None
        yield from ((name, value, begin) for name, value in found.items())
        statement, begin = "", number + 1


def _text(path: Path) -> str:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UsageError(f"{path} is no regular file.")
            data = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError:  # a NUL
        raise UsageError("--config must name a file.") from None
    if len(data) > MAX_SIZE:
        raise UsageError(f"{path} has more than {MAX_SIZE} bytes.")
    try:
        return data.decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UsageError(f"{path}, line {line}: that is not UTF-8.") from None


def _located(path: Path, text: str, why: tomllib.TOMLDecodeError) -> str:
    """Return an error of the parser in one line, with the line of the file."""
    what, _, place = " ".join(str(why).split()).rpartition(" (at ")
    line = re.search(r"line (\d+)", place)
    return f"{path}, line {line[1] if line else len(text.rstrip().split(chr(10)))}: {what}."


def _setting(path: Path, line: int, name: str, value: Any, kinds: Mapping[str, Kind]) -> Setting:
    where = f"{path}, line {line}"
    kind = kinds.get(name)
    if kind is None:
        raise UsageError(f"{where}: there is no setting {name[:64]!r}.")
    texts = _texts(kind, value)
    if texts is None:
        raise UsageError(f"{where}: {name} must be {kind.value}.")
    if not all(text.isprintable() for text in texts):
        raise UsageError(f"{where}: {name} has a control character in it.")
    if kind is Kind.FLAG:
        return Setting(name, (f"--{name}",) if value else (), where)
    return Setting(name, tuple(f"--{name}={text}" for text in texts), where)


def _texts(kind: Kind, value: Any) -> list[str] | None:
    """Return the values of an option as they are typed; None if the type is wrong."""
    match kind:
        case Kind.FLAG:
            return [] if isinstance(value, bool) else None
        case Kind.NUMBER:
            return [str(value)] if _is_number(value) else None
        case Kind.TEXT:
            return [value] if isinstance(value, str) else None
    listed = value if isinstance(value, list) else [value]
    if not all(isinstance(item, str) or (kind is Kind.PORTS and _is_number(item)) for item in listed):
        return None
    texts = [str(item) for item in listed]
    return [",".join(texts)] if kind is Kind.LIST else texts


def _is_number(value: Any) -> bool:
    """Return True for an integer that can be printed: one that is hexadecimal may have any length."""
    return type(value) is int and abs(value) < 2**63
