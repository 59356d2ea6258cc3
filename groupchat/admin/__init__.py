"""groupchat-admin, the operator's program: it looks into the file of a group, copies it, and saves what is sound."""

from groupchat.admin.cli import main

__all__ = ["main"]
