"""The options of `twistd groupchat`: their names, their defaults, and what is wrong with a value."""

from __future__ import annotations

import getopt
import ipaddress
import os
import re
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from twisted.python import usage

from groupchat import __version__
from groupchat.core.errors import IllegalMessage
from groupchat.core.limits import (
    BURST,
    EVERYWHERE,
    JOIN_BURST,
    KEEPALIVE,
    MAX_LINE,
    MAX_UNTERMINATED,
    MOST,
    FileLimits,
    Limits,
    Network,
    Settings,
)
from groupchat.core.names import nickname
from groupchat.core.numbers import whole
from groupchat.core.texts import one_line
from groupchat.daemon import config_file
from groupchat.daemon.config_file import Kind
from groupchat.wire.datagrams import MAX_REPLY, REFUSAL

DEFAULTS = Settings()
LIMITS = Limits()
FILES = FileLimits()
MB = 1_000_000
DEFAULT_PORT = 12_345
MAX_PASSWORD = 256

T = TypeVar("T")

_HOST = re.compile(r"[0-9A-Za-z_-]+(\.[0-9A-Za-z_-]+)*")


@dataclass(frozen=True, slots=True)
class Option:
    """An option: its help, its default, and `bounds` if it is a whole number between them.

    `value` is what stands for the value in the help; an option without it is a flag. `many` options may be repeated.
    """

    name: str
    help: str
    value: str = ""
    default: str | None = None
    bounds: tuple[int, int] | None = None
    short: str | None = None
    many: bool = False

    @property
    def kind(self) -> Kind:
        """What its value is in the configuration file."""
        if not self.value:
            return Kind.FLAG
        if self.many:
            return Kind.PORTS if self.value == "PORT" else Kind.TEXTS
        if self.value in ("NETWORKS", "NAMES"):
            return Kind.LIST
        return Kind.NUMBER if self.bounds else Kind.TEXT


def _whole(name: str, help: str, default: int, least: int = 0) -> Option:
    return Option(name, help, "N", str(default), (least, MOST))


