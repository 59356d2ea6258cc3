"""What twistd asks for `twistd groupchat`: its options, and the daemon that they describe."""

from groupchat.daemon.assembly import makeService
from groupchat.daemon.options import Options

__all__ = ["Options", "makeService"]
