"""The command `groupchat`: its subcommands and their arguments. The help texts below list the exit statuses.

Twisted is imported only once the arguments are known to be good: `--help` and `--version` answer at once.
"""

from __future__ import annotations

import argparse
import getpass
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from groupchat import __version__
from groupchat.client.process import open_standard_descriptors, write_output
from groupchat.client.text import clean, clean_line, quote
from groupchat.client.url import ServerURL, address, parse_port, parse_url

DESCRIPTION = """\
Chat with a groupchat server.

  groupchat URL                  short for groupchat chat URL
  groupchat HOST PORT            short for groupchat chat HOST PORT
  groupchat COMMAND --help       the options of a command
"""

CHAT = """\
Chat with a groupchat server.

  groupchat tcp://HOST:PORT      over TCP: lines of the others come at once,
                                 and nothing is ever lost or said twice
  groupchat tls://HOST:PORT      the same, encrypted
  groupchat quic://HOST:PORT     the same, encrypted, over UDP: it goes on when
                                 this machine gets another address
  groupchat udp://HOST:PORT --name NAME, or
  groupchat HOST PORT --name NAME
                                 over UDP: asks every few seconds what is new
  groupchat HOST PORT            the plain client: type the five messages
                                 yourself (see below)

What you type goes to all the others; /help lists the commands. The port is
12345 if a URL has none. In a pipe, with --name, each line of standard input is
said, and what comes is printed; problems are printed on standard error.
"""

CHAT_EPILOG = """\
The plain client sends each line of standard input as it stands, and prints each
reply:

  1 NAME   join the group as NAME: answered with the names of the members
  2 TEXT   say TEXT to everybody
  3 NAME   change your name
  4        leave, and end
  5        ask what is new (2 and 3 are answered with that, too)

Anything else, an empty line included, is sent as well, and answered with
"Illegal message". The next line is sent when the last one is answered. If there
is no answer within two seconds, a message on standard error says so. A join or
a poll (1, 5) is then repeated, after 2, 4, 8 ... at most 30 seconds: without
end on a terminal, else 5 times. Others are not, as they may have arrived, and
the next line is sent. A reply that comes late is printed when it comes.

The end of input, and Ctrl-C, leave the group before they end either client; a
second Ctrl-C ends it at once. But on a terminal, over TCP, TLS or QUIC, they
keep your seat: the next groupchat with the same URL and name goes on with it,
and shows what you missed. /quit leaves for good.

An object of --json has "at", the time, and "kind": said, private, joined, left,
renamed and shared are what the others did; own is what you say; server, answer,
state and problem are words of the server or the client. If there is one,
"number" is the number of the line in the group, "name" is its author, "text" is
what was said, a new name, or the name of a file, of "size"; "waits" is true
while there is no connection to the server. For a transfer, kind is file, "file"
is its name, "direction" get or send, "state" began, waits, done, failed or
stopped.

exit status:
  0    left as asked, or nobody reads the output any more, and all lines that
       were read are said
  1    unknown host, nothing listening, a certificate that is not trusted, a
       request was not answered or refused, a line was not sent, the output
       could not be written, or, where nobody types, a name was refused
  2    wrong arguments
  129, 130, 143    SIGHUP, SIGINT (Ctrl-C), SIGTERM
"""

FILES = "List the files of a group: size, date and name of each."
GET = """\
Fetch a file of a group, and save it here, or as TO, or in the directory TO. If
TO is - it is written to standard output. Nothing is overwritten. If this ends
early, what came is kept as NAME.*.part, and the next get goes on from there.
"""
SEND = """\
Send files to a group, one after the other, as a guest who says nothing else. If
this ends early, the server keeps what came for a day, and the next send of the
same file goes on from there.
"""

FILES_EPILOG = """\
exit status: 0 done; 1 the network failed, the server is not trusted, it was
refused, exists already, or is not what was promised; 2 wrong arguments;
130 Ctrl-C"""


