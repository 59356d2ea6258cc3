"""Make the completions for bash, zsh and fish in contrib/completions from the parsers of the commands.

    python -m tools.completions

writes them anew. A test sees that they are what this makes. There is none of twistd for zsh, which has its own: it asks
the options of each plugin.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from groupchat.admin import cli as admin
from groupchat.client import cli as client
from groupchat.daemon.options import GROUPS

WHERE = Path(__file__).resolve().parent.parent / "contrib" / "completions"

MADE = "# Made by tools/completions.py: do not edit."
PATHS = ("FILE", "PATH", "DIR", "DIRECTORY", "BACKUP", "TO")
"""What stands for a value that is the path of a file or a directory."""


@dataclass(frozen=True, slots=True)
class Flag:
    """An option: its names, what stands for its value ("" if it has none), and its help."""

    names: tuple[str, ...]
    value: str
    help: str

    @property
    def choices(self) -> list[str]:
        """The values that there are, if they are named."""
        return self.value.split("|") if self.value.islower() else []


@dataclass(frozen=True, slots=True)
class Command:
    """What may follow a word on the command line: options, and files if it `takes_files`."""

    help: str
    flags: tuple[Flag, ...]
    takes_files: bool = False

    def names(self, *, with_value: bool | None = None) -> list[str]:
        """Return the names of its options: of all, or of those with a value, or of those without."""
        return [name for flag in self.flags if with_value in (None, bool(flag.value)) for name in flag.names]


@dataclass(frozen=True, slots=True)
class Program:
    """A program. `root` is what may stand before a command, or without one."""

    name: str
    root: Command
    commands: Mapping[str, Command]

    @property
    def function(self) -> str:
        return "_" + self.name.replace("-", "_")


def short(text: str) -> str:
    """Return the first sentence of a help text, or what stands before its semicolon."""
    return re.split(r"[.;] ", text)[0].rstrip(".")


def command(help: str, *parsers: argparse.ArgumentParser) -> Command:
    """Return what parsers take, all in one."""
    # argparse has no public way to list the arguments of a parser.
    actions = {action.dest: action for parser in parsers for action in parser._actions}.values()
    flags = [
        Flag(tuple(action.option_strings), "" if action.nargs == 0 else str(action.metavar), short(action.help or ""))
        for action in actions
        if action.option_strings
    ]
    return Command(help, tuple(flags), any(a.metavar in PATHS for a in actions if not a.option_strings))


def programs() -> list[Program]:
    """Return the programs that argparse parses."""
    chat, chat_commands = client.make_parser()
    operator, operator_commands = admin.make_parser()
    return [
        # Without a command, groupchat takes what `groupchat chat` does.
        _program("groupchat", chat, chat_commands, chat_commands["chat"]),
        _program("groupchat-admin", operator, operator_commands),
    ]


def _program(
    name: str,
    parser: argparse.ArgumentParser,
    parsers: Mapping[str, argparse.ArgumentParser],
    *without_a_command: argparse.ArgumentParser,
) -> Program:
    listed = {choice.dest: choice.help or "" for action in parser._actions for choice in _choices(action)}
    commands = {word: command(listed[word], found) for word, found in parsers.items()}
    return Program(name, command("", parser, *without_a_command), commands)


def _choices(action: argparse.Action) -> Iterable[argparse.Action]:
    return action._get_subactions() if isinstance(action, argparse._SubParsersAction) else ()


def daemon() -> Program:
    """Return `twistd`, with the options of `twistd groupchat`."""
    options = [option for options in GROUPS.values() for option in options]
    flags = [Flag((*([f"-{o.short}"] if o.short else []), f"--{o.name}"), o.value, short(o.help)) for o in options]
    also = [Flag(("--version",), "", "Show the version"), Flag(("--help",), "", "Show the options")]
    return Program("twistd", Command("", ()), {"groupchat": Command("a group chat", (*flags, *also))})


# bash

BASH = """\
{made}

{function}() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} command="" words="" files="" i
    # bash makes three words of --option=value.
    if [[ $word == "=" ]]; then
        word=""
    elif [[ $before == "=" ]]; then
        before=${{COMP_WORDS[COMP_CWORD-2]}}
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${{COMP_WORDS[i]}} in
{skipped}            -*) ;;
            *)
                command=${{COMP_WORDS[i]}}
                break
                ;;
        esac
    done
    case $command in
{cases}    esac
    case $command\\ $before in
{values}    esac
    if [[ $files && $word != -* ]]; then
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
    else
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
    fi
}}

