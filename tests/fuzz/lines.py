"""Connections for lines: people, programs, telnet, and others that are none of them."""

from __future__ import annotations

from tests.fuzz.grammar import POOL, Dice, Grammar

GRAMMAR = Grammar(
    {
        "connection": (b"<person>", b"<person>", b"<program>", b"<program>", b"<stranger>"),
        "person": (b"<name><end><more>",),
        "more": (b"", b"<line><end><more>", b"<line><end><more>", b"<line><end><more>", b"<line><end><line>"),
        "line": (b"<text>", b"<text>", b"//<text>", b"<command>", b"<command>", b"<telnet><text>", b""),
        "command": (
            *(b"/msg <name>: <text>", b"/msg Witness: <text>", b"/msg <name> <text>", b"/name <name>", b"/users"),
            *(
                b"/history <number>",
                b"/operator <text>",
                b"/ban <name> <number>d <text>",
                b"/erase <number>-<number>",
                b"/remove <name>: <text>",
                b"/topic",
                b"/files",
                b"/help",
                b"/quit",
                b"/<word>",
                b"/HISTORY <number>",
                b"/msg",
                b"/msg :",
            ),
        ),
        "program": (b"<opening><end><numbered>",),
        "opening": (b"/numbered <key> <name>", b"/numbered <key> <name>", b"/resume <key> <number>", b"/resume <word>"),
        "numbered": (
            b"",
            b"<number> <line><end><numbered>",
            b"<id> <line><end><numbered>",
            b"<id> <line><end><numbered>",
        ),
        "id": lambda dice: b"%d" % dice.choice((dice.randrange(1, 200), dice.randrange(1 << 63))),
        "telnet": (
            b"\xff\xf4",
            b"\xff\xfd\x06",
            b"\xff\xec",
            b"\xff\xfb\x01",
            b"\xff\xfa\x18",
            b"\xff\xf0",
            b"\xff\xff",
        ),
        "stranger": (
            *(b"<bytes>", b"GET /<text> HTTP/1.1\r\nHost: x\r\n\r\n<person>", b"\x16\x03\x01<bytes>", b"<long>"),
            *(b"SSH-2.0-x\r\n<person>", b"EHLO x\r\n<person>", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n<bytes>", b"<text>"),
        ),
        "long": lambda dice: dice.choice((b"a", b"\xff", b"\r")) * dice.choice((4352, 4353, 65_535, 65_537, 200_000)),
        "end": (b"\n", b"\n", b"\n", b"\n", b"\r\n", b"\r\n", b"\r", b"\n\n", b"\0\n", b"\x04"),
    }
)


def connection(dice: Dice) -> bytes:
    """Return what one client sends."""
    data = GRAMMAR.make(dice, "connection")
    return dice.mutate(data, POOL) if dice.one_in(4) else data
