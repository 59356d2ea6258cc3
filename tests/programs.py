"""Programs that tests need. Without one a test is skipped; in CI, which has them all, it fails."""

from __future__ import annotations

import os
import shutil
from unittest import SkipTest


def need(program: str, package: str) -> str:
    """Return the path of a program."""
    path = shutil.which(program)
    if path is None:
        unavailable(f"needs {program}: apt-get install {package}")
    assert path is not None
    return path


def unavailable(why: str) -> None:
    """Skip the test; in CI, fail it."""
    if os.environ.get("CI") == "true":
        raise AssertionError(why)
    raise SkipTest(why)
