"""The commands of `groupchat-admin` that ask the running daemon or, without one, use the file: see daemon.py."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from groupchat.admin import arguments
from groupchat.admin.daemon import NotDone, asked
from groupchat.admin.output import as_json, complain, local, print_table, safe

Given = argparse.Namespace
Item = Mapping[str, Any]

WATCH_SECONDS = 2.0
"""How often `who --watch` asks again."""

CLEAR = "\x1b[H\x1b[2J"
"""What clears a terminal."""


def status(given: Given) -> int:
    """Print how the daemon is: its version, members, lines, disk, and the last problem that it logged.

    "refused" counts the commands that were refused since the start, by reason, "datagrams refused" the datagrams that
    got "Illegal message", for whatever reason, and "dropped" the commands that got no answer. With --json it is one
    object.
    """
    for item in _ask(given, "status"):
        if given.json:
            print(as_json(item))
        else:
            for label, fact in item.items():
                print(f"{safe(label.replace('_', ' ')):<20}{safe(_shown(label, fact))}")
    return 0


def _shown(label: str, fact: object) -> str:
    if isinstance(fact, bool):
        return "yes" if fact else "no"
    if isinstance(fact, dict):  # counts by what is counted
        fact = ", ".join(f"{count} {what}" for what, count in fact.items())
    if isinstance(fact, float) and label.endswith("_at"):
        return local(fact)
    if isinstance(fact, int | float) and label == "up":
        return f"{fact // 86_400:.0f}d {fact % 86_400 // 3_600:.0f}h {fact % 3_600 // 60:.0f}m {fact % 60:.0f}s"
    if label.startswith("disk_"):
        return f"{fact} bytes"
    return "-" if fact in (None, "") else str(fact)


def who(given: Given) -> int:
    """Print the members, in the order in which they joined.

    For each: the way in (udp, tcp, tls, quic, web, or away while a session is held), the address, since when, the lines
    that wait for it, its lines in the last hour, and its name, with "operator" or "muted". With --watch the list is
    renewed until Ctrl-C. With --json each member is one object.
    """
    while True:
        members = list(_ask(given, "who"))
        if given.watch and not given.json and sys.stdout.isatty():
            print(CLEAR, end="")
        if given.json:
            for member in members:
                print(as_json(member))
        else:
            rows = [("WAY", "ADDRESS", "SINCE", "BEHIND", "LINES/H", "NAME"), *map(_row, members)]
            print_table(rows)
        if not given.watch:
            return 0
        sys.stdout.flush()
        time.sleep(WATCH_SECONDS)


def _row(member: Item) -> tuple[str, ...]:
    host = f"[{member['host']}]" if ":" in member["host"] else member["host"]
    address = host if member["port"] is None else f"{host}:{member['port']}"
    since = local(member["since"]) if member["since"] else "unknown"
    marks = "".join(f" ({mark})" for mark in ("operator", "muted") if member[mark])
    name = f"{member['name']}{marks}"
    return safe(member["way"]), safe(address), since, str(member["behind"]), str(member["lines"]), safe(name)


def log(given: Given) -> int:
    """Print the last lines with their numbers; with --follow also those that come, until Ctrl-C. No private lines."""
    for item in _ask(given, "log", lines=given.lines, follow=given.follow):
        if "lost" in item:
            complain(f"{item['lost']} lines were too many to follow")
        else:
            print(f"{item['number']}  {local(item['at'])}  {safe(item['text'])}", flush=given.follow)
    return 0


def say(given: Given) -> int:
    """Tell everybody TEXT, in the name of the server: "* TEXT"."""
    return _do(given, "say", text=" ".join(given.text))


def topic(given: Given) -> int:
    """Set the topic, which whoever joins is told. Without TEXT there is none any more."""
    return _do(given, "topic", text=" ".join(given.text))


def remove(given: Given) -> int:
    """Remove a member, who is told, and whose key or UDP address is refused for 10 minutes."""
    return _do(given, "remove", name=given.name)


def mute(given: Given) -> int:
    """Let a member only read. It holds when the member leaves and joins again, until "unmute"."""
    return _do(given, "mute", name=given.name)


def unmute(given: Given) -> int:
    """Let a member who was muted write again."""
    return _do(given, "unmute", name=given.name)


def ban(given: Given) -> int:
    """Ban a name (with all that look like it, and the key of the member who has it), an address, or a network.

    Members that it concerns are removed. It is for good, or --for a time. A ban of everybody needs --yes.
    """
    try:
        return _do(given, "ban", whom=given.whom, seconds=given.seconds, sure=given.yes)
    except NotDone as why:
        raise NotDone(f"{why} With --yes it is done.") if "ban everybody" in str(why) else why from None


def unban(given: Given) -> int:
    """End the bans of a name, an address or a network."""
    return _do(given, "unban", whom=given.whom)


def bans(given: Given) -> int:
    """Print the bans and mutes that are in force: until when, of which kind, by whom, whom, and why.

    The kinds are net (an address or a network), name, key (of a session), udp (an address of datagrams) and mute. With
    --json each is one object.
    """
    found = list(_ask(given, "bans"))
    if given.json:
        for item in found:
            print(as_json(item))
    elif found:
        rows = [
            (
                "for good" if item["until"] is None else local(item["until"]),
                safe(item["kind"]),
                safe(item["by"]),
                safe(item["whom"] + (f": {item['why']}" if item["why"] else "")),
            )
            for item in found
        ]
        print_table([("UNTIL", "KIND", "BY", "WHOM"), *rows])
    return 0


def release(given: Given) -> int:
    """Free a name that is reserved for somebody who left, and who may have lost the key or the cookie."""
    return _do(given, "release", name=given.name)


def erase(given: Given) -> int:
    """Erase a line, a range of lines, or all lines of a member that are kept. "log" shows their numbers.

    Others read "* a line was removed" instead. When the command is done, the daemon and its files do not have the texts
    any more. Backups that groupchat-admin made, and what a restore kept, may still have them: they are named.
    """
    if (given.lines is None) == (given.member is None):
        raise NotDone("Name the lines, such as 17 or 17-25, or --member NAME.")
    first, last = given.lines or (None, None)
    fields = {"member": given.member} if given.member is not None else {"first": first, "last": last}
    item: Item = {"erased": 0}
    for item in _ask(given, "erase", why=given.why, **fields):
        if sys.stderr.isatty() and "done" not in item:
            print(f"\r{item['erased']} erased, up to {item['upto']}\r", end="", file=sys.stderr, flush=True)
    count = item["erased"]
    print(f"{count} line{'s' * (count != 1)} erased.")
    for path in filter(_may_exist, item.get("copies", ())):
        print(f"A copy that may still have the text: {safe(path)}")
    return 0


def _may_exist(path: str) -> bool:
    """Return False for a backup that is surely gone."""
    try:
        os.lstat(path)
    except (FileNotFoundError, ValueError):
        return False
    except OSError:
        pass
    return True


def set_(given: Given) -> int:
    """Change a setting of the group or of the daemon. Without a value (NAME=), that is taken back.

    Facts of the group hold after a restart, and win over the options: post=operators (only they may write to all) or
    post=everybody, keep-lines, keep-days, max-members, reserve. Every other option that can change live, such as
    rate=10, has its new value until the daemon restarts. "config" lists all.
    """
    name, value = given.setting
    for item in _ask(given, "set", name=name, value=value):
        print(safe(item["text"]))
    return 0


def reload(given: Given) -> int:
    """Have the daemon read its configuration file, passwords and certificates anew, as SIGHUP does.

    Prints what changed, and what needs a restart. If anything is wrong, nothing changes.
    """
    items = list(_ask(given, "reload"))
    for item in items:
        print(safe(item["text"]))
    if not items:
        print("Nothing is new.")
    return 0


def config(given: Given) -> int:
    """Print the settings in force, and where each comes from.

    That is: default, command line, the file and line of --config, set (with "groupchat-admin set", until the daemon
    restarts), or fact (of the group). With --json each is one object.
    """
    items = list(_ask(given, "config"))
    if given.json:
        for item in items:
            print(as_json(item))
    else:
        rows = [(safe(item["name"]), safe(item["value"] or "-"), safe(item["source"])) for item in items]
        print_table([("NAME", "VALUE", "FROM"), *rows])
    return 0


def stop(given: Given) -> int:
    """Stop the daemon, as SIGTERM does."""
    return _do(given, "stop")


def audit(given: Given) -> int:
    """Print what operators did: when, who, what, and the rest as JSON. With --json each record is one object."""
    for record in _ask(given, "audit", lines=given.lines):
        if given.json:
            print(as_json(record))
        else:
            at, by, did = (safe(str(record.get(key, ""))) for key in ("at", "by", "did"))
            print(f"{at}  {by}  {did}  {as_json({k: v for k, v in record.items() if k not in ('at', 'by', 'did')})}")
    return 0


def _do(given: Given, do: str, **fields: object) -> int:
    for _ in _ask(given, do, why=getattr(given, "why", ""), **fields):
        pass
    return 0


def _ask(given: Given, do: str, **fields: object) -> Iterator[Item]:
    return asked(given.control, given.file, {"do": do, **fields}, lambda which: _say(given, which))


def _say(given: Given, which: str) -> None:
    """Say once whether the daemon or the file is used."""
    if getattr(given, "said", None) != which:
        given.said = which
        complain(which)


def add_commands(add: Callable[[Callable[[Given], int], str], argparse.ArgumentParser]) -> None:
    """Add the commands with their arguments to a parser."""
    listings = [
        add(status, "print how the daemon is"),
        add(who, "print the members, and how they are connected"),
    ]
    listings[1].add_argument("--watch", action="store_true", help="renew it until Ctrl-C")
    lines = add(log, "print the last lines with their numbers")
    lines.add_argument("--follow", action="store_true", help="and those that come")
    lines.add_argument("--lines", metavar="N", type=arguments.number, default=20, help="so many (20)")
    add(say, "tell everybody something").add_argument("text", metavar="TEXT", nargs="+")
    add(topic, "set the topic").add_argument("text", metavar="TEXT", nargs="*")
    acting = [add(remove, "remove a member"), add(mute, "let a member only read")]
    for command in (*acting, add(unmute, "end a mute")):
        command.add_argument("name", metavar="NAME")
    banning = add(ban, "ban a name, an address or a network")
    banning.add_argument("--for", metavar="TIME", dest="seconds", type=arguments.duration, help="90m, 12h, 7d")
    banning.add_argument("--yes", action="store_true", help="even if it concerns everybody")
    for command in (banning, add(unban, "end a ban")):
        command.add_argument("whom", metavar="NAME|ADDRESS|NETWORK")
    listings.append(add(bans, "print the bans and mutes"))
    add(release, "free a name that is reserved for somebody who left").add_argument("name", metavar="NAME")
    erasing = add(erase, "erase lines for good")
    erasing.add_argument("lines", metavar="NUMBER|FIRST-LAST", type=arguments.lines, nargs="?")
    erasing.add_argument("--member", metavar="NAME", help="all lines of this member, who may have left")
    for command in (*acting, banning, erasing):
        command.add_argument("--why", metavar="TEXT", default="", help="the reason, which the member is told")
    add(set_, "change a setting").add_argument("setting", metavar="NAME=VALUE", type=arguments.setting)
    add(reload, "read the configuration, passwords and certificates anew")
    listings.append(add(config, "print the settings, and where they come from"))
    add(stop, "stop the daemon")
    listings.append(add(audit, "print what operators did"))
    listings[-1].add_argument("--lines", metavar="N", type=arguments.number, default=100, help="the last N (100)")
    for command in listings:
        command.add_argument("--json", action="store_true", help="one JSON object a line")
