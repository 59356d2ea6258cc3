"""Which certificates are trusted: those that the system trusts, or a file names, or that were trusted before."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

SYSTEM = "system"
"""Stands in the place of a fingerprint for a server that the system trusted."""


class UntrustedError(Exception):
    """The server's certificate is not trusted; `str()` of it says why, and what to do."""


class NewError(UntrustedError):
    """Nothing speaks for the certificate, and nothing against it: whoever asks may decide."""

    def __init__(self, known: KnownServers, where: str, fingerprint: str, why: str) -> None:
        super().__init__(
            f"The certificate of {where} is not one that this system knows ({why}). "
            f"Its fingerprint is SHA-256 {fingerprint}: compare it with what whoever runs the server has."
        )
        self._known = known
        self._where = where
        self._fingerprint = fingerprint

    def trust(self) -> None:
        """Trust it from now on. Raises OSError if that cannot be remembered."""
        self._known.remember(self._where, self._fingerprint)


class ChangedError(UntrustedError):
    """The certificate is another one than before."""

    def __init__(self, known: KnownServers, where: str, fingerprint: str, problem: str) -> None:
        super().__init__(
            f"THE CERTIFICATE OF {where} HAS CHANGED, or is trusted no longer ({problem}). Somebody may be listening "
            f"in between; or whoever runs the server has made a new one: ask. It is now SHA-256 {fingerprint}. If that "
            f"is right, remove the line of {where} from {known.path} and connect again."
        )


class KnownServers:
    """The file in which it stands what was trusted before: `HOST:PORT FINGERPRINT` on each line.

    With `trust_new`, whoever was never seen before is trusted without asking.
    """

    def __init__(self, path: Path, *, trust_new: bool = False) -> None:
        self.path = path
        self._trust_new = trust_new

    def find(self, where: str) -> str | None:
        """What is remembered of a server. Raises OSError if the file cannot be read."""
        found = None
        with suppress(FileNotFoundError):
            for line in self.path.read_text().splitlines():
                server, _, fingerprint = line.partition(" ")
                if server == where:
                    found = fingerprint.strip()
        return found

    def remember(self, where: str, fingerprint: str) -> None:
        """Raises OSError if the file cannot be written."""
        lines = []
        with suppress(FileNotFoundError):
            lines = [line for line in self.path.read_text().splitlines() if line.partition(" ")[0] != where]
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, part = tempfile.mkstemp(dir=self.path.parent)
        with os.fdopen(descriptor, "w") as file:
            file.write("\n".join([*lines, f"{where} {fingerprint}\n"]))
        try:
            os.replace(part, self.path)
        except OSError:
            os.unlink(part)
            raise

    def check(self, where: str, certificate: bytes, problem: str) -> None:
        """Whether a server that shows this certificate (DER) is the one that it was.

        `problem` is what the system has against it; empty if nothing. Raises UntrustedError.
        """
        fingerprint = fingerprint_of(certificate)
        try:
            self._check(where, fingerprint, problem)
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8"
            raise UntrustedError(f"{self.path}, where it stands who is trusted, cannot be used: {why}.") from error

    def _check(self, where: str, fingerprint: str, problem: str) -> None:
        known = self.find(where)
        if not problem:
            if known is None:
                self.remember(where, SYSTEM)
        elif known is None and self._trust_new:
            self.remember(where, fingerprint)
        elif known is None:
            raise NewError(self, where, fingerprint, problem)
        elif known != fingerprint:
            raise ChangedError(self, where, fingerprint, problem)


def fingerprint_of(certificate: bytes) -> str:
    """As `openssl x509 -fingerprint -sha256` prints it."""
    return sha256(certificate).digest().hex(":").upper()


def default_path() -> Path:
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "groupchat" / "known_servers"
