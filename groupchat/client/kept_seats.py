"""The seats that the client keeps between its runs: for each server and name, a private file with the key of a session.

A file is locked while its seat is in use. It always has the same length, and is overwritten in place: so a kill or a
power cut leaves the old or the new state, and the lock stays. It is on disk before its key, or an id, is used.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from unicodedata import normalize

from groupchat.core.ids import MAX_ID

IDS_BITS = 32
"""Each run has 2**32 ids of its own for its commands: so none is used twice, also if a run ends suddenly."""

MAX_RUN = MAX_ID >> IDS_BITS

_FORM = re.compile(rb"([0-9a-f]{32}) ([0-9]{10}) ([0-9]{19})\n")
_LENGTH = 64


class KeptSeat:
    """The key of a seat, and what the next run has to know of it. Without a file, the seat is for this run only.

    `run` is the number of the run, from 0. `seen` is the number of the last line that came; 0 until it has joined.
    """

    def __init__(self, file: int = -1) -> None:
        self.key = secrets.token_hex(16)
        self.run = self.seen = 0
        self.path: Path | None = None
        self.file = file

    @property
    def is_kept(self) -> bool:
        """True if the next run can have it."""
        return self.file >= 0 and self.seen > 0

    def load(self, path: Path) -> bool:
        """Read the file, and begin another run. Return False if it was damaged: this is a new seat then.

        Raises OSError.
        """
        stored = os.pread(self.file, _LENGTH + 1, 0)
        found = _FORM.fullmatch(stored)
        is_sound = found is not None and int(found[2]) < MAX_RUN and int(found[3]) <= MAX_ID
        if found is not None and is_sound:
            self.key, self.run, self.seen = found[1].decode(), int(found[2]) + 1, int(found[3])
        else:
            os.ftruncate(self.file, 0)
        self.save()
        os.fsync(self.file)
        self.path = path
        return is_sound or not stored.strip(b"\0")  # a power cut may leave a new file without bytes, or with zeros

    def save(self) -> None:
        """Write the file, if there is one. Raises OSError."""
        if self.file >= 0:
            line = f"{self.key} {self.run:010} {self.seen:019}\n".encode()
            if os.pwrite(self.file, line, 0) < len(line):
                raise OSError("it was not written")

    def close(self, *, forget: bool = False) -> None:
        """Let the next run have the seat, if it has joined. With `forget`, remove the file in any case."""
        file, self.file = self.file, -1
        if file >= 0:
            if self.path is not None and (forget or not self.seen):
                with suppress(OSError):
                    for path in self.path.parent.iterdir():
                        if _is_at(file, path):  # it may have several names: see `KeptSeats.link`
                            path.unlink()
            os.close(file)


class KeptSeats:
    """The seats on one server, in a directory."""

    def __init__(self, directory: Path, server: str) -> None:
        self.directory = directory
        self._server = server

    def take(self, name: str) -> tuple[KeptSeat, str]:
        """Return the seat that is kept under a name, or a new one; and what the user should know, if there is anything.

        A seat that cannot be kept is for this run only.
        """
        try:
            seat, is_sound = self._open(self._path(name))
        except BlockingIOError:
            return KeptSeat(), f"another groupchat here has the seat of {name}: this one takes a new seat"
        except OSError as error:
            return KeptSeat(), f"your seat cannot be kept in {self.directory}: {error.strerror or error}"
        return seat, "" if is_sound else f"{seat.path} was damaged: this is a new seat"

    def link(self, seat: KeptSeat, name: str) -> None:
        """Keep a seat under another name, too, if the file system can do that."""
        path = self._path(name)
        with suppress(OSError):
            if seat.path is not None and not _is_at(seat.file, path):
                path.unlink(missing_ok=True)
                path.hardlink_to(seat.path)

    def _path(self, name: str) -> Path:
        """Return the path of a seat's file. As on the server, case and spaces make no other name."""
        same = " ".join(normalize("NFKC", name).casefold().split())
        return self.directory / sha256(f"{self._server} {same}".encode(errors="replace")).hexdigest()[:32]

    def _open(self, path: Path) -> tuple[KeptSeat, bool]:
        """Return the seat in a file, and False if that was damaged. Raises OSError."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        seat = KeptSeat(_locked(path))
        try:
            is_sound = seat.load(path)
        except OSError:
            seat.close()
            raise
        _sync(self.directory)
        return seat, is_sound


def _locked(path: Path) -> int:
    """Open a file of this user, which is made if there is none, and lock it. Raises OSError."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.fchmod(file, 0o600)  # fails if somebody else made it
            if _is_at(file, path):
                return file
        except OSError:
            os.close(file)
            raise
        os.close(file)  # it was removed before it was locked


def _sync(path: Path) -> None:
    """Have the names in a directory stored, if the file system can do that."""
    with suppress(OSError):
        directory = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.lstat(path))
    except FileNotFoundError:
        return False


def default_directory() -> Path:
    home = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (home if home.is_absolute() else Path.home() / ".local" / "state") / "groupchat" / "seats"
