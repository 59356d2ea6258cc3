"""Checks of a request: where it comes from, which host it names, and if it has the password."""

from __future__ import annotations

from groupchat.frontends.connections import ConnectionRegistry
from groupchat.frontends.web import guard
from groupchat.frontends.web.answers import Refusal, retry_after
from groupchat.frontends.web.guard import PasswordCookie, TrustedHosts
from groupchat.frontends.web.request import Request


class Access:
    """The rules of one site. `cookie` is for clients that gave the password; None if the group has no password."""

    def __init__(self, hosts: TrustedHosts, registry: ConnectionRegistry) -> None:
        self.hosts = hosts
        password = registry.limits.password
        self.cookie = None if password is None else PasswordCookie(password)
        self._registry = registry

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
        if not request.isSecure() and not self.hosts.is_name(host):
            why = "This server is not known by that name: whoever runs it has to say --web-host and the name."
            raise Refusal(421, why)
        site, mode = request.text("Sec-Fetch-Site"), request.text("Sec-Fetch-Mode")
        if guard.is_foreign(request.method.decode("ascii"), host, request.text("Origin"), site, mode):
            raise Refusal(403, "The page of another site sent this, which is not allowed.")

    def check_password(self, request: Request) -> None:
        """Raise Refusal if a password is needed, and the request has neither the cookie nor the password."""
        if self.cookie is None or any(map(self.cookie.is_token, request.cookie_values(self.cookie.name))):
            return
        basic = guard.basic(request.authorization)
        if basic is None or not basic[1]:
            raise Refusal(401, "This group has a password.", password=True)
        if not self.is_password(request.peer, basic[1]):
            raise Refusal(401, "That is not the password.", password=True)

    def is_password(self, host: str, given: bytes) -> bool:
        """Return True if this is the password. Raise Refusal if the host has just given a wrong one."""
        pause = self._registry.pause_of(host)
        if pause:
            why = "Somebody at your address gave a wrong password: wait a little."
            raise Refusal(429, why, retry_after(int(pause) + 1))
        if self.cookie is None or self.cookie.is_password(given):
            return True
        self._registry.guessed(host)
        return False
