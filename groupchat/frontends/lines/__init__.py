"""Live lines over TCP, TLS, or any other stream. See wire/lines.py for the grammar."""

from groupchat.frontends.lines.protocol import LinesProtocol

__all__ = ["LinesProtocol"]
