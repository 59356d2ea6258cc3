"""The audit trail: who did what to the group, when and why, one JSON object a line, in a file beside the log."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from glob import escape
from pathlib import Path
from typing import Any

from groupchat.core.events import (
    Banned,
    Changed,
    Demoted,
    Erased,
    Event,
    Muted,
    Noticed,
    Promoted,
    Released,
    Removed,
    Topic,
    Unbanned,
    Unmuted,
)

AUDITED: dict[Callable[..., Event], str] = {
    Removed: "remove",
    Muted: "mute",
    Unmuted: "unmute",
    Banned: "ban",
    Unbanned: "unban",
    Released: "release",
    Erased: "erase",
    Topic: "topic",
    Noticed: "say",
    Changed: "set",
    Promoted: "operator",
    Demoted: "operator off",
}
"""The events that are recorded, with what the operator did."""

AT_ONCE = 1 << 20
"""The bytes of the end of the file that are read for an answer."""


def path_of(log: Path) -> Path:
    """Return the path of the audit trail of a log."""
    return log.with_name(f"{log.name}.audit")


class Audit:
    """The audit trail in a file; without one, nothing is recorded."""

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def event(self, event: Event) -> None:
        """Record what an operator did. The event is durable."""
        fields = asdict(event)
        at, by = fields.pop("at"), fields.pop("by", "") or fields.get("name", "")
        self.record(AUDITED[type(event)], by, at, **fields)

    def record(self, did: str, by: str, at: float, **facts: Any) -> None:
        """Append a line. Raise OSError."""
        if self.path is None:
            return
        moment = datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        line = json.dumps({"at": moment, "by": by, "did": did, **facts}, ensure_ascii=False) + "\n"
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        handle = os.open(self.path, flags, 0o600)
        try:
            status = os.fstat(handle)
            if stat.S_ISFIFO(status.st_mode):
                raise OSError(errno.EINVAL, "It is a pipe")
            size = status.st_size
            if os.geteuid() == 0 and not size:  # it may be new, and the daemon of another user
                owner = self.path.with_suffix("").stat()
                os.fchown(handle, owner.st_uid, owner.st_gid)
            is_half = size and os.pread(handle, 1, size - 1) != b"\n"  # the record before: the disk was full
            data = (b"\n" if is_half else b"") + line.encode()
            while data:
                data = data[os.write(handle, data) :]
        finally:
            os.close(handle)

    def last(self, count: int) -> list[dict[str, Any]]:
        """Return the last records, at most so many, oldest first. What is no record is passed over."""
        return list(self._records())[-count:] if count else []

    def backups(self) -> list[str]:
        """Return the backups that groupchat-admin made, oldest first, whether they are still there or not."""
        if self.path is None or not self.path.exists():
            return []
        with self.path.open("rb") as file:
            records = [record for line in file if b'"did": "backup"' in line for record in _parsed([line])]
        copies = [record.get("to") for record in records if record.get("did") == "backup"]
        return [copy for copy in dict.fromkeys(copies) if isinstance(copy, str)]

    def kept_aside(self) -> list[str]:
        """Return the copies of the log that a restore, or a rescue, left beside it."""
        if self.path is None:
            return []
        log = self.path.with_suffix("").absolute()
        ends = (".replaced-*", ".rescued*")
        return sorted(str(path) for end in ends for path in log.parent.glob(f"{escape(log.name)}{end}"))

    def _records(self) -> Iterator[dict[str, Any]]:
        if self.path is None or not self.path.exists():
            return
        with self.path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - AT_ONCE))
            lines = file.read().split(b"\n")[0 if size <= AT_ONCE else 1 :]
        yield from _parsed(lines)


def _parsed(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            yield record
