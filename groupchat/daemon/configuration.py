"""What the daemon runs with: where each value comes from, and what can be changed while it runs.

A reload reads everything anew: the arguments of the start, the configuration file, and the files that these name. What
an operator has `set` stays. Everything is read and checked before anything changes, so an error changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from twisted.logger import Logger
from twisted.python.usage import UsageError

from groupchat.core.errors import GroupchatError, IllegalMessage
from groupchat.core.facts import POST
from groupchat.daemon.options import GROUPS, NEEDS_RESTART, Options

Item = Mapping[str, Any]

Prepare = Callable[[Options], tuple[Callable[[], None], Sequence[str]]]
"""Reads the certificates that options name. Returns what puts the options in force, and what is new in these files.

Raises GroupchatError.
"""

NAMES = [option.name for options in GROUPS.values() for option in options]


class Configuration:
    """The settings of a running daemon. `facts` are those of the group, which win over the options."""

    _logger = Logger()

    def __init__(self, options: Options, facts: Mapping[str, str], prepare: Prepare) -> None:
        self._options = options
        self._facts = facts
        self._prepare = prepare
        self._chosen: dict[str, str] = {}
        self._in_force = {name: (_shown(options, name), options.sources.get(name, "default")) for name in NAMES}

    def listing(self) -> Iterator[Item]:
        """Yield the values that are in force, and where each comes from."""
        for name, (value, source) in self._in_force.items():
            if name not in self._facts:
                yield {"name": name, "value": value, "source": source}
        for name, value in {"post": POST[0], **self._facts}.items():
            yield {"name": name, "value": value, "source": "fact" if name in self._facts else "default"}

    def reload(self) -> list[Item]:
        """Read everything anew. Return what changed, and what would need a restart. Raise IllegalMessage."""
        return self._use(self._chosen)

    def set(self, name: str, value: str) -> list[Item]:
        """Change an option until the daemon restarts; "" takes that back. Raise IllegalMessage."""
        if name not in NAMES:
            raise IllegalMessage(f"There is no setting {name[:64]}. groupchat-admin config lists them.")
        if name in NEEDS_RESTART:
            raise IllegalMessage(f"{name} cannot change while the daemon runs: change the option, and restart.")
        chosen = {other: text for other, text in self._chosen.items() if other != name}
        return self._use({**chosen, name: value} if value else chosen)

    def hang_up(self) -> None:
        """Reload, and log what came of it."""
        try:
            changes = self.reload()
        except IllegalMessage as why:
            self._logger.error("The settings stay as they are: {why}", why=str(why))
            return
        for change in changes:
            self._logger.info("Reloaded: {text}", text=change["text"])

    def _use(self, chosen: dict[str, str]) -> list[Item]:
        options = Options(self._options)
        try:
            options.parse(self._options.arguments, chosen)
            use, renewed = self._prepare(options)
        except (UsageError, GroupchatError) as why:
            raise IllegalMessage(f"Nothing is changed: {why}") from why
        changes = list(self._changes(options, renewed))
        use()
        self._options, self._chosen = options, chosen
        for name in NAMES:
            if name not in NEEDS_RESTART:
                self._in_force[name] = _shown(options, name), options.sources.get(name, "default")
        return changes

    def _changes(self, options: Options, renewed: Sequence[str]) -> Iterator[Item]:
        for name in NAMES:
            was, value = self._in_force[name][0], _shown(options, name)
            if was != value:
                yield _change(name, was, value, *self._outcome(name, was, value))
            elif name in renewed or any(
                options[what] != self._options[what] for of, what in _CONTENTS.items() if of == name
            ):
                yield _change(name, was, value, "renewed", f"{name}: what is in the file is new.")
            if name in options.unreadable:
                text = f"{name}: the daemon may not read the file any more, so it stays as it was."
                yield _change(name, was, value, "kept", text)

    def _outcome(self, name: str, was: str, value: str) -> tuple[str, str]:
        """Return what becomes of a changed value: in a word, and in a sentence."""
        if name in NEEDS_RESTART:
            return "restart", f"{name} needs a restart: it would be {_quoted(value)}, and is {_quoted(was)}."
        if name in self._facts:
            return "fact", f"{name} is {self._facts[name]} as a fact of the group, which wins over {_quoted(value)}."
        return "changed", f"{name} is {_quoted(value)} now; it was {_quoted(was)}."


_CONTENTS = {"password-file": "password", "operator-file": "operators"}


def _change(name: str, was: str, value: str, state: str, text: str) -> Item:
    return {"name": name, "was": was, "value": value, "state": state, "text": text}


def _quoted(value: str) -> str:
    return value or "not set"


def _shown(options: Options, name: str) -> str:
    """Return the value of an option in words, as it would be typed."""
    value = options[name]
    if isinstance(value, list):
        return ",".join(value)
    if name in ("quic", "log-json"):
        return "true" if value else "false"
    return "" if value is None else str(value)