class Parser(argparse.ArgumentParser):
    """Reports a wrong argument in one line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options)

    def print_help(self, file: object = None) -> NoReturn:
        """Print the help and exit. (argparse hides it if the help cannot be written.)"""
        self.exit(write_output(self.format_help()))

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {clean_line(message)}; usage: {self.usage} (see {self.prog} --help)\n")


def make_parser() -> tuple[Parser, dict[str, Parser]]:
    """Return the parser of the command line, and those of the subcommands by name."""
    usage = "groupchat COMMAND, groupchat URL, or groupchat HOST PORT"
    parser = Parser(prog="groupchat", usage=usage, description=DESCRIPTION)
    parser.add_argument("--version", action="store_true", help="show the version and exit")
    adder = parser.add_subparsers(prog="groupchat", title="commands", metavar="COMMAND", required=True)

    def add(name: str, words: str, description: str, usage: str) -> Parser:
        epilog = CHAT_EPILOG if name == "chat" else FILES_EPILOG
        added = adder.add_parser(name, help=words, description=description, epilog=epilog, usage=usage)
        if name != "chat":
            added.add_argument("url", metavar="URL", help="quic://HOST:PORT; 12345 without a port")
        return added

    chat_usage = "groupchat [chat] [options] URL, or groupchat [chat] [options] HOST PORT"
    chat = add("chat", "chat with a server", CHAT, chat_usage)
    _add_chat_arguments(chat)
    files = add("files", "list the files of a group", FILES, "groupchat files [options] quic://HOST:PORT")
    files.add_argument("--json", action="store_true", help="one JSON object a line")
    get = add("get", "fetch a file of a group", GET, "groupchat get [options] quic://HOST:PORT NAME [TO]")
    get.add_argument("file", metavar="NAME", help="the file to fetch")
    get.add_argument("to", metavar="TO", nargs="?", default="", help="where to save it")
    send = add("send", "send files to a group", SEND, "groupchat send [options] quic://HOST:PORT PATH...")
    send.add_argument("path", metavar="PATH", nargs="+", help="a file to send")
    send.add_argument("--name", metavar="NAME", type=_guest, help="the name of the guest (your login name)")
    commands = {"chat": chat, "files": files, "get": get, "send": send}
    for each in commands.values():
        each.add_argument("--password-file", metavar="FILE", type=Path, help="a file with the password of the group")
        each.add_argument("--ca", metavar="FILE", type=Path, help="trust only certificates that this file vouches for")
        trust = "trust the certificate of a new server without asking; one that has changed is still refused"
        each.add_argument("--trust-new", action="store_true", help=trust)
    return parser, commands


def _add_chat_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("url", nargs="+", metavar="URL", help="tcp://, tls://, quic:// or udp://HOST:PORT; or HOST PORT, for udp")
    add("--name", metavar="NAME", type=_name, help="your name in the group; without it, you are asked for one")
    add("--poll", metavar="SECONDS", type=_seconds, default=2.0, help="over UDP: how often to ask what is new (2)")
    add("--quic-port", metavar="PORT", type=_port, help="for files: the port of QUIC, if it is another one")
    add("--plain", action="store_true", help="plain lines, as in a pipe, also on a terminal")
    add("--json", action="store_true", help="everything that happens, as one JSON object a line")
    add("--new-seat", action="store_true", help="leave with the seat that was kept for you, and take a new one")
    add("--no-times", dest="times", action="store_false", help="show no times")
    add("--no-bell", dest="bell", action="store_false", help="ring no bell for a private message, or your own name")


def _name(text: str) -> str:
    if text.strip() and not set(text) & set("\t\n") and text == clean(os.fsencode(text)):
        return text
    raise argparse.ArgumentTypeError(f"a name is one line of text, not {quote(text)}")


def _guest(text: str) -> str:
    if _is_nickname(text):
        return text
    raise argparse.ArgumentTypeError(f"that is no name for a member of a group: {quote(text)}")


def _is_nickname(text: str) -> bool:
    from groupchat.core.errors import IllegalMessage  # here, because names.py takes long to import
    from groupchat.core.names import nickname

    try:
        nickname(text)
    except IllegalMessage:
        return False
    return True


def _login_name() -> str:
    """Return the login name; empty if there is none, or if it is no name for a member."""
    with suppress(KeyError, OSError):
        name = getpass.getuser()
        return name if _is_nickname(name) else ""
    return ""


def _port(text: str) -> int:
    try:
        return parse_port(text)
    except ValueError as why:
        raise argparse.ArgumentTypeError(f"{why}, not {quote(text)}") from why


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if 0.1 <= float(text) <= 3600:
            return float(text)
    raise argparse.ArgumentTypeError(f"seconds are a number from 0.1 to 3600, not {quote(text)}")


def _server(parser: Parser, words: Sequence[str]) -> ServerURL:
    """Return the server that a URL, or a host and a port, stand for. Exits if there is none."""
    try:
        match words:
            case [url]:
                return parse_url(url)
            case [host, port] if "://" not in host:
                literal = address(host[1:-1]) if host.startswith("[") and host.endswith("]") else host
                return ServerURL("udp", literal, parse_port(port))
        raise ValueError("there is one URL, or a host and a port")
    except ValueError as why:
        parser.error(f"{why}, not {quote(' '.join(words))}")


def _password(parser: Parser, path: Path | None) -> str:
    """Return the password in a file; empty without a file. Exits if it cannot be read."""
    if path is None:
        return ""
    try:
        password = path.read_text("utf-8-sig").removesuffix("\n")
    except (OSError, UnicodeError) as error:
        parser.error(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}")
    if not password or "\n" in password:
        parser.error(f"{path} must have one line in it, the password")
    return password


def _chat(parser: Parser, given: argparse.Namespace) -> int:
    url = _server(parser, given.url)
    if given.new_seat and (url.scheme == "udp" or not (os.isatty(0) and os.isatty(1))):
        parser.error("--new-seat is for tcp://, tls:// or quic:// on a terminal: no other seat is kept")
    if url.scheme == "udp" and given.name is None:
        if given.json or given.plain or given.ca or given.trust_new or given.quic_port:
            parser.error("--name is needed for that")
        from groupchat.client.plain import run_plain

        return run_plain(url.host, url.port)
    if given.name is None and not os.isatty(0):
        parser.error("--name is needed where nobody types")
    from groupchat.client.run import ChatOptions, run_chat

    options = vars(given) | {"url": url, "name": given.name or "", "password": _password(parser, given.password_file)}
    del options["password_file"]
    return run_chat(ChatOptions(**options))


def _transfer(parser: Parser, command: str, given: argparse.Namespace) -> int:
    """Run `files`, `get` or `send`."""
    from groupchat.client.files.names import BadNameError, is_safe, target, typed_path

    url = _server(parser, [given.url])
    if url.scheme != "quic":
        parser.error(f"files go over QUIC: quic://{str(url).partition('://')[2]}")
    password = _password(parser, given.password_file)
    to: Path | None = None
    paths: list[Path] = []
    guest = ""
    if command == "get":
        if "\n" in given.file or given.file.encode(errors="replace") != os.fsencode(given.file):
            parser.error(f"the name of a file is one line of text, not {quote(given.file)}")
        try:
            to = target(given.file, given.to) if given.to != "-" else None
        except BadNameError as why:
            parser.exit(1, f"groupchat: {clean(os.fsencode(str(why)))}\n")
    elif command == "send":
        guest = given.name or _login_name() or parser.error("--name is needed: your login name is none for a group")
        paths = [Path(typed_path(path)) for path in given.path]
        if not all(is_safe(path.name) for path in paths):
            parser.error("a file needs a name that everybody can have: send a copy of it under another one")
    from groupchat.client.files.oneshot import OneShot

    oneshot = OneShot(url, password, ca=given.ca, trust_new=given.trust_new)
    match command:
        case "files":
            return oneshot.files(as_json=given.json)
        case "get":
            return oneshot.get(given.file, to)
    return oneshot.send(paths, guest)


def run(words: Sequence[str]) -> int:
    """Parse the command line and run it. Return the exit status.

    The words of a subcommand go to its own parser, which lets options stand anywhere.
    """
    parser, commands = make_parser()
    if words[:1] == ["--version"]:
        return write_output(f"groupchat {__version__}\n")
    if not words or words[0] in ("-h", "--help"):
        parser.parse_args(words)
    command, *rest = words
    if command not in commands or (rest and rest[0].isdecimal()):  # a host may be called so
        command, rest = "chat", list(words)
    chosen = commands[command]
    given = chosen.parse_intermixed_args(rest)
    return _chat(chosen, given) if command == "chat" else _transfer(chosen, command, given)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command. `arguments` are the process's own unless given. Always exits."""
    open_standard_descriptors()
    try:
        status = run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
    sys.exit(status)
