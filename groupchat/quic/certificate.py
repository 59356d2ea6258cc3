"""The certificate of a server: the operator's, or a self-signed one.

Clients remember the fingerprint of a self-signed certificate when they first see it, so it is made once and kept.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from groupchat.core.errors import CannotListen

VALID = timedelta(days=3650)
"""The validity of a self-signed certificate."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A private key, its certificate and the intermediate certificates: objects of the package cryptography."""

    key: Any
    certificate: x509.Certificate
    chain: list[x509.Certificate]

    @property
    def fingerprint(self) -> str:
        """The fingerprint as `openssl x509 -fingerprint -sha256` prints it."""
        return self.certificate.fingerprint(hashes.SHA256()).hex(":").upper()

    @property
    def expires(self) -> datetime:
        return self.certificate.not_valid_after_utc


def load(path: Path) -> Certificate:
    """Load a PEM file with the key and all certificates. Raise CannotListen with a message for the operator."""
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise CannotListen(f"the certificate {path} cannot be read: {error.strerror}") from error
    try:
        return _parse(pem)
    except (ValueError, TypeError) as error:
        raise CannotListen(
            f"{path} must have a certificate and its private key in it, as PEM and without a passphrase: {error}"
        ) from error


def _parse(pem: bytes) -> Certificate:
    certificate, *chain = x509.load_pem_x509_certificates(pem)
    found = re.search(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----", pem)
    if found is None:
        raise ValueError("there is no private key")
    key: Any = load_pem_private_key(pem[found.start() :], password=None)
    if key.public_key() != certificate.public_key():
        raise ValueError("the private key does not belong to the certificate")
    return Certificate(key, certificate, chain)


def load_or_make(path: Path | None) -> Certificate:
    """Load the certificate from a file, or make one and keep it there. Raise CannotListen.

    Without a path, make one that is not kept.
    """
    if path is not None and path.exists():
        return load(path)
    made = _make()
    if path is not None:
        _keep(made, path)
    return made


def _make() -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "groupchat")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # for clients whose clock is slow
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("groupchat.invalid")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Certificate(key, certificate, [])


def _keep(made: Certificate, path: Path) -> None:
    """Write the file atomically, readable by its owner only."""
    key = made.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    part = path.with_name(f"{path.name}.part")
    try:
        part.unlink(missing_ok=True)
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(key + made.certificate.public_bytes(Encoding.PEM))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise CannotListen(f"the certificate {path} cannot be made: {error.strerror}") from error
