"""The arguments of groupchat-admin: a parser, and the types of its values."""

from __future__ import annotations

import argparse
import re
import time
from datetime import datetime
from typing import NoReturn

from groupchat.admin.output import safe
from groupchat.core.numbers import whole


class Parser(argparse.ArgumentParser):
    """An argument parser that prints an error in one line."""

    def error(self, message: str) -> NoReturn:
        usage = " ".join(self.format_usage().split())
        self.exit(2, f"{self.prog}: {safe(message)}; {usage} (see {self.prog} --help)\n")


def moment(text: str) -> float:
    """Return the time that an argument of --since means. Raise ArgumentTypeError."""
    if (ago := _duration(text)) is not None:
        return time.time() - ago
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(f"{text!r} is not like 2026-11-21, 2026-11-21T10:15, 90m, 12h, 7d") from None


def duration(text: str) -> float:
    """Return the seconds that an argument like 90m, 12h or 7d means. Raise ArgumentTypeError."""
    found = _duration(text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 90m, 12h, 7d")
    return found


def _duration(text: str) -> float | None:
    found = re.fullmatch(r"([0-9]{1,9})([mhd])", text)
    return None if found is None else int(found[1]) * {"m": 60, "h": 3_600, "d": 86_400}[found[2]]


def lines(text: str) -> tuple[int, int]:
    """Return the first and the last line that an argument like 17 or 17-25 means. Raise ArgumentTypeError."""
    first, dash, last = text.partition("-")
    numbers = whole(first), whole(last if dash else first)
    if numbers[0] is None or numbers[1] is None or not 0 < numbers[0] <= numbers[1] < 2**53:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 17, or 17-25")
    return numbers[0], numbers[1]


def number(text: str) -> int:
    """Return the number that an argument means, at least 1. Raise ArgumentTypeError."""
    found = whole(text)
    if found is None or not 0 < found <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 100000")
    return found


def setting(text: str) -> tuple[str, str]:
    """Return the name and the value in an argument like rate=10. Raise ArgumentTypeError."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not like rate=10")
    return name, value
