"""Who may ask: what the head of a request says about where it comes from, and who sends it. Pure.

Three kinds of harm are kept away. A page of another site that has a browser send requests here: by `Sec-Fetch-Site`, or
`Origin`, as browsers say it. A page whose own name was made to point here (DNS rebinding), so that the browser takes it
for this one: by `Host`, which has to be a name that nobody can buy. And whoever does not know the password.
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
_TOKEN = re.compile(r"([0-9a-f]{32})([0-9a-f]{64})")
_HOST = re.compile(r"(\[[0-9a-fA-F:.]{2,45}\]|[0-9a-zA-Z._-]{1,253})(:[0-9]{1,5})?")

OWN_DOMAINS = ("local", "localhost", "internal", "lan", "home.arpa", "test")
"""Whoever owns a network gives out the names under these, and nobody else: RFC 6761, RFC 6762, RFC 8375."""

SECONDS = 365 * 24 * 3600
"""For how long a browser keeps a cookie."""


@dataclass(frozen=True, slots=True)
class Known:
    """What an operator says of the way to this server: `names` that it has, in lower case, beside those that nobody
    else can have; and the networks of `proxies` that pass on what others ask, and say for whom.
    """

    names: frozenset[str] = frozenset()
    proxies: tuple[Network, ...] = ()

    def is_name(self, host: str) -> bool:
        """Whether this may be a name of this server: an address, a name without a dot, or one of these."""
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = match[1].lower().rstrip(".")
        return (bool(name) and "." not in name) or _is_address(name) or _is_own(name) or name in self.names

    def is_proxy(self, host: str) -> bool:
        if not self.proxies or not _is_address(host):
            return False
        return any(ipaddress.ip_address(host) in network for network in self.proxies)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _is_own(name: str) -> bool:
    return any(name.endswith(f".{domain}") for domain in OWN_DOMAINS)


def is_foreign(method: str, host: str, origin: str | None, site: str | None, mode: str | None) -> bool:
    """Whether a browser sends this for another site's page. What `Origin`, and `Sec-Fetch-Site` and -`Mode`, say."""
    reads = method in ("GET", "HEAD")
    if site is not None:
        return site not in ("same-origin", "none") and not (reads and mode == "navigate")
    if origin is None:
        return False
    return origin.partition("://")[2].lower() != host.lower()


def client_of(forwarded: str | None, proxy: str) -> str:
    """Where a request comes from that a trusted proxy passed on: what the proxy itself put last. See --web-proxy."""
    last = (forwarded or "").rpartition(",")[2].strip()
    try:
        return str(ipaddress.ip_address(last.strip("[]"))).removeprefix("::ffff:")
    except ValueError:
        return proxy


def cookie(header: str, name: str) -> str:
    """The value of a cookie; empty if there is none."""
    for part in header.split(";"):
        key, _, value = part.strip().partition("=")
        if key == name:
            return value
    return ""


def set_cookie(name: str, value: str, *, secure: bool) -> bytes:
    """What makes a browser keep a cookie, and give it to nobody else, and to no script."""
    words = f"{name}={value}; Path=/; Max-Age={SECONDS}; HttpOnly; SameSite=Strict"
    return (words + ("; Secure" if secure else "")).encode()


def bearer(authorization: str) -> str:
    """The key that a script gives; empty if there is none."""
    scheme, _, key = authorization.partition(" ")
    return key.strip().lower() if scheme.lower() == "bearer" else ""


def basic(authorization: str) -> tuple[str, bytes] | None:
    """The name and the password that a script gives: RFC 7617."""
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = b64decode(given.strip(), validate=True).partition(b":")
        return (name.decode(), password) if colon else None
    except (binascii.Error, ValueError):
        return None


class Trust:
    """Who has given the password. What they get for it outlives a restart, and no other password.

    It is made from the password alone, slowly, so that whoever has it can hardly guess the password from it.
    """

    def __init__(self, password: bytes) -> None:
        self._password = sha256(password).digest()
        self._secret = scrypt(password, salt=b"groupchat web", n=2**14, r=8, p=1, dklen=32)
        self.name = f"groupchat-trust-{self._mac('name')[:8]}"

    def is_right(self, given: bytes) -> bool:
        return hmac.compare_digest(sha256(given).digest(), self._password)

    def token(self) -> str:
        nonce = secrets.token_hex(16)
        return nonce + self._mac(nonce)

    def is_token(self, given: str) -> bool:
        match = _TOKEN.fullmatch(given)
        return match is not None and hmac.compare_digest(self._mac(match[1]), match[2])

    def _mac(self, nonce: str) -> str:
        return hmac.new(self._secret, nonce.encode(), sha256).hexdigest()
