"""`groupchat files`, `get` and `send`: what may be typed after them. Twisted is imported once that is known to be good.

0    done
1    the network failed, the server is not trusted or refused it, it could not be written, or exists already, or what
     came is not what was promised
2    wrong arguments
129, 130, 143    ended by SIGHUP, SIGINT (Ctrl-C), SIGTERM; what came of a file is kept
"""

from __future__ import annotations

import argparse
import getpass
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from groupchat.client.cli import open_standard_descriptors, read_password
from groupchat.client.files.names import BadNameError, is_fit, target
from groupchat.client.text import clean, quote
from groupchat.client.where import Where, parse_url

USAGE = {
    "files": "groupchat files [options] quic://HOST:PORT",
    "get": "groupchat get [options] quic://HOST:PORT NAME [TO]",
    "send": "groupchat send [options] quic://HOST:PORT PATH",
}

WORDS = {
    "files": "List the files of a group: size, when it came, and name of each.",
    "get": "Fetch a file of a group, and save it here, or as TO, or in the directory TO;\n"
    "of - it is written to standard output. Nothing is overwritten. What came of a\n"
    "file is kept when this ends, as NAME.*.part, and the next get goes on there.",
    "send": "Send a file to a group, as a guest of it, who says nothing else.",
}

STATUS = """\
exit status: 0 done; 1 the network failed, the server is not trusted, it was
refused, exists already, or is not what was promised; 2 wrong arguments;
130 Ctrl-C"""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        message = clean(os.fsencode(message)).replace("\n", " ")
        self.exit(2, f"{self.prog}: {message}; usage: {self.usage}\n")


def make_parser(verb: str) -> Parser:
    parser = Parser(
        prog=f"groupchat {verb}",
        usage=USAGE[verb],
        description=WORDS[verb],
        epilog=STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("where", metavar="URL", help="quic://HOST:PORT; 12345 without a port")
    match verb:
        case "get":
            parser.add_argument("file", metavar="NAME", help="which file")
            parser.add_argument("to", metavar="TO", nargs="?", default="", help="where to save it")
        case "send":
            parser.add_argument("path", metavar="PATH", help="a file of yours")
            parser.add_argument("--name", metavar="NAME", type=_guest, help="who sends it (your login name)")
        case "files":
            parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--password-file", metavar="FILE", type=Path, help="a file with the password of the group")
    parser.add_argument("--ca", metavar="FILE", type=Path, help="trust only what those in this file vouch for")
    parser.add_argument("--trust-new", action="store_true", help="trust a certificate that was never seen before")
    return parser


def _guest(text: str) -> str:
    if is_name(text):
        return text
    raise argparse.ArgumentTypeError(f"that is no name for a member of a group: {quote(os.fsencode(text))}")


def _is_line(text: str) -> bool:
    """Whether it can be said in a line: without an end of one, and in UTF-8."""
    return "\n" not in text and text.encode(errors="replace") == os.fsencode(text)


def is_name(text: str) -> bool:
    """Whether a member may be called so, as far as one need know here: the server has the last word."""
    is_plain = bool(text.strip()) and len(text) <= 32 and text == clean(os.fsencode(text)) and "\n" not in text
    return is_plain and not set(text) & set(":,()\t") and text[0] not in "/#@*" and not text.isnumeric()


def _own_name() -> str:
    """The login name; empty if there is none, or nobody could be called so."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        return ""
    return name if is_name(name) else ""


def _where(parser: Parser, url: str) -> Where:
    try:
        where = parse_url(url)
    except ValueError as why:
        parser.error(f"{why}, not {quote(os.fsencode(url))}")
    if where.scheme != "quic":
        parser.error(f"files go over QUIC: quic://{str(where).partition('://')[2]}")
    return where


def run_words(words: Sequence[str]) -> int:
    """Returns the exit status."""
    verb, *rest = words
    parser = make_parser(verb)
    given = parser.parse_intermixed_args(rest)
    where = _where(parser, given.where)
    password = read_password(parser, given.password_file)
    if verb == "get" and not _is_line(given.file):
        parser.error(f"the name of a file is one line of text, not {quote(os.fsencode(given.file))}")
    to: Path | None = None
    if verb == "get" and given.to != "-":
        try:
            to = target(given.file, given.to)
        except BadNameError as why:
            parser.exit(1, f"groupchat: {clean(os.fsencode(str(why)))}\n")
    guest = ""
    if verb == "send":
        guest = given.name or _own_name() or parser.error("--name is needed: your login name is none for a group")
        if not is_fit(Path(given.path).name):
            parser.error("a file needs a name that everybody can have: send a copy of it under another one")
    open_standard_descriptors()
    from groupchat.client.scripts import Script, Server

    server = Server(where, given.ca, given.trust_new, password or "")
    match verb:
        case "files":
            return Script(server).files(as_json=given.json)
        case "get":
            return Script(server).get(given.file, to)
    return Script(server).send(Path(given.path), guest)
