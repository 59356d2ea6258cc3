"""The certificate that a server shows: one that it is given, or one of its own that nobody vouches for.

Clients remember the fingerprint of such a one when they first see it, so that it is made once, and kept.
"""

from __future__ import annotations

import os
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
"""For how long one that is made here is good."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A private key, the certificate of it, and those that vouch for that one: of the package cryptography."""

    key: Any
    certificate: x509.Certificate
    chain: list[x509.Certificate]

    @property
    def fingerprint(self) -> str:
        """As `openssl x509 -fingerprint -sha256` prints it."""
        return self.certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def load(path: Path) -> Certificate:
    """From a PEM file that has all of them in it. Raises CannotListen, in words."""
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
    begin = pem.find(b"-----BEGIN", 0)
    while begin >= 0 and b"PRIVATE KEY-----" not in pem[begin : begin + 40]:
        begin = pem.find(b"-----BEGIN", begin + 1)
    if begin < 0:
        raise ValueError("there is no private key")
    key: Any = load_pem_private_key(pem[begin:], password=None)
    if key.public_key() != certificate.public_key():
        raise ValueError("the private key is another one's")
    return Certificate(key, certificate, chain)


def load_or_make(path: Path | None) -> Certificate:
    """The one in this file, which is made if there is none. Without a file, a new one. Raises CannotListen."""
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
        .not_valid_before(now - timedelta(days=1))  # clocks differ
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("groupchat.invalid")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Certificate(key, certificate, [])


def _keep(made: Certificate, path: Path) -> None:
    """Private to its owner, and whole or not at all."""
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
