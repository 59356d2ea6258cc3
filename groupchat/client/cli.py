"""The command `groupchat`: what may be typed after it, and what its exit status says.

0    ended by a `4` answered with `close`, by the end of input, or because nobody reads the output any more
1    the network failed: unknown host, nothing listening, a request that was not answered, a line that was not sent; the
     output could not be written; or, where nobody types, a join was refused
2    wrong arguments
129, 130, 143    ended by SIGHUP, SIGINT (Ctrl-C), SIGTERM, after leaving the group

Twisted is imported only once the arguments are known to be good: `--help` and `--version` answer at once.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from groupchat import __version__
from groupchat.client.text import quote

if TYPE_CHECKING:
    from groupchat.client.udp import Address

DESCRIPTION = """\
Talk to a groupchat daemon over UDP. Each line of standard input is sent as it stands, each reply is printed:

  1 NAME   join the group as NAME: answered with the names of those who are in it
  2 TEXT   say TEXT to everybody
  3 NAME   change your name
  4        leave, and end
  5        ask what is new (2 and 3 are answered with that, too)

Anything else, an empty line included, is sent as well, and answered with "Illegal message".
"""

EPILOG = """\
The next line is sent when the last one is answered. If there is no answer within two seconds, that is said on standard
error. A join or a poll (1, 5) is then repeated, after 2, 4, 8 ... at most 30 seconds: without end on a terminal, else
5 times. Others are not, as they may have been heard, and the next line is sent. A reply that comes late is printed when
it comes. The end of input, and Ctrl-C, leave the group before they end the client; a second Ctrl-C ends it at once.

exit status:
  0    left with 4, end of input, or nobody reads the output any more
  1    unknown host, nothing listening, a request was not answered, a line was not sent, the output could not be
       written, or a join from input that is no terminal was refused
  2    wrong arguments
  129, 130, 143    SIGHUP, SIGINT (Ctrl-C), SIGTERM
"""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; usage: {self.prog} HOST PORT (see {self.prog} --help)\n")


def port_number(text: str) -> int:
    """Raises ArgumentTypeError unless it is a decimal number from 1 to 65535."""
    if text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"a port is a number from 1 to 65535, not {quote(os.fsencode(text))}")


def make_parser() -> Parser:
    parser = Parser(
        prog="groupchat",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("host", metavar="HOST", help="a host's name, or its IPv4 or IPv6 address")
    parser.add_argument("port", metavar="PORT", type=port_number, help="the daemon's UDP port")
    parser.add_argument("--version", action="version", version=f"groupchat {__version__}")
    return parser


def complain(problem: str) -> None:
    """One line on standard error. A terminal that takes nothing just now does not hold up the conversation."""
    with suppress(OSError):
        os.write(2, f"groupchat: {problem}\n".encode())


def resolve(host: str, port: int) -> list[Address]:
    """The host's addresses in the system's order, each once. Raises OSError, or UnicodeError for what is no name.

    The first one that does not refuse is used. Silence is no refusal: the request may have been heard.
    """
    import socket

    from groupchat.client.udp import Address  # here, because it imports Twisted

    found = []
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    for *_, where in socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM):
        host, _, *rest = (str(part) for part in where)
        scope = f"%{rest[1]}" if rest and rest[1] != "0" else ""  # IPv6: flow label, scope
        found.append(Address(host + scope, port))
    return list(dict.fromkeys(found))


def open_standard_descriptors() -> None:
    """A descriptor closed by whoever started us would become the next socket, and be written to as a terminal."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def run(host: str, port: int) -> int:
    """Returns the exit status."""
    open_standard_descriptors()
    try:
        addresses = resolve(host, port)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a host's name"
        complain(f"unknown host {quote(os.fsencode(host))}: {reason}; check its spelling, or give its address")
        return 1
    from groupchat.client.plain import talk  # here, because it imports Twisted

    return talk(addresses, f"{quote(os.fsencode(host))[1:-1]} port {port}", complain)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The command. `arguments` are the process's own unless given. Always exits."""
    given = make_parser().parse_args(arguments)
    try:
        status = run(given.host, given.port)
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
    sys.exit(status)
