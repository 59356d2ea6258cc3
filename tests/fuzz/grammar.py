"""Grammars, seeded dice, and what all doors have in common: hostile names, texts, numbers and keys."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence

Rule = Sequence[bytes] | Callable[["Dice"], bytes]

_HOLE = re.compile(rb"<([a-z_]+)>")


class Dice(random.Random):
    """Random choices, which only depend on the seed: a string."""

    def one_in(self, number: int) -> bool:
        return self.randrange(number) == 0

    def mutate(self, data: bytes, pool: Sequence[bytes] = ()) -> bytes:
        """Return the data with some damage: a bit, a piece that is missing, repeated, moved, foreign or cut off."""
        changed = bytearray(data)
        for _ in range(self.choice((1, 1, 1, 2, 5))):
            at, upto = sorted(self.randrange(len(changed) + 1) for _ in range(2))
            upto = min(upto, at + self.choice((1, 4, 64, 4096)))
            match self.randrange(6):
                case 0 if changed:
                    changed[at % len(changed)] ^= 1 << self.randrange(8)
                case 1:
                    del changed[at:upto]
                case 2:
                    changed[at:at] = changed[at:upto] * self.choice((1, 2, 20))
                case 3:
                    changed[at:upto] = self.choice(pool or (b"\0", b"\xff\xff", b"\n", b"\r\n"))
                case 4:
                    changed[at:upto] = self.randbytes(upto - at)
                case 5:
                    del changed[upto:]
        return bytes(changed)

    def cut(self, data: bytes) -> list[bytes]:
        """Return the data in the pieces in which it arrives: whole, byte by byte, or in a few."""
        if len(data) < 300 and self.one_in(8):
            return [bytes([byte]) for byte in data]
        places = sorted(self.randrange(len(data) + 1) for _ in range(self.choice((0, 0, 1, 3))))
        return [data[at:upto] for at, upto in zip([0, *places], [*places, len(data)], strict=True) if upto > at]


class Grammar:
    """Rules by name. In the alternatives of a rule, `<name>` stands for what the rule of that name makes."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self._rules = {**COMMON, **rules}

    def make(self, dice: Dice, name: str) -> bytes:
        rule = self._rules[name]
        if callable(rule):
            return rule(dice)
        return _HOLE.sub(lambda hole: self.make(dice, hole[1].decode()), dice.choice(rule))


NUMBERS = (
    *(
        b"0",
        b"1",
        b"2",
        b"7",
        b"20",
        b"200",
        b"-1",
        b"+1",
        b"00",
        b"007",
        b"1_0",
        b" 1",
        b"1 ",
        b"1e9",
        b"0x10",
        b"1.0",
    ),
    *(b"NaN", b"inf", "٣".encode(), "²".encode(), b"", b"65535", b"65536", b"4294967296"),
    *(b"9223372036854775807", b"9223372036854775808", b"18446744073709551616", b"9" * 19, b"9" * 20, b"9" * 4400),
)

WORDS = (
    *(b"hello", b"Alice", b"Bob", b"close", b"Illegal message", b"has joined", b"has left the group", b"shared"),
    *(b"changed his name to", b"shared x (1 B)", b"(private)", b"(120 more)", b"* ", b": ", b", ", b"/quit", b"//"),
    *("ノア".encode(), "रामः".encode(), "B\u043eb".encode(), "\uff21lice".encode(), "\ua789".encode()),
    *("\u200b".encode(), "\u202e".encode(), "\u2067".encode(), "\ufeff".encode(), "\u2800".encode(), "\u2028".encode()),
    *("👩‍👩‍👧".encode(), ("e" + "\u0301" * 300).encode(), "ﷺ".encode() * 20, "\U000e0041".encode(), "\ufdd0".encode()),
    *("ß".encode(), "İ".encode()),
    *(b"\x00", b"\x04", b"\x1b[2J", b"\r", b"\x7f", b"\x85", b"\xff\xf4\xff\xfd\x06", b"\xff\xfa", b"\xed\xa0\x80"),
    *(b"\xc3", b"\xf4\x90\x80\x80", b"\xc0\x80", b"a" * 33, b"a" * 1000, b"a" * 4090, b"a" * 4097, b" " * 300, b"\t"),
    *(b"<img src=x>", b"%00", b"%2e%2e%2f", b"../", b"..", b".groupchat", b"CON", b"{}", b"null", b'"', b"\\", b"0"),
)

KEYS = (
    *(b"00112233445566778899aabbccddeeff", b"0" * 32, b"f" * 32, b"F" * 32, b"0" * 31, b"0" * 33, b"g" * 32),
    *(b"", "٣".encode() * 32, b"\xff" * 32),
)

COMMON: Mapping[str, Rule] = {
    "number": NUMBERS,
    "word": WORDS,
    "letters": lambda dice: bytes(dice.choices(b"abcdefghijklmnop", k=dice.randint(1, 12))),
    "name": (
        b"<letters>",
        b"<letters>",
        b"<letters>",
        b"Alice",
        b"Bob",
        b"<word>",
        b"<letters> <word>",
        b"<word><word>",
    ),
    "text": (b"<letters>", b"<letters>", b"<letters>", b"<word>", b"<word> <text>", b"<text><word>", b"<name>: <text>"),
    "key": (b"<known_key>", b"<known_key>", b"<any_key>", *KEYS),
    "known_key": lambda dice: b"%032x" % dice.randrange(1, 4),
    "any_key": lambda dice: dice.randbytes(16).hex().encode(),
    "bytes": lambda dice: dice.randbytes(dice.choice((1, 2, 7, 40, 1200, 5000))),
}
"""Rules of every grammar. The known keys are few, so that clients meet on the same session."""

POOL = (*WORDS, *NUMBERS)
