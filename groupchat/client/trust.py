"""Trusted certificates: those that the system or a given file vouches for, and those that the user trusted before."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

SYSTEM = "system"
"""Stands in place of the fingerprint for a server whose certificate the system trusted."""


class UntrustedError(Exception):
    """The server's certificate is not trusted; `str()` says why, and what to do."""


class UnknownCertificateError(UntrustedError):
    """The server was never seen before, and the system does not trust its certificate. The user may decide."""

    def __init__(self, known: KnownServers, server: str, fingerprint: str, why: str) -> None:
        super().__init__(
            f"The certificate of {server} is not one that this system knows ({why}). "
            f"Its fingerprint is SHA-256 {fingerprint}: compare it with the one that the operator of the server has."
        )
        self._known = known
        self._server = server
        self._fingerprint = fingerprint

    def trust(self) -> None:
        """Trust it from now on. Raises OSError if that cannot be stored."""
        self._known.remember(self._server, self._fingerprint)


class ChangedCertificateError(UntrustedError):
    """The certificate is not the one of earlier connections."""

    def __init__(self, known: KnownServers, server: str, fingerprint: str, problem: str) -> None:
        super().__init__(
            f"THE CERTIFICATE OF {server} HAS CHANGED, or is no longer trusted ({problem}). Somebody may be listening "
            f"in between; or the operator of the server has made a new one: ask. It is now SHA-256 {fingerprint}. If "
            f"that is right, remove the line of {server} from {known.path} and connect again."
        )


class KnownServers:
    """The file of trusted servers: `HOST:PORT FINGERPRINT` on each line.

    With `trust_new`, a server that was never seen before is trusted without asking.
    """

    def __init__(self, path: Path, *, trust_new: bool = False) -> None:
        self.path = path
        self._trust_new = trust_new

    def _lines(self) -> list[str]:
        return self.path.read_text("utf-8-sig").splitlines()

    def find(self, server: str) -> str | None:
        """Return the fingerprint of a server, SYSTEM, or None. Raises OSError if the file cannot be read."""
        found = None
        with suppress(FileNotFoundError):
            for line in self._lines():
                name, _, fingerprint = line.partition(" ")
                if name == server:
                    found = fingerprint.strip()
        return found

    def remember(self, server: str, fingerprint: str) -> None:
        """Store a fingerprint. Raises OSError if the file cannot be written."""
        lines = []
        with suppress(FileNotFoundError):
            lines = [line for line in self._lines() if line.partition(" ")[0] != server]
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, part = tempfile.mkstemp(dir=self.path.parent)
        with os.fdopen(descriptor, "w") as file:
            file.write("\n".join([*lines, f"{server} {fingerprint}\n"]))
        try:
            os.replace(part, self.path)
        except OSError:
            os.unlink(part)
            raise

    def check(self, server: str, certificate: bytes, problem: str) -> None:
        """Check a server's certificate (DER) against what is stored, and store it if it is new and trusted.

        `problem` is why the system does not trust it; empty if it does. Raises UntrustedError.
        """
        fingerprint = fingerprint_of(certificate)
        try:
            self._check(server, fingerprint, problem)
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8"
            raise UntrustedError(f"{self.path}, the file of trusted servers, cannot be used: {why}.") from error

    def _check(self, server: str, fingerprint: str, problem: str) -> None:
        known = self.find(server)
        if not problem:
            if known is None:
                self.remember(server, SYSTEM)
        elif known is None and self._trust_new:
            self.remember(server, fingerprint)
        elif known is None:
            raise UnknownCertificateError(self, server, fingerprint, problem)
        elif known != fingerprint:
            raise ChangedCertificateError(self, server, fingerprint, problem)


def fingerprint_of(certificate: bytes) -> str:
    """Return the fingerprint of a certificate (DER) as `openssl x509 -fingerprint -sha256` prints it."""
    return sha256(certificate).digest().hex(":").upper()


def default_path() -> Path:
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "groupchat" / "known_servers"
