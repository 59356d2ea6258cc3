"""TLS to a server. Its certificate is checked as trust.py says. Needs pyOpenSSL and service-identity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from service_identity.pyopenssl import verify_hostname, verify_ip_address
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IStreamClientEndpoint
from twisted.python.failure import Failure
from zope.interface import implementer

from groupchat.client import tcp
from groupchat.client.trust import KnownServers, UntrustedError
from groupchat.client.url import host_and_port, without_zone


@implementer(IOpenSSLClientConnectionCreator)
class TLSConnectionCreator:
    """Creates the TLS side of each connection to one server. With `ca`, only that file is trusted."""

    def __init__(self, host: str, port: int, known: KnownServers, ca: Path | None) -> None:
        self.host = without_zone(host)
        self.server = host_and_port(host, port)
        self.known = known
        self.ca = ca

    def context(self) -> SSL.Context:
        """Return the TLS settings. Raises SSL.Error if there is no certificate in the file."""
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        if self.ca is None:
            context.set_default_verify_paths()
        else:
            context.load_verify_locations(str(self.ca))
        return context

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        context = self.context()
        handshake = Handshake(self, tlsProtocol)
        context.set_verify(SSL.VERIFY_PEER, handshake.verified)
        context.set_info_callback(handshake.happened)
        connection = SSL.Connection(context, None)
        if not is_address(self.host):
            connection.set_tlsext_host_name(self.host.encode("idna"))
        connection.set_connect_state()
        return connection


class Handshake:
    """One handshake. Problems with the certificates are noted, and judged at its end."""

    def __init__(self, creator: TLSConnectionCreator, protocol: Any) -> None:
        self._creator = creator
        self._protocol = protocol
        self._problem = ""

    def verified(self, connection: SSL.Connection, certificate: object, error: int, depth: int, ok: int) -> bool:
        if not ok:
            self._problem = self._problem or _REASONS.get(error, f"error {error}")
        return True

    def happened(self, connection: SSL.Connection, where: int, ret: int) -> None:
        if where & SSL.SSL_CB_HANDSHAKE_DONE:
            try:
                self._check(connection)
            except Exception:  # after any error, nothing may be sent
                self._protocol.failVerification(Failure())

    def _check(self, connection: SSL.Connection) -> None:
        """Check the certificate. Raises UntrustedError."""
        creator = self._creator
        certificate = connection.get_peer_certificate(as_cryptography=True)
        if certificate is None:
            raise UntrustedError("the server shows no certificate")
        problem = self._problem or self._wrong_name(connection)
        if creator.ca is None:
            creator.known.check(creator.server, certificate.public_bytes(Encoding.DER), problem)
        elif problem:
            raise UntrustedError(f"{creator.ca} does not vouch for the certificate of {creator.server}: {problem}")

    def _wrong_name(self, connection: SSL.Connection) -> str:
        verify = verify_ip_address if is_address(self._creator.host) else verify_hostname
        try:
            verify(connection, self._creator.host)
        except (VerificationError, CertificateError):
            return "it is for another name"
        return ""


def endpoint(reactor: Any, host: str, port: int, known: KnownServers, ca: Path | None) -> IStreamClientEndpoint:
    """Return an endpoint that connects with TLS. Raises OSError if the file of authorities cannot be used."""
    creator = TLSConnectionCreator(host, port, known, ca)
    try:
        creator.context()
    except SSL.Error as error:
        raise OSError(f"{ca} has no certificate in it that can be read") from error
    wrapped: IStreamClientEndpoint = wrapClientTLS(creator, tcp.endpoint(reactor, host, port))
    return wrapped


_REASONS = {
    9: "it is not valid yet",
    10: "it has expired",
    18: "it is self-signed",
    19: "its authority is self-signed, and not known here",
    20: "its authority is not known here",
    21: "its authority is not known here",
    23: "it was revoked",
}
"""Reasons why a certificate is not trusted, by the numbers of X509_verify_cert_error_string(3)."""


def is_address(host: str) -> bool:
    return bool(isIPAddress(host) or isIPv6Address(host))
