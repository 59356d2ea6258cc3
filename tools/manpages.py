"""Make the manual pages in contrib/man from the parsers of the commands.

    python -m tools.manpages

writes them anew. A test sees that they are what this makes.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from unittest.mock import patch

from groupchat import __version__
from groupchat.admin import cli as admin
from groupchat.client import cli as client
from groupchat.daemon.options import GROUPS, Option, Options

WHERE = Path(__file__).resolve().parent.parent / "contrib" / "man"

SEE = {
    "groupchat.1": "groupchat-admin(1), groupchat(8)",
    "groupchat-admin.1": "groupchat(1), groupchat(8)",
    "groupchat.8": "groupchat(1), groupchat-admin(1), twistd(1)",
}


def escaped(text: str) -> str:
    """Return text so that roff shows it as it is."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join("\\&" + line if line.startswith((".", "'")) else line for line in text.splitlines())


def head(page: str, words: str) -> Iterator[str]:
    name, section = page.rsplit(".", 1)
    yield f'.TH {name.upper()} {section} "" "groupchat {__version__}" "groupchat"'
    yield from (".SH NAME", f"{escaped(name)} \\- {words}")


def verbatim(text: str) -> Iterator[str]:
    yield from (".nf", escaped(text.strip("\n")), ".fi")


def of_commands(
    page: str, words: str, parser: argparse.ArgumentParser, commands: Mapping[str, argparse.ArgumentParser]
) -> str:
    """Return a page about a program with commands: its help, and that of each command."""
    lines = [*head(page, words), ".SH DESCRIPTION", *verbatim(parser.format_help())]
    lines.append(".SH COMMANDS")
    for name, command in commands.items():
        lines += [f'.SS "{name}"', *verbatim(command.format_help())]
    return end(page, lines)


def of_daemon() -> str:
    """Return the page about `twistd groupchat`."""
    lines = [*head("groupchat.8", "a group chat that anything can join"), ".SH SYNOPSIS"]
    lines += [
        ".B twistd",
        "[twistd options]",
        ".B groupchat",
        "[options]",
        ".SH DESCRIPTION",
        escaped(Options.longdesc),
    ]
    for title, options in GROUPS.items():
        lines.append(f".SH {title.upper()}")
        for option in options:
            lines += entry(option)
    lines += [".SH FILES"]
    for name, words in FILES.items():
        lines += [".TP", f".I {escaped(name)}", escaped(words)]
    return end("groupchat.8", lines)


FILES = {
    "groupchat.sqlite": "The group: see --db. Never copy it while the daemon runs: groupchat-admin backup does.",
    "groupchat.sqlite.control": "The control socket.",
    "groupchat.sqlite.audit": "What operators did, one JSON object a line.",
    "groupchat.sqlite.highest": "The highest number that a line was given.",
    "groupchat.sqlite.pem": "The key and the certificate for QUIC that the daemon made.",
}


def entry(option: Option) -> list[str]:
    short = f"-{option.short}, " if option.short else ""
    words = option.help if option.default is None else f"{option.help} [{option.default}]"
    return [".TP", f".B {escaped(f'{short}--{option.name} {option.value}'.rstrip())}", escaped(words)]


def end(page: str, lines: list[str]) -> str:
    return "\n".join([*lines, ".SH SEE ALSO", escaped(SEE[page]), ""])


def pages() -> dict[str, str]:
    """Return all pages by the names of their files."""
    with patch.dict(os.environ, {"COLUMNS": "78", "NO_COLOR": "1"}):
        parser, commands = client.make_parser()
        found = {"groupchat.1": of_commands("groupchat.1", "take part in a group chat", parser, commands)}
        found["groupchat-admin.1"] = of_commands("groupchat-admin.1", "look after a group chat", *admin.make_parser())
    return {**found, "groupchat.8": of_daemon()}


if __name__ == "__main__":
    WHERE.mkdir(exist_ok=True)
    for name, text in pages().items():
        (WHERE / name).write_text(text)
