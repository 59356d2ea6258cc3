"""The command `groupchat`: what may be typed after it, and what its exit status says.

0    ended as asked: `/quit` or `4`, the end of input, or because nobody reads the output any more
1    the network failed: unknown host, nothing listening, a certificate that is not trusted, a request that was not
     answered, a line that was not sent; the output could not be written; or, where nobody types, a name was refused
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
from pathlib import Path
from typing import NoReturn

from groupchat import __version__
from groupchat.client.text import clean, quote
from groupchat.client.where import Where, parse_port, parse_url

DESCRIPTION = """\
Chat with a groupchat server.

  groupchat tcp://HOST:PORT      over TCP: what the others say is there at once,
                                 and nothing is ever lost or said twice
  groupchat tls://HOST:PORT      the same, so that nobody can read along
  groupchat quic://HOST:PORT     the same, over UDP: it stays when this machine
                                 gets another address
  groupchat udp://HOST:PORT --name NAME, or
  groupchat HOST PORT --name NAME
                                 over UDP: asks every few seconds what is new
  groupchat HOST PORT            the plain client: type the five messages
                                 yourself (see below)
  groupchat files, get, send     the files of the group, for scripts: see
                                 groupchat get --help

What you type goes to all the others; /help lists the commands. The port is
12345 if a URL has none. In a pipe, with --name, each line of standard input is
said, and what comes is printed; what did not work is told on standard error.
"""

EPILOG = """\
The plain client sends each line of standard input as it stands, and prints each
reply:

  1 NAME   join the group as NAME: answered with the names of who is in it
  2 TEXT   say TEXT to everybody
  3 NAME   change your name
  4        leave, and end
  5        ask what is new (2 and 3 are answered with that, too)

Anything else, an empty line included, is sent as well, and answered with
"Illegal message". The next line is sent when the last one is answered. If there
is no answer within two seconds, that is said on standard error. A join or a
poll (1, 5) is then repeated, after 2, 4, 8 ... at most 30 seconds: without end
on a terminal, else 5 times. Others are not, as they may have been heard, and
the next line is sent. A reply that comes late is printed when it comes.

The end of input, and Ctrl-C, leave the group before they end either client; a
second Ctrl-C ends it at once.

An object of --json has "at", the time, and "kind": what the others did is said,
private, joined, left, renamed or shared; own is what you say; server, answer,
state and problem are words of the server or the client. If there is one,
"number" counts what happened in the group, "name" is who did it, "text" is what
was said, a new name, or the name of a file, of "size"; "waits" is true while
there is no way to the server. What becomes of a file is of kind file: "file" is
its name, "direction" get or send, "state" began, waits, done, failed, stopped.

exit status:
  0    left as asked, or nobody reads the output any more
  1    unknown host, nothing listening, a certificate that is not trusted, a
       request was not answered or refused, a line was not sent, the output
       could not be written, or, where nobody types, a name was refused
  2    wrong arguments
  129, 130, 143    SIGHUP, SIGINT (Ctrl-C), SIGTERM
