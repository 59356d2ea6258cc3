"""Proofs that take long: run them with `make test-all`, or with GROUPCHAT_SLOW=1 in the environment."""

from __future__ import annotations

import os
from typing import Any, TypeVar

Marked = TypeVar("Marked", bound=Any)


def slow(test: Marked) -> Marked:
    """Skip a test, or a TestCase with all its tests, unless slow proofs are asked for."""
    if os.environ.get("GROUPCHAT_SLOW") != "1":
        test.skip = "a slow proof: make test-all runs it"
    return test
