"""Make groupchat/core/confusables.py from confusables.txt, the table of UTS #39.

    python -m tools.confusables confusables.txt > groupchat/core/confusables.py

Unicode publishes the file at https://www.unicode.org/Public/security/. The repository of ICU holds it, too, in
icu4c/source/data/unidata/.
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path
from textwrap import fill

MODULE = '''\
"""The characters that can be taken for others: the table of UTS #39.

Made by tools/confusables.py from confusables.txt of the Unicode Character Database: do not edit. The data is under the
licence of Unicode, which LICENSE.unicode contains.
"""

from __future__ import annotations

from collections.abc import Iterator

VERSION = "{version}"
"""The version of Unicode."""

SHA256 = "{sha256}"
"""The SHA-256 of confusables.txt."""

_GROUPS = """
{groups}
"""
"""Prototypes, whose characters are joined with `+`, each with what looks like it."""


def _read() -> Iterator[tuple[int, str]]:
    for group in _GROUPS.split(";"):
        codes, *sources = group.split()
        prototype = "".join([chr(int(code, 16)) for code in codes.split("+")])
        for source in sources:
            yield int(source, 16), prototype


TABLE = dict(_read())
"""The prototype of each character that has one, for `str.translate`."""
'''


def read(text: str) -> dict[int, str]:
    """Return the prototype of each character in a confusables.txt."""
    found = re.findall(r"^([0-9A-F]+) ;\t([0-9A-F ]+) ;\tMA\t", text, re.MULTILINE)
    total = re.search(r"^# total: (\d+)$", text, re.MULTILINE)
    if total is None or int(total[1]) != len(found):
        raise ValueError(f"Read {len(found)} lines. That is not what the end of the file says: {total and total[0]}")
    return {int(source, 16): "".join(chr(int(code, 16)) for code in prototype.split()) for source, prototype in found}


def module(table: dict[int, str], version: str, sha256: str) -> str:
    """Return the text of the module."""
    groups: dict[str, list[str]] = {}
    for source, prototype in sorted(table.items(), key=lambda entry: (entry[1], entry[0])):
        groups.setdefault("+".join(f"{ord(character):04X}" for character in prototype), []).append(f"{source:04X}")
    words = " ".join(" ".join((group, *sources)) + ";" for group, sources in groups.items()).removesuffix(";")
    return MODULE.format(version=version, sha256=sha256, groups=fill(words, 120, break_on_hyphens=False))


def main(source: Path) -> None:
    content = source.read_bytes()
    text = content.decode("utf-8-sig")
    version = re.search(r"^# Version: ([0-9.]+)$", text, re.MULTILINE)
    assert version is not None, "this is not confusables.txt"
    print(module(read(text), version[1], hashlib.sha256(content).hexdigest()), end="")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
