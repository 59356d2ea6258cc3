"""Parsing and rules for the origin of a request, its host and its credentials. Pure.

Three kinds of requests are refused:
- The page of another site made the browser send it: browsers say so in `Sec-Fetch-Site` and `Origin`.
- It is for the host name of another site that was made to point here (DNS rebinding), so that the browser takes both
  for one site: `Host` must be a name that a stranger cannot register.
- It comes without the password of the group.
"""

from __future__ import annotations

import binascii
import hmac
import ipaddress
import re
import secrets
from base64 import b64decode
from dataclasses import dataclass
from hashlib import scrypt, sha256

from groupchat.core.limits import Network

KEY = re.compile(r"[0-9a-f]{32}")
JOIN_ID = re.compile(r"[!-~]{16,100}")
_TOKEN = re.compile(r"([0-9a-f]{32})([0-9a-f]{64})")
_HOST = re.compile(r"(\[[0-9a-fA-F:.]{2,45}\]|[0-9a-zA-Z._-]{1,253})(:[0-9]{1,5})?")

OWN_DOMAINS = (".local", ".localhost", ".internal", ".lan", ".home.arpa", ".test")
"""Domains whose names only the owner of a network gives out: RFC 6761, RFC 6762, RFC 8375."""

COOKIE_SECONDS = 365 * 24 * 3600
"""The lifetime of a cookie in a browser."""

HOST_PREFIX = "__Host-"
"""Browsers take a cookie whose name begins with this from the very host alone, and over TLS: RFC 6265bis, 4.1.3.2."""

PLAIN_PREFIX = "http-"
"""Cookies without TLS begin with this: a browser that has a cookie from TLS takes no other of that name without TLS."""


@dataclass(frozen=True, slots=True)
class TrustedHosts:
    """Hosts that the operator trusts: `names` of this server, in lower case, that others could register; and the
    networks of reverse `proxies`, which say for whom they forward a request.
    """

    names: frozenset[str] = frozenset()
    proxies: tuple[Network, ...] = ()

    def is_name(self, host: str) -> bool:
        """Return True if this can only be this server: an address, a name without a dot, or one of the names."""
        name = host_name(host)
        if not name:
            return False
        return "." not in name or name.endswith(OWN_DOMAINS) or name in self.names or _is_address(name)

    def is_proxy(self, host: str) -> bool:
        if not self.proxies or not _is_address(host):
            return False
        return any(ipaddress.ip_address(host) in network for network in self.proxies)


def host_name(host: str) -> str:
    """Return the name in a Host header, in lower case; empty if it is malformed."""
    match = _HOST.fullmatch(host)
    return match[1].lower().rstrip(".") if match else ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def is_foreign(method: str, host: str, origin: str | None, site: str | None, mode: str | None) -> bool:
    """Return True if the page of another site makes a browser send this.

    `origin`, `site` and `mode` are the headers Origin, Sec-Fetch-Site and Sec-Fetch-Mode.
    """
    reads = method in ("GET", "HEAD")
    if site is not None:
        return site not in ("same-origin", "none") and not (reads and mode == "navigate")
    if origin is None:
        return False
    return origin.partition("://")[2].lower() != host.lower()


def client_of(forwarded: str | None, proxy: str) -> str:
    """Return the client of a request that a trusted proxy forwarded: the last address in X-Forwarded-For."""
    last = (forwarded or "").rpartition(",")[2].strip()
    try:
        address = ipaddress.ip_address(last.strip("[]"))
    except ValueError:
        return proxy
    return str(getattr(address, "ipv4_mapped", None) or address)


def secret_of(key: str) -> str:
    """Return the hash of a key, which is what the service knows of it."""
    return sha256(bytes.fromhex(key)).hexdigest()


def key_of(join_id: str) -> str:
    """Return the key that a join with this id gets. A repeat of the join gets the same, and nobody else knows it."""
    return sha256(b"groupchat join " + join_id.encode()).hexdigest()[:32]


def cookie(header: str, name: str) -> str:
    """Return the value of a cookie; empty if there is none.

    `http.cookies` would return no cookie at all where another program on this host has set an odd one. Only blanks of
    HTTP are removed: with `strip()`, a name that begins with another blank would have the prefix `__Host-`, too.
    """
    for part in header.split(";"):
        key, _, value = part.strip(" \t").partition("=")
        if key == name:
            return value
    return ""


def own_name(name: str, *, secure: bool) -> str:
    """Return the name under which a cookie is set, with TLS or without."""
    return (HOST_PREFIX if secure else PLAIN_PREFIX) + name


def set_cookie(name: str, value: str, *, secure: bool) -> tuple[bytes, bytes]:
    """Return a Set-Cookie header: scripts cannot read the cookie, and requests from other sites do not carry it."""
    return _cookie(own_name(name, secure=secure), value, COOKIE_SECONDS, "; Secure" if secure else "")


def delete_cookie(name: str) -> tuple[bytes, bytes]:
    """Return a Set-Cookie header that removes the cookie of exactly this name."""
    return _cookie(name, "", 0)


def _cookie(name: str, value: str, seconds: int, end: str = "") -> tuple[bytes, bytes]:
    words = f"{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{end}"
    return b"Set-Cookie", words.encode()


def bearer(authorization: str) -> str:
    """Return the key in an Authorization header; empty if there is none."""
    scheme, _, key = authorization.partition(" ")
    return key.strip().lower() if scheme.lower() == "bearer" else ""


def basic(authorization: str) -> tuple[str, bytes] | None:
    """Return the name and the password in an Authorization header: RFC 7617."""
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = b64decode(given.strip(), validate=True).partition(b":")
        return (name.decode(), password) if colon else None
    except (binascii.Error, ValueError):
        return None


class PasswordCookie:
    """The cookie of clients that gave the password. A restart keeps the cookie valid, a new password does not.

    Its tokens are signed with a key that scrypt derives from the password, so that guessing the password from a token
    is slow.
    """

    def __init__(self, password: bytes) -> None:
        self._secret = scrypt(password, salt=b"groupchat web", n=2**14, r=8, p=1, dklen=32)
        self.name = f"groupchat-trust-{self._mac('name')[:8]}"

    def token(self) -> str:
        nonce = secrets.token_hex(16)
        return nonce + self._mac(nonce)

    def is_token(self, given: str) -> bool:
        match = _TOKEN.fullmatch(given)
        return match is not None and hmac.compare_digest(self._mac(match[1]), match[2])

    def _mac(self, nonce: str) -> str:
        return hmac.new(self._secret, nonce.encode(), sha256).hexdigest()
