"""Reasons of failed connections, in words."""

from __future__ import annotations

from twisted.internet.error import ConnectError, ConnectionClosed, ConnectionRefusedError, DNSLookupError


def explain(error: BaseException | None) -> str:
    """Return why there is no connection, or why a transfer failed."""
    said = error.args[0] if error is not None and error.args else ""
    match error:
        case ConnectionRefusedError():
            return "nothing is listening there"
        case DNSLookupError():
            return "unknown host; check its spelling, or give its address"
        case ConnectionClosed():
            return "the connection ended"
        case ConnectError():
            return str(getattr(error.osError, "strerror", None) or said or error)
    if isinstance(said, list):  # of OpenSSL
        reasons = "; ".join(str(part[-1]) for part in said)
        return f"no TLS: {reasons}; is it tls:// there, and not tcp://?"
    return str(error)
