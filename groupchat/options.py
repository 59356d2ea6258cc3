"""The options of `twistd groupchat`: what may be given, and what is wrong with what was."""

from __future__ import annotations

import ipaddress
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from twisted.python import usage

from groupchat import __version__
from groupchat.core.limits import (
    BURST,
    EVERYWHERE,
    KEEPALIVE,
    MAX_LINE,
    MAX_UNTERMINATED,
    FileLimits,
    Limits,
    Network,
    Settings,
)
from groupchat.wire.datagrams import MAX_REPLY

DEFAULTS = Settings()
LIMITS = Limits()
FILES = FileLimits()
MB = 1_000_000
MAX_PASSWORD = 256
MOST = 1_000_000_000

_HOST = re.compile(r"[0-9A-Za-z_-]+(\.[0-9A-Za-z_-]+)*")

_NUMBERS = {
    "port": (0, 65_535),
    "max-reply": (1, MAX_REPLY),
    "max-members": (1, MOST),
    "max-per-host": (0, MOST),
    "max-connections": (1, MOST),
    "max-quic": (1, MOST),
    "max-file": (1, MOST),
    "max-files": (1, MOST),
    "max-share": (1, MOST),
    "keep-free": (0, MOST),
    "rate": (0, MOST),
    "name-within": (1, MOST),
    "hold": (0, MOST),
    "stall": (1, MOST),
    "release": (0, MOST),
    "idle": (0, MOST),
    "keep": (1, MOST),
    "keep-days": (0, MOST),
}
"""The options that are whole numbers, with the least and the most that each may be."""


