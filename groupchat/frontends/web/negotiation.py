"""Content negotiation: which of several forms of an answer a client prefers. RFC 9110, section 12. Pure."""

from __future__ import annotations

import re
from functools import lru_cache

_WEIGHT = re.compile(r"q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")
_LEAST = 0.0001
"""Less than any weight that a client can give: what is acceptable, but not asked for."""


def weights(header: str) -> dict[str, float]:
    """Return the weight of each value in a header such as Accept. A value with a malformed weight is left out."""
    found = {}
    for member in header.lower().split(","):
        value, *parameters = [part.strip(" \t") for part in member.split(";")]
        given = [parameter for parameter in parameters if parameter.startswith("q=")]
        weight = _WEIGHT.fullmatch(given[0]) if given else None
        if value and (weight or not given):
            found[value] = float(weight[1]) if weight else 1.0
    return found


@lru_cache(64)
def encoding(header: str | None) -> str:
    """Return what an Accept-Encoding header prefers of `gzip` and `identity`; empty if it refuses both: 12.5.3."""
    if header is None:
        return "identity"
    given = weights(header)
    others = given.get("*")
    gzip = given.get("gzip", given.get("x-gzip", others or 0.0))
    identity = given.get("identity", _LEAST if others is None else others)
    if gzip and gzip >= identity:
        return "gzip"
    return "identity" if identity else ""


def is_html(header: str | None) -> bool:
    """Return True if an Accept header names HTML, as that of a browser does, and does not prefer JSON."""
    given = weights(header or "")
    html = given.get("text/html", 0.0)
    return html > 0 and html >= given.get("application/json", 0.0)
