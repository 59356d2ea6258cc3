"""Checks of a request: where it comes from, which host it names, and if it has the password."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from groupchat.frontends.connections import ConnectionRegistry
from groupchat.frontends.operators import NO_PASSWORDS
from groupchat.frontends.web import guard
from groupchat.frontends.web.answers import Refusal
from groupchat.frontends.web.guard import PasswordCookie, TrustedHosts
from groupchat.frontends.web.request import Request


class Access:
    """The rules of one site. `cookie` is for clients that gave the password; None if the group has no password."""

    def __init__(self, hosts: TrustedHosts, registry: ConnectionRegistry) -> None:
        self._registry = registry
        self._password: bytes | None = None
        self.cookie: PasswordCookie | None = None
        self.configure(hosts)

    def configure(self, hosts: TrustedHosts) -> None:
        """Use other hosts from now on, and the password that the registry has now."""
        self.hosts = hosts
        password = self._registry.limits.password
        if password != self._password:  # a cookie takes some time to make
            self._password = password
            self.cookie = None if password is None else PasswordCookie(password)

    def resolve_proxy(self, request: Request) -> None:
        """Set where a request comes from if a trusted proxy forwarded it."""
        if self.hosts.is_proxy(request.peer):
            request.peer = guard.client_of(request.text("X-Forwarded-For"), request.peer)
            request.secure = request.secure or request.text("X-Forwarded-Proto") == "https"

    def check_origin(self, request: Request) -> None:
        """Raise Refusal if the page of another site sent this, or if it names a host that a stranger could own."""
        hosts = request.fields("Host")
        if len(hosts) != 1 and (hosts or request.clientproto == b"HTTP/1.1"):
            raise Refusal(400, "Say which host you ask, once: Host.")
        host = hosts[0] if hosts else "localhost"
        if request.origin is not None:
            host = _check_target(request, *request.origin)
        if not request.isSecure() and not self.hosts.is_name(host):
            raise _unknown(host)
        site, mode = request.text("Sec-Fetch-Site"), request.text("Sec-Fetch-Mode")
        if guard.is_foreign(request.method.decode("ascii"), host, request.text("Origin"), site, mode):
            raise Refusal(403, "The page of another site sent this, which is not allowed.")

    def check_password(self, request: Request) -> Deferred[bool] | None:
        """Return the check of the password that the request has; None if it has the cookie, or needs none.

        Raise Refusal if a password is needed, and there is none.
        """
        if self.cookie is None or any(map(self.cookie.is_token, request.cookie_values(self.cookie.name))):
            return None
        basic = guard.basic(request.authorization)
        if basic is None or not basic[1]:
            raise Refusal(401, "This group has a password.", password=True)
        return self.is_password(request, basic[1])

    def is_password(self, request: Request, given: bytes) -> Deferred[bool]:
        """Check a password: see PasswordChecks. A check that waits ends with the connection."""
        return self._until_lost(request, self._registry.passwords.check(request.peer, request.channel, given))

    def is_operator(self, request: Request, name: str, given: bytes) -> Deferred[bool]:
        """Check if this password makes the member with this name an operator: see OperatorPasswords."""
        operators = self._registry.operators
        if not operators.exist:
            raise Refusal(403, NO_PASSWORDS)
        return self._until_lost(request, operators.check_of(request.peer, request.channel, name, given))

    def _until_lost(self, request: Request, check: Deferred[bool]) -> Deferred[bool]:
        if not check.called:
            request.notifyFinish().addErrback(lambda _: check.cancel())
        return check


def _check_target(request: Request, scheme: str, host: str) -> str:
    """Return the host of a target that names it, which counts instead of the header: RFC 9112, section 3.2.2."""
    if scheme not in ("http", "https") or not host or "@" in host:
        raise Refusal(400, "This server has no such address.")
    if scheme == "https" and not request.secure:
        raise Refusal(421, "This connection is not encrypted: https:// has to be asked for over TLS.")
    return host


def _unknown(host: str) -> Refusal:
    why = "This server does not answer to that name. Whoever runs it can allow the name with --web-host."
    name = guard.host_name(host)
    if not name:
        return Refusal(421, why)
    advice = (
        "Open the server by its address instead, such as http://192.168.1.20:8080.",
        f"If you run it: start it with --web-host {name}, or with make run OPTIONS='--web-host {name}'.",
        "Anybody can register a name and let it lead here. A page under such a name could read the conversation.",
    )
    return Refusal(421, why, advice=advice)