class Options(usage.Options):
    """The options of `twistd groupchat`. Once parsed, numbers are int."""

    synopsis = "[options]"
    longdesc = (
        "A group chat that anything can join: five messages over UDP, live lines over TCP, lines and files over QUIC. "
        "Nothing is missed. "
        f"A line is {MAX_LINE:,} bytes at most; {MAX_UNTERMINATED:,} without an end of line close a connection, and so "
        f"does silence of {KEEPALIVE[0]} seconds if nothing answers then. See docs/operations.md for all limits."
    )
    optFlags = [
        ["quic", None, "Lines and files over QUIC as well, which is reliable and encrypted UDP, on the same port."],
    ]
    optParameters = [
        ["port", "p", "12345", "UDP port to listen on; 0 is any that is free."],
        [
            "interface",
            "i",
            None,
            "IP address to listen on, of IPv4 or IPv6; without it, all of this machine.",
        ],
        [
            "password-file",
            None,
            None,
            "A file with the password of the group: asked of live lines, and for files; see --allow.",
        ],
        [
            "allow",
            None,
            None,
            "Networks, like 10.0.0.0/8,::1/128, whose datagrams are taken; all, or with a password none, without it.",
        ],
        [
            "certificate",
            None,
            None,
            "A PEM file with a private key and a certificate, for QUIC; without it, one is made and kept beside --db.",
        ],
        [
            "web-proxy",
            None,
            None,
            "Networks, like 127.0.0.1/32, of proxies that pass HTTP on, and say for whom by X-Forwarded-For.",
        ],
        ["files", "f", None, "A directory with the files that members share; it is made if there is none."],
        ["max-file", None, str(FILES.max_file // MB), "The largest file that may be shared, in MB."],
        ["max-files", None, str(FILES.max_total // MB), "How much all files may take, in MB."],
        ["max-share", None, str(FILES.max_member // MB), "How much the files of one member may take, in MB."],
        ["keep-free", None, str(FILES.keep_free // MB), "How much of the disk files leave free, in MB."],
        ["group", "g", DEFAULTS.name, "The name of the group."],
        ["max-reply", None, str(MAX_REPLY), "The longest reply in bytes. What does not fit waits; nothing is cut."],
        ["max-members", None, str(DEFAULTS.max_members), "The most members."],
        [
            "max-per-host",
            None,
            str(DEFAULTS.max_per_host),
            "The most members, and the most connections, of one IP address; 0 is no limit.",
        ],
        ["max-connections", None, str(LIMITS.max_connections), "The most live connections."],
        ["max-quic", None, str(LIMITS.max_quic), "The most connections over QUIC; each may have several streams."],
        [
            "rate",
            None,
            str(DEFAULTS.rate),
            f"Texts a second that one member may say in the long run, {BURST} at once; 0 is no limit.",
        ],
        ["name-within", None, str(LIMITS.name_within), "Seconds in which a connection must give a name."],
        [
            "hold",
            None,
            str(DEFAULTS.hold),
            "Seconds for which a numbered session waits to be resumed when its connection ended.",
        ],
        [
            "stall",
            None,
            str(DEFAULTS.stall),
            "Seconds after which a connection that takes nothing of what it is given is closed.",
        ],
        [
            "release",
            None,
            str(DEFAULTS.release),
            "Seconds of silence after which a name is given up to another port of the same host; 0 is never.",
        ],
        ["idle", None, str(DEFAULTS.idle), "Days of silence after which a member leaves; 0 is never."],
        ["keep", None, str(DEFAULTS.keep), "How many lines are kept."],
        ["keep-days", None, str(DEFAULTS.keep_days), "For how many days lines are kept; 0 is no limit."],
        ["db", "d", "groupchat.sqlite", "The file that the group is kept in; :memory: is none."],
        [
            "durability",
            None,
            "full",
            "full: what was answered survives a power cut; normal: faster, but one may take back the last answers.",
        ],
    ]

    def __init__(self) -> None:
        super().__init__()
        self["tcp"] = []
        self["web"] = []
        self["web-host"] = []

    def opt_tcp(self, where: str) -> None:
        """Where to listen for live lines: a TCP port, or a Twisted endpoint such as
        ssl:12346:privateKey=key.pem:certKey=cert.pem; may be given several times."""
        if where.isascii() and where.isdigit():
            _number("tcp", where, 0, 65_535)
        self["tcp"].append(where)

    def opt_web(self, where: str) -> None:
        """Where to listen for browsers, and for scripts that speak HTTP: as --tcp; may be given several times."""
        if where.isascii() and where.isdigit():
            _number("web", where, 0, 65_535)
        self["web"].append(where)

    def opt_web_host(self, name: str) -> None:
        """A name under which browsers know this server, like chat.example.org; may be given several times. Addresses,
        names without a dot, and those of a local network need not be named."""
        if not _HOST.fullmatch(name):
            raise usage.UsageError(f"--web-host must be the name of a host, without a port, not {name!r}.")
        self["web-host"].append(name)

    def opt_version(self) -> None:
        """Show the version of groupchat, and exit."""
        print(f"groupchat {__version__}")
        sys.exit(0)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Exits with one line about the first thing that is wrong, instead of a page of help."""
        try:
            super().parseOptions(options)
        except usage.UsageError as wrong:
            sys.exit(f"twistd groupchat: {wrong} (twistd groupchat --help lists the options)")

    def parseArgs(self, *rest: str) -> None:
        if rest:
            raise usage.UsageError(f"There are options only, and {rest[0]!r} is none.")

    def postOptions(self) -> None:
        for name, (least, most) in _NUMBERS.items():
            self[name] = _number(name, self[name], least, most)
        if self["durability"] not in ("full", "normal"):
            raise usage.UsageError(f"--durability must be full or normal, not {self['durability']!r}.")
        if not self["db"]:
            raise usage.UsageError("--db must name a file, or be :memory:.")
        if not self["group"].strip() or not self["group"].isprintable() or len(self["group"]) > 64:
            raise usage.UsageError("--group must be 1 to 64 printable characters.")
        self._check_what_needs_what()
        otherwise = () if self["password-file"] else EVERYWHERE
        self["networks"] = _networks("allow", self["allow"], otherwise)
        self["web-proxies"] = _networks("web-proxy", self["web-proxy"], ())
        self["password"] = _password(Path(self["password-file"])) if self["password-file"] else None
        _check_interface(self["interface"])

    def _check_what_needs_what(self) -> None:
        if self["password-file"] and not (self["tcp"] or self["quic"] or self["web"]):
            raise usage.UsageError("--password-file is asked of live lines: it needs --tcp, --quic or --web.")
        if self["files"] is not None and not (self["quic"] or self["web"]):
            raise usage.UsageError("--files needs --quic or --web.")
        if self["certificate"] is not None and not self["quic"]:
            raise usage.UsageError("--certificate needs --quic.")
        for name in ("certificate", "files"):
            if self[name] == "":
                raise usage.UsageError(f"--{name} needs a path.")


def _check_interface(interface: str | None) -> None:
    if not interface:
        return
    try:
        ipaddress.ip_address(interface)
    except ValueError:
        raise usage.UsageError(f"--interface must be an IP address, not {interface!r}.") from None
    if "%" in interface:
        raise usage.UsageError("--interface cannot be a link-local address: listen on :: instead.")


def _number(name: str, value: str, least: int, most: int) -> int:
    if not (value.isascii() and value.isdigit() and least <= int(value) <= most):
        raise usage.UsageError(f"--{name} must be a whole number from {least} to {most}, not {value!r}.")
    return int(value)


def _networks(name: str, given: str | None, otherwise: Sequence[Network]) -> Sequence[Network]:
    if given is None:
        return otherwise
    try:
        return [ipaddress.ip_network(network.strip()) for network in given.split(",")]
    except ValueError as why:
        raise usage.UsageError(f"--{name} must be networks like 10.0.0.0/8,::1/128: {why}.") from None


def _password(path: Path) -> bytes:
    try:
        password = path.read_bytes().removesuffix(b"\n").removesuffix(b"\r")
    except OSError as error:
        raise usage.UsageError(f"--password-file {path} cannot be read: {error.strerror}.") from None
    if not 0 < len(password) <= MAX_PASSWORD or b"\n" in password:
        raise usage.UsageError(f"--password-file {path} must have one line in it, of 1 to {MAX_PASSWORD} bytes.")
    return password