GROUPS: dict[str, list[Option]] = {
    "Configuration": [
        Option("config", "TOML file in which every option has its own name; the command line wins.", "FILE"),
    ],
    "Where to listen": [
        Option(
            "port",
            "UDP port of the five messages and QUIC; 0 takes a free one.",
            "N",
            str(DEFAULT_PORT),
            (0, 65_535),
            "p",
        ),
        Option("interface", "IP address to listen on; all addresses, IPv4 and IPv6, without it.", "IP", short="i"),
        Option(
            "tcp",
            "Live lines: a TCP port, or a Twisted endpoint such as ssl:12346:privateKey=key.pem:certKey=cert.pem. "
            "May be repeated.",
            "PORT",
            many=True,
        ),
        Option(
            "web", "The page and HTTP: a TCP port or an endpoint, as for --tcp. May be repeated.", "PORT", many=True
        ),
        Option("quic", "Live lines and files over QUIC (encrypted, reliable UDP), on the UDP port."),
        Option(
            "certificate",
            "PEM file with the private key and certificate for QUIC; without it, one is made and kept beside --db.",
            "FILE",
        ),
    ],
    "Who may take part": [
        Option("password-file", "File with the password of the group. Plain UDP does not ask for it.", "FILE"),
        Option(
            "operator-file",
            "File with the passwords that /operator takes, one a line; NAME:PASSWORD is for one member.",
            "FILE",
        ),
        Option(
            "reserved-names",
            'Names that nobody may take, nor any that looks like them, with commas between; "" is none.',
            "NAMES",
            ",".join(DEFAULTS.reserved_names),
        ),
        Option(
            "allow-udp",
            "Networks whose datagrams are accepted, such as 10.0.0.0/8,::1/128. Without it: all networks, or none if "
            "there is a password, which datagrams cannot carry.",
            "NETWORKS",
        ),
        Option(
            "web-host",
            "A public name of this server, such as chat.example.org. IP addresses, names without a dot and names of "
            "local networks are known. May be repeated.",
            "NAME",
            many=True,
        ),
        Option(
            "trust-proxy",
            "Networks of HTTP proxies, such as 127.0.0.1/32, whose X-Forwarded-For and X-Forwarded-Proto are trusted.",
            "NETWORKS",
        ),
    ],
    "The group and its log": [
        Option("name", "Name of the group.", "NAME", DEFAULTS.name, short="g"),
        Option(
            "db", "File that holds the group; :memory: keeps it in memory only.", "FILE", "groupchat.sqlite", short="d"
        ),
        Option(
            "durability",
            "full: what was answered survives a power cut. normal: faster, but a power cut may take back the last "
            "answers.",
            "full|normal",
            "full",
        ),
        Option(
            "control",
            "Unix socket over which groupchat-admin asks the daemon; without it, the name of --db and .control.",
            "PATH",
        ),
        Option("control-group", "Group of users who may use that socket, too.", "NAME"),
        Option("log-json", "Log one JSON object a line, instead of text."),
        _whole("keep-lines", "Number of lines that are kept.", DEFAULTS.keep, 1),
        _whole("keep-days", "Number of days for which lines are kept; 0 is no limit.", DEFAULTS.keep_days),
    ],
    "Shared files": [
        Option("files", "Directory of the files that members share; made if there is none.", "DIR", short="f"),
        _whole("max-file-size", "Largest file, in MB.", FILES.max_file // MB, 1),
        _whole("files-quota", "Size of all files together, in MB.", FILES.max_total // MB, 1),
        _whole("member-quota", "Size of the files of one member together, in MB.", FILES.max_member // MB, 1),
        _whole("keep-free", "Disk space that files leave free, in MB.", FILES.keep_free // MB),
    ],
    "Limits": [
        _whole(
            "max-members",
            "Number of members, of which three quarters may be over UDP.",
            DEFAULTS.max_members,
            1,
        ),
        _whole(
            "join-rate",
            f"Joins over UDP a second, of all hosts together, in the long run, {JOIN_BURST:,} at once; 0 is no limit.",
            DEFAULTS.join_rate,
        ),
        _whole("max-per-host", "Members, and connections, of one IP address; 0 is no limit.", DEFAULTS.max_per_host),
        _whole(
            "max-connections", f"Number of connections; of QUIC at most {LIMITS.max_quic:,}.", LIMITS.max_connections, 1
        ),
        _whole("rate", f"Texts a second of one member in the long run, {BURST} at once; 0 is no limit.", DEFAULTS.rate),
        Option(
            "max-reply",
            "Size of a UDP reply, in bytes. What does not fit waits; nothing is cut.",
            "N",
            str(MAX_REPLY),
            (len(REFUSAL), MAX_REPLY),
        ),
    ],
    "Timeouts": [
        _whole("timeout", "Seconds after which a connection without a name, or that takes no data, is closed.", 60, 1),
        _whole(
            "hold",
            "Seconds for which a numbered session or a page keeps its member after its connection ended.",
            DEFAULTS.hold,
        ),
        _whole(
            "release",
            "Seconds of silence after which a UDP name is free for another port of the same host; 0 is never.",
            DEFAULTS.release,
        ),
        _whole(
            "reserve",
            "Days for which the name and the place of a member with a key are kept for it after it left; 0 is never.",
            DEFAULTS.reserve,
        ),
        _whole("idle-days", "Days of silence after which a member leaves; 0 is never.", DEFAULTS.idle),
    ],
}

RENAMED = {
    "allow": "allow-udp",
    "group": "name",
    "idle": "idle-days",
    "keep": "keep-lines",
    "max-file": "max-file-size",
    "max-files": "files-quota",
    "max-share": "member-quota",
    "name-within": "timeout",
    "stall": "timeout",
    "web-proxy": "trust-proxy",
}
"""Older names of options, which are accepted and not listed."""

NEEDS_RESTART = frozenset(
    (
        *("config", "port", "interface", "tcp", "web", "quic"),
        *("db", "durability", "control", "control-group", "files", "log-json"),
    )
)
"""The options that cannot change while the daemon runs."""

_ALL = [option for options in GROUPS.values() for option in options]
_EXAMPLE = "twistd groupchat --port 12345 --tcp 12345 --web 8080 --quic --files shared"


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
        ["log-json", None, "Log one JSON object a line, instead of text."],
    ]
    optParameters = [
        [option.name, option.short, option.default, option.help] for option in _ALL if option.value and not option.many
    ]

    def __init__(self, before: Options | None = None) -> None:
        """`before` are the options that this daemon has now: see `parse`."""
        super().__init__()
        self._before = before
        self.directory: str = os.getcwd() if before is None else before.directory
        self.arguments: Sequence[str] = ()
        self.sources: dict[str, str] = {}
        """Where each value comes from that is no default."""
        self.unreadable: list[str] = []
        """The options whose files only root may read, so that they stay as they were."""
        for option in _ALL:
            if option.many:
                self[option.name] = []

    def opt_tcp(self, where: str) -> None:
        self._listen("tcp", where)

    def opt_web(self, where: str) -> None:
        self._listen("web", where)

    def _listen(self, name: str, where: str) -> None:
        if where.isascii() and where.isdigit():
            _number(name, where, 0, 65_535)
        self[name].append(where)

    def opt_web_host(self, name: str) -> None:
        if not _HOST.fullmatch(name):
            raise usage.UsageError(f"--web-host must be the name of a host, without a port, not {name!r}.")
        self["web-host"].append(name)

    def opt_version(self) -> None:
        """Show the version of groupchat, and exit."""
        print(f"groupchat {__version__}")
        sys.exit(0)

    def getUsage(self, width: int | None = None) -> str:
        """Return the help: the options in groups, with their defaults."""
        lines = [
            "A group chat that anything can join: five messages over UDP, lines over TCP, a page, HTTP and QUIC.",
            f"For example: {_EXAMPLE}",
        ]
        for title, options in GROUPS.items():
            lines += ["", f"{title}:"]
            for option in options:
                lines += _described(option, width or 100)
        lines += ["", "Also: --version, --help. See docs/operations.md for details and fixed limits.", ""]
        return "\n".join(lines)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse the arguments. Exit with one line about the first thing that is wrong, instead of a page of help."""
        try:
            self.parse(sys.argv[1:] if options is None else options, {})
        except usage.UsageError as wrong:
            sys.exit(f"twistd groupchat: {wrong} (twistd groupchat --help lists the options)")

    def parse(self, arguments: Sequence[str], chosen: Mapping[str, str]) -> None:
        """Parse arguments, and the file that they name. Raise UsageError.

        `chosen` are values, by option, that win over both. Paths count from the directory of the first start, and a
        file that may no longer be read has what it had in the options `before`.
        """
        self.arguments = arguments
        try:
            given, rest = getopt.getopt([_current(argument) for argument in arguments], self.shortOpt, self.longOpt)
        except getopt.error as wrong:
            raise usage.UsageError(str(wrong)) from None
        typed = [(self._name(name.lstrip("-")), value) for name, value in given]
        typed = [(name, value) for name, value in typed if name not in chosen]
        self.sources = dict.fromkeys((name for name, _ in typed), "command line") | dict.fromkeys(chosen, "set")
        found = self._from_file(dict(typed).get("config"))
        found += [f"--{name}={value}" if value or self._takes_value(name) else f"--{name}" for name, value in typed]
        found += [f"--{name}={part}" for name, value in chosen.items() for part in self._parts(name, value)]
        try:
            super().parseOptions([*found, *rest])
        except usage.UsageError as wrong:
            raise usage.UsageError(self._located(str(wrong))) from None

    def _name(self, given: str) -> str:
        """Return the name of an option that was perhaps given by its letter."""
        name: str = self.synonyms.get(given, given)
        return name.replace("_", "-")

    def _takes_value(self, name: str) -> bool:
        return f"{name}=" in self.longOpt

    def _parts(self, name: str, value: str) -> Sequence[str]:
        return value.split(",") if any(option.many for option in _ALL if option.name == name) else [value]

    def _from_file(self, path: str | None) -> list[str]:
        """Return the arguments that the configuration file, if any, adds to the others."""
        if path is None:
            return []
        kinds = {option.name: option.kind for option in _ALL if option.name != "config"}
        settings = config_file.read(self.path(path), kinds)
        settings = [setting for setting in settings if setting.name not in self.sources]
        self.sources |= {setting.name: setting.where for setting in settings}
        return [argument for setting in settings for argument in setting.arguments]

    def _located(self, wrong: str) -> str:
        """Return what is wrong, with the place of the option in the configuration file if it is from there."""
        found = re.match(r"--([a-z-]+)", wrong)
        where = self.sources.get(found[1], "") if found else ""
        if where in ("", "command line"):
            return wrong
        return wrong.removeprefix("--") if where == "set" else f"{where}: {wrong.removeprefix('--')}"

    def path(self, given: str) -> Path:
        """Return the path of a file that is read where the daemon was started."""
        return Path(given) if self._before is None else Path(self.directory, given)

    def endpoint(self, where: str) -> str:
        """Return the string of an endpoint for TLS whose files are read where the daemon was started."""
        folder = self.directory.replace("\\", "\\\\").replace(":", "\\:")
        paths = r":(privateKey|certKey|extraCertChain|dhParameters)=(?!/)"
        return re.sub(paths, lambda found: f"{found[0]}{folder}/", where)

    def parseArgs(self, *rest: str) -> None:
        if rest:
            raise usage.UsageError(f"There are options only, and {rest[0]!r} is none.")

    def postOptions(self) -> None:
        for option in _ALL:
            if option.bounds is not None:
                self[option.name] = _number(option.name, self[option.name], *option.bounds)
        if self["durability"] not in ("full", "normal"):
            raise usage.UsageError(f"--durability must be full or normal, not {self['durability']!r}.")
        if not self["db"]:
            raise usage.UsageError("--db must name a file, or be :memory:.")
        if not self["name"].strip() or not self["name"].isprintable() or len(self["name"]) > 64:
            raise usage.UsageError("--name must be 1 to 64 printable characters.")
        self._check_what_needs_what()
        otherwise = () if self["password-file"] else EVERYWHERE
        self["udp-networks"] = _networks("allow-udp", self["allow-udp"], otherwise)
        self["proxies"] = _networks("trust-proxy", self["trust-proxy"], ())
        self["reserved"] = _names(self["reserved-names"])
        self["password"] = self._read("password-file", _password, "password", None)
        nobody: tuple[bytes, ...] = ()
        self["operators"] = self._read("operator-file", _operators, "operators", nobody)
        _check_interface(self["interface"])
        _check_pidfile(self.parent["pidfile"] if self.parent else "")

    def _read(self, name: str, read: Callable[[Path], T], what: str, otherwise: T) -> T:
        """Return what is in the file that an option names. Raise UsageError."""
        if not self[name]:
            return otherwise
        try:
            return read(self.path(self[name]))
        except OSError as error:
            if isinstance(error, PermissionError) and self._before is not None and self._before[name] == self[name]:
                self.unreadable.append(name)
                found: T = self._before[what]
                return found
            raise usage.UsageError(f"--{name} {self[name]} cannot be read: {error.strerror}.") from None

    def _check_what_needs_what(self) -> None:
        if self["password-file"] and not (self["tcp"] or self["quic"] or self["web"]):
            raise usage.UsageError("--password-file needs --tcp, --quic or --web: datagrams cannot carry a password.")
        if self["operator-file"] and not (self["tcp"] or self["quic"] or self["web"]):
            raise usage.UsageError("--operator-file needs --tcp, --quic or --web: datagrams cannot carry a password.")
        if self["files"] is not None and not (self["quic"] or self["web"]):
            raise usage.UsageError("--files needs --quic or --web.")
        if self["certificate"] is not None and not self["quic"]:
            raise usage.UsageError("--certificate needs --quic.")
        if self["control-group"] is not None and self["control"] is None and self["db"] == ":memory:":
            raise usage.UsageError("--control-group needs --control if --db is :memory:.")
        for name in ("config", "certificate", "files", "control", "control-group"):
            if self[name] == "":
                raise usage.UsageError(f"--{name} needs a path.")


def _current(argument: str) -> str:
    """Return an argument with the current name of the option that it sets."""
    name, equals, value = argument.removeprefix("--").partition("=")
    return f"--{RENAMED[name]}{equals}{value}" if argument.startswith("--") and name in RENAMED else argument


def _described(option: Option, width: int) -> list[str]:
    """Return the lines of the help about one option."""
    short = f"-{option.short}, " if option.short else "    "
    name = f"  {short}--{option.name} {option.value}".rstrip()
    words = option.help if option.default is None else f"{option.help} [{option.default}]"
    indent = " " * 33
    text = textwrap.wrap(words, max(width, 60) - len(indent), break_on_hyphens=False)
    first = [f"{name:<32} {text.pop(0)}"] if len(name) <= 32 else [name]
    return first + [indent + line for line in text]


def _check_interface(interface: str | None) -> None:
    if not interface:
        return
    try:
        ipaddress.ip_address(interface)
    except ValueError:
        raise usage.UsageError(f"--interface must be an IP address, not {interface!r}.") from None
    if "%" in interface:
        raise usage.UsageError("--interface cannot be a link-local address: listen on :: instead.")


def _check_pidfile(path: str) -> None:
    """Check what twistd, which would raise any error, reads next: perhaps nothing is there yet."""
    try:
        Path(path or os.devnull).read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        sys.exit(f"twistd: --pidfile {path}: {error.strerror}.")


def _number(name: str, value: str, least: int, most: int) -> int:
    number = whole(value)
    if number is None or not least <= number <= most:
        raise usage.UsageError(f"--{name} must be a whole number from {least} to {most}, not {value[:40]!r}.")
    return number


def _networks(name: str, given: str | None, otherwise: Sequence[Network]) -> Sequence[Network]:
    if given is None:
        return otherwise
    try:
        return [ipaddress.ip_network(network.strip()) for network in given.split(",")]
    except ValueError as why:
        raise usage.UsageError(f"--{name} must be networks like 10.0.0.0/8,::1/128: {why}.") from None


def _names(given: str) -> tuple[str, ...]:
    try:
        return tuple(nickname(name).key for name in given.split(",") if name.strip())
    except IllegalMessage as why:
        raise usage.UsageError(f"--reserved-names must be names with commas between: {why}") from None


def _password(path: Path) -> bytes:
    password = one_line(path.read_bytes())
    if not 0 < len(password) <= MAX_PASSWORD or b"\n" in password:
        raise usage.UsageError(f"--password-file {path} must have one line in it, of 1 to {MAX_PASSWORD} bytes.")
    return password


def _operators(path: Path) -> tuple[bytes, ...]:
    """Return the passwords of operators, each after the key of the name that it is for, which may be empty: `KEY:`."""
    lines = one_line(path.read_bytes()).splitlines()
    found = tuple(_operator(path, number, line) for number, line in enumerate(lines, 1) if line.strip())
    if not found:
        raise usage.UsageError(f"--operator-file {path} has no password in it.")
    return found


def _operator(path: Path, number: int, line: bytes) -> bytes:
    name, colon, password = line.partition(b":")
    name, password = (name.strip(), password.strip()) if colon else (b"", line.strip())
    where = f"--operator-file {path}, line {number}"
    if not 0 < len(password) <= MAX_PASSWORD or password.lower() == b"off":
        raise usage.UsageError(f"{where}: a password has 1 to {MAX_PASSWORD} bytes, and is not `off`.")
    try:
        return (nickname(name.decode()).key.encode() if name else b"") + b":" + password
    except (IllegalMessage, UnicodeDecodeError):
        raise usage.UsageError(f"{where}: what is before the first : must be the name of a member.") from None
