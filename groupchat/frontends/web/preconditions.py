"""The preconditions of a request: RFC 9110, section 13. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')

_MONTH = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_TIME = "[0-9]{2}:[0-9]{2}:[0-9]{2}"
_DATE = re.compile(
    f"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-9]{{2}} {_MONTH} [0-9]{{4}} {_TIME} GMT"
    f"|(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, [0-9]{{2}}-{_MONTH}-[0-9]{{2}} {_TIME} GMT"
    f"|(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) {_MONTH} [0-9 ][0-9] {_TIME} [0-9]{{4}}"
)
"""The three forms of a date: section 5.6.7."""


@dataclass(frozen=True, slots=True)
class Version:
    """The version of what a request names: its entity tag, and when it last changed, if these are known."""

    tag: str = ""
    at: float | None = None


def failed(field: Callable[[str], str | None], method: bytes, version: Version | None) -> int:
    """Return the status of the answer if a precondition is false, and 0 otherwise: section 13.2.2.

    `field` returns the value of a header. `version` is None if there is nothing.
    """
    reads = method in (b"GET", b"HEAD")
    wanted, unwanted = field("If-Match"), field("If-None-Match")
    at = None if version is None or version.at is None else int(version.at)
    if wanted is not None:
        if not _names(wanted, version, weak=False):
            return 412
    elif at is not None and at > _date(field("If-Unmodified-Since"), at):
        return 412
    if unwanted is not None:
        if _names(unwanted, version, weak=True):
            return 304 if reads else 412
    elif reads and at is not None and at <= _date(field("If-Modified-Since"), at - 1):
        return 304
    return 0


def may_send_part(field: Callable[[str], str | None], version: Version) -> bool:
    """Return True if a Range may be obeyed: the client has the other bytes of this very version: section 13.1.5.

    A date does not prove that: several versions may have the same one, which programs such as tar and rsync set.
    """
    wanted = field("If-Range")
    return wanted is None or (wanted == version.tag and not wanted.startswith("W/"))


def _names(header: str, version: Version | None, *, weak: bool) -> bool:
    """Return True if a list of entity tags has that of this version, or is `*`: sections 8.8.3.2, 13.1.1 and 13.1.2."""
    if version is None:
        return False
    if header.strip() == "*":
        return True
    tags = _TAG.findall(header)
    if weak:
        return version.tag.removeprefix("W/") in [tag.removeprefix("W/") for tag in tags]
    return version.tag in tags and not version.tag.startswith("W/")


def _date(header: str | None, default: float) -> float:
    """Return a date in seconds since the epoch, and the default if there is none, or if it is malformed."""
    if header is None or not _DATE.fullmatch(header):
        return default
    try:
        return parsedate_to_datetime(header).replace(tzinfo=UTC).timestamp()
    except (ValueError, TypeError):
        return default
