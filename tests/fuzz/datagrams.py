"""The five messages over UDP, well-formed and not: inputs, and what may answer them."""

from __future__ import annotations

from collections.abc import Iterator

from tests.fuzz.grammar import POOL, Dice, Grammar

GRAMMAR = Grammar(
    {
        "datagram": (b"<request><end>",) * 9 + (b"<bytes>", b"<digit><text>", b"<request>\n<request>", b""),
        "request": (
            b"1 <name>",
            b"1 <name>",
            b"2 <text>",
            b"2 <text>",
            b"2 <text>",
            b"3 <name>",
            b"4",
            b"5",
            b"5",
            b"5",
        ),
        "digit": (
            b"1",
            b"2",
            b"3",
            b"4",
            b"5",
            b"6",
            b"1  ",
            b"2\t",
            b"3\xc2\xa0",
            b"\xef\xbb\xbf5",
            b"Illegal message",
        ),
        "end": (b"", b"", b"", b"\n", b"\r\n", b"\n\n", b"\r", b"\0"),
    }
)

MOST = 6
"""The most datagrams of one input."""


def datagrams(dice: Dice) -> Iterator[bytes]:
    """Yield what one client sends, one datagram after another."""
    for _ in range(dice.randint(1, MOST)):
        datagram = GRAMMAR.make(dice, "datagram")
        yield (dice.mutate(datagram, POOL) if dice.one_in(4) else datagram)[:65_507]