"""


VERBS = ("files", "get", "send")


def is_verb(words: Sequence[str]) -> bool:
    """Whether this is for scripts, and no host of such a name."""
    return words[:1] != [] and words[0] in VERBS and (_has_url(words) or not any(word.isdecimal() for word in words))


def _has_url(words: Sequence[str]) -> bool:
    return any("://" in word or word in ("-h", "--help") for word in words)


def run_verb(words: Sequence[str]) -> int:
    """Returns the exit status."""
    from groupchat.client.verbs import run_words

    return run_words(words)


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        message = clean(os.fsencode(message)).replace("\n", " ")
        self.exit(2, f"{self.prog}: {message}; usage: {self.prog} URL, or HOST PORT (see {self.prog} --help)\n")


def make_parser() -> Parser:
    parser = Parser(
        prog="groupchat",
        usage="groupchat [options] URL, or groupchat [options] HOST PORT",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "where", nargs="+", metavar="URL", help="tcp://, tls://, quic:// or udp://HOST:PORT; or HOST PORT, for udp"
    )
    parser.add_argument(
        "--name", metavar="NAME", type=_name, help="your name in the group; without it, you are asked for one"
    )
    parser.add_argument(
        "--poll", metavar="SECONDS", type=_seconds, default=2.0, help="over UDP: how often to ask what is new (2)"
    )
    parser.add_argument("--password-file", metavar="FILE", type=Path, help="a file with the password of the group")
    parser.add_argument(
        "--ca", metavar="FILE", type=Path, help="trust only certificates that those in this file vouch for"
    )
    parser.add_argument(
        "--trust-new",
        action="store_true",
        help="trust a certificate that was never seen before without asking; one that has changed is refused even so",
    )
    parser.add_argument(
        "--quic-port",
        metavar="PORT",
        type=port_number,
        help="where the server has QUIC, for files, if not on that port",
    )
    parser.add_argument("--plain", action="store_true", help="plain lines, as in a pipe, also on a terminal")
    parser.add_argument("--json", action="store_true", help="everything that happens, as one JSON object a line")
    parser.add_argument("--no-times", action="store_true", help="show no times")
    parser.add_argument("--no-bell", action="store_true", help="ring no bell for a private message, or your own name")
    parser.add_argument("--version", action="version", version=f"groupchat {__version__}")
    return parser


def _name(text: str) -> str:
    if text.strip() and not set(text) & set("\t\n") and text == clean(os.fsencode(text)):
        return text
    raise argparse.ArgumentTypeError(f"a name is one line of text, not {quote(os.fsencode(text))}")


def port_number(text: str) -> int:
    try:
        return parse_port(text)
    except ValueError as why:
        raise argparse.ArgumentTypeError(f"{why}, not {quote(os.fsencode(text))}") from why


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if 0.1 <= seconds <= 3600:
        return seconds
    raise argparse.ArgumentTypeError(f"seconds are a number from 0.1 to 3600, not {quote(os.fsencode(text))}")


def _where(parser: Parser, parts: Sequence[str]) -> Where:
    """Exits if it is nowhere."""
    words = quote(os.fsencode(" ".join(parts)))
    try:
        match parts:
            case [url]:
                return parse_url(url)
            case [host, port] if "://" not in host:
                literal = host[1:-1] if host.startswith("[") and host.endswith("]") else host
                return Where("udp", literal, parse_port(port))
        raise ValueError("there is one URL, or a host and a port")
    except ValueError as why:
        parser.error(f"{why}, not {words}")


def complain(problem: str) -> None:
    """One line on standard error. A terminal that takes nothing just now does not hold up the conversation."""
    with suppress(OSError):
        os.write(2, f"groupchat: {problem}\n".encode(errors="replace"))


def open_standard_descriptors() -> None:
    """A descriptor closed by whoever started us would become the next socket, and be written to as a terminal."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def run(parser: Parser, given: argparse.Namespace) -> int:
    """Returns the exit status."""
    where = _where(parser, given.where)
    open_standard_descriptors()
    if where.scheme == "udp" and given.name is None:
        if given.json or given.plain or given.ca or given.trust_new or given.quic_port:
            parser.error("--name is needed for that")
        from groupchat.client.plain import talk  # here, because it imports Twisted

        return talk(where.host, where.port, complain)
    if given.name is None and not os.isatty(0):
        parser.error("--name is needed where nobody types")
    from groupchat.client.run import Wishes, chat

    wishes = Wishes(
        where=where,
        name=given.name or "",
        poll=given.poll,
        plain=given.plain,
        json=given.json,
        times=not given.no_times,
        bell=not given.no_bell,
        ca=given.ca,
        password=read_password(parser, given.password_file),
        trust_new=given.trust_new,
        quic_port=given.quic_port,
    )
    return chat(wishes, complain)


def read_password(parser: argparse.ArgumentParser, path: Path | None) -> str | None:
    """Exits if it cannot be read."""
    if path is None:
        return None
    try:
        password = path.read_text("utf-8").removesuffix("\n")
    except (OSError, UnicodeError) as error:
        parser.error(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}")
    if not password or "\n" in password:
        parser.error(f"{path} must have one line in it, the password")
    return password


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The command. `arguments` are the process's own unless given. Always exits."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if is_verb(words):
            status = run_verb(words)
        else:
            parser = make_parser()
            status = run(parser, parser.parse_args(words))
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
    sys.exit(status)
