"""What the options mean for the parts of the daemon."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.logger import Logger

from groupchat.core.limits import MAX_READINGS, MAX_UPLOADS, FileLimits, Limits, Settings
from groupchat.daemon.options import MB, Options
from groupchat.daemon.process import allow_open_files

if TYPE_CHECKING:
    from groupchat.frontends.web.guard import TrustedHosts


_logger = Logger()

OTHER_FILES = 64
"""How many files the daemon has open besides its connections and transfers."""


def group_settings(options: Options) -> Settings:
    return Settings(
        name=options["name"],
        max_members=options["max-members"],
        max_per_host=options["max-per-host"],
        rate=options["rate"],
        join_rate=options["join-rate"],
        release=options["release"],
        hold=options["hold"],
        stall=options["timeout"],
        idle=options["idle-days"],
        reserve=options["reserve"],
        reserved_names=options["reserved"],
        keep=options["keep-lines"],
        keep_days=options["keep-days"],
    )


def connection_limits(options: Options) -> Limits:
    wanted: int = options["max-connections"]
    other = OTHER_FILES + (MAX_READINGS + MAX_UPLOADS if options["files"] is not None else 0)
    files = allow_open_files(wanted + other)
    room = max(1, min(wanted, files - other))
    if room < wanted:
        _logger.warn("Room for {room} connections only: this process may open {files} files", room=room, files=files)
    return Limits(
        max_connections=room,
        max_quic=min(room, Limits().max_quic),
        max_per_host=options["max-per-host"],
        name_within=options["timeout"],
        password=options["password"],
        operators=options["operators"],
    )


def file_limits(options: Options) -> FileLimits:
    return FileLimits(
        max_file=options["max-file-size"] * MB,
        max_total=options["files-quota"] * MB,
        max_member=options["member-quota"] * MB,
        keep_free=options["keep-free"] * MB,
    )


def max_file(options: Options) -> int:
    most: int = min(options[name] for name in ("max-file-size", "files-quota", "member-quota"))
    return most * MB


def trusted_hosts(options: Options) -> TrustedHosts:
    from groupchat.frontends.web.guard import TrustedHosts

    names = [*options["web-host"], socket.gethostname()]
    return TrustedHosts(frozenset(name.lower() for name in names), tuple(options["proxies"]))


def control_path(options: Options) -> Path | None:
    """Return the path of the control socket, or None if there is none."""
    if options["control"] is not None:
        return Path(options["control"])
    return None if options["db"] == ":memory:" else Path(f"{options['db']}.control")


def certificate_path(options: Options) -> Path | None:
    """Return where the certificate is kept that the daemon makes, or None if it is made for this run only."""
    return None if options["db"] == ":memory:" else Path(f"{options['db']}.pem")