complete -F {function}{otherwise} {name}
"""


def bash(program: Program) -> str:
    """Return the completion for bash."""
    skipped = "|".join(program.root.names(with_value=True))
    cases = [_bash_case(name, found) for name, found in program.commands.items()]
    words = [*program.commands, *program.root.names()]
    if program.root.flags:
        cases.append(_bash_case('""', program.root, words) + _bash_case("*", program.root))
    values = [_bash_values(name, found) for name, found in program.commands.items()]
    values.append(_bash_values("*", program.root))
    return BASH.format(
        made=MADE,
        name=program.name,
        function=program.function,
        skipped=f"            {skipped}) ((i++)) ;;\n" if skipped else "",
        cases="".join(cases),
        values="".join(values),
        otherwise="" if program.root.flags else " -o default",
    )


def _bash_case(pattern: str, found: Command, words: Iterable[str] = ()) -> str:
    named = " ".join(words or found.names())
    return f'        {pattern}) words="{named}"{" files=yes" if found.takes_files else ""} ;;\n'


def _bash_values(command: str, found: Command) -> str:
    """Return what completes the values of the options of a command."""
    lines = ""
    for flag in found.flags:
        if flag.value:
            what = "files=yes" if flag.value in PATHS else f'words="{" ".join(flag.choices)}" files=""'
            patterns = "|".join(f"{command}\\ {name}" for name in flag.names)
            lines += f"        {patterns}) {what} ;;\n"
    return lines


# zsh

ZSH = """\
#compdef {name}
{made}

{function}() {{
    local context state state_descr line
    local -A opt_args
    local -a commands
    commands=(
{commands}    )
    _arguments -C \\
{root}        '1: :->first' \\
        '(-)*:: :->rest' && return
    case $state in
        first) _describe command commands ;;
        rest)
            case $words[1] in
{cases}            esac
            ;;
    esac
}}

{function} "$@"
"""


def zsh(program: Program) -> str:
    """Return the completion for zsh."""
    cases = ""
    for name, found in [*program.commands.items(), ("*", program.root)]:
        rest = "'*:file:_files'" if found.takes_files else "'*:word:_guard \"^-*\" word'"
        lines = "".join(f"                    {spec} \\\n" for spec in map(_zsh_flag, found.flags))
        cases += f"                {name})\n                    _arguments \\\n{lines}                    {rest}\n"
        cases += "                    ;;\n"
    return ZSH.format(
        made=MADE,
        name=program.name,
        function=program.function,
        commands="".join(f"        {_quoted(f'{name}:{found.help}')}\n" for name, found in program.commands.items()),
        root="".join(f"        {_zsh_flag(flag)} \\\n" for flag in program.root.flags),
        cases=cases,
    )


def _zsh_flag(flag: Flag) -> str:
    help = re.sub(r"([\[\]:\\])", r"\\\1", flag.help)
    action = "_files" if flag.value in PATHS else f"({' '.join(flag.choices)})" if flag.choices else " "
    value = f":{flag.value}:{action}" if flag.value else ""
    specs = [f"{name}{'=' if value and name.startswith('--') else ''}[{help}]{value}" for name in flag.names]
    others = f"({' '.join(flag.names)})"
    return " ".join(_quoted(others + spec) for spec in specs)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


# fish


def fish(program: Program) -> str:
    """Return the completion for fish."""
    lines = [MADE, ""]
    if program.root.flags:
        lines += [f"complete -c {program.name} -f", ""]
        before = f"-n 'not __fish_seen_subcommand_from {' '.join(program.commands)}'"
        for name, found in program.commands.items():
            lines.append(f"complete -c {program.name} {before} -a {name} -d {_quoted_for_fish(found.help)}")
        lines += _fish_flags(program.name, before, program.root)
    for name, found in program.commands.items():
        after = f"-n '__fish_seen_subcommand_from {name}'"
        lines += ["", *_fish_flags(program.name, after, found)]
        if not program.root.flags:
            lines.append(f"complete -c {program.name} {after} -f")
        if found.takes_files:
            lines.append(f"complete -c {program.name} {after} -F")
    return "\n".join([*lines, ""])


def _fish_flags(name: str, when: str, found: Command) -> Iterable[str]:
    for flag in found.flags:
        names = [f"-l {each[2:]}" if each.startswith("--") else f"-s {each[1:]}" for each in flag.names]
        value = ["-r -F"] if flag.value in PATHS else [f"-xa '{' '.join(flag.choices)}'"] if flag.choices else ["-x"]
        words = [*names, *(value if flag.value else []), *(["-d " + _quoted_for_fish(flag.help)] if flag.help else [])]
        yield f"complete -c {name} {when} {' '.join(words)}"


def _quoted_for_fish(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def completions() -> dict[str, str]:
    """Return all completions by their paths in contrib/completions."""
    found = {}
    for program in programs():
        found[f"bash/{program.name}"] = bash(program)
        found[f"zsh/_{program.name}"] = zsh(program)
        found[f"fish/{program.name}.fish"] = fish(program)
    return {**found, "bash/twistd": bash(daemon()), "fish/twistd.fish": fish(daemon())}


if __name__ == "__main__":
    for path, text in completions().items():
        (WHERE / path).parent.mkdir(parents=True, exist_ok=True)
        (WHERE / path).write_text(text)
