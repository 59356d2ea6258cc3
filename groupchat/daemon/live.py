"""The parts of the daemon whose settings can change while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from groupchat.core.errors import CannotListen
from groupchat.daemon.listening import described
from groupchat.daemon.options import Options
from groupchat.daemon.settings import (
    certificate_path,
    connection_limits,
    file_limits,
    group_settings,
    max_file,
    trusted_hosts,
)
from groupchat.files.shelf import Shelf
from groupchat.frontends.connections import ConnectionRegistry, TLSEndpoint
from groupchat.frontends.udp import UDPService
from groupchat.service.group_service import GroupService

if TYPE_CHECKING:
    from groupchat.frontends.quic import QuicService
    from groupchat.frontends.web.serving import WebService
    from groupchat.quic.certificate import Certificate


@dataclass(frozen=True, slots=True)
class Live:
    """The parts of the daemon whose settings can change while it runs. `tls` has endpoints, each with its option."""

    group_service: GroupService
    registry: ConnectionRegistry
    shelf: Shelf | None
    udp: UDPService
    quic: QuicService | None
    web: WebService | None
    tls: Sequence[tuple[str, TLSEndpoint]]

    def prepare(self, options: Options) -> tuple[Callable[[], None], list[str]]:
        """Read the certificates: see configuration.Prepare. One that only root may read stays as it was."""
        certificate = self._certificate(options)
        contexts = dict(self._contexts(options))
        renewed = [option for option, endpoint in self.tls if endpoint in contexts]
        if certificate is not None:
            renewed.append("certificate")
        return partial(self._use, options, certificate, contexts), renewed

    def _certificate(self, options: Options) -> Certificate | None:
        """Return the certificate for QUIC if it is another one than now."""
        from groupchat.quic.certificate import load

        given = options["certificate"]
        path = certificate_path(options) if given is None else options.path(given)
        if self.quic is None or path is None or not (given or path.exists()):
            return None
        now = self.quic.certificate()
        try:
            found = load(path)
        except CannotListen as why:
            if isinstance(why.__cause__, PermissionError):
                options.unreadable.append("certificate")
                return None
            raise
        return None if found.certificate == now.certificate else found

    def _contexts(self, options: Options) -> Iterator[tuple[TLSEndpoint, Any]]:
        """Yield the endpoints for TLS whose certificates are other ones than now."""
        for option, endpoint in self.tls:
            try:
                context = endpoint.load(options.endpoint(endpoint.where))
            except PermissionError:
                options.unreadable.append(option)
                continue
            except Exception as error:  # OpenSSL raises whatever it likes
                raise CannotListen(f"--{option} {endpoint.where}: {described(error)}") from error
            if endpoint.is_new(context):
                yield endpoint, context

    def _use(self, options: Options, certificate: Certificate | None, contexts: Mapping[TLSEndpoint, Any]) -> None:
        self.group_service.configure(group_settings(options))
        limits = connection_limits(options)
        self.registry.configure(limits)
        if self.quic is not None:
            self.quic.quic.limits = limits
            if certificate is not None:
                self.quic.renew(certificate)
        for port in self.udp.ports:
            port.protocol.configure(options["max-reply"], options["udp-networks"])
        if self.shelf is not None:
            self.shelf.configure(file_limits(options))
        if self.web is not None:
            self.web.site.configure(trusted_hosts(options), max_file(options))
        for endpoint, context in contexts.items():
            endpoint.use(context)
