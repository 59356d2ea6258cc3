"""The highest number that clients were given: recorded every second, and compared with the log at the start.

If the log ends below it, the log is a copy that was made earlier, or it lost its end. Then the next lines get numbers
above it, so that no client takes them for lines that it has.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.logger import Logger

from groupchat.core.errors import LogError, Misplaced
from groupchat.core.events import Raised
from groupchat.core.group import Group
from groupchat.core.numbering import STEP, above
from groupchat.log import ILog


class HighestNumber:
    """The highest number of one group."""

    _logger = Logger()

    def __init__(self, group: Group, log: ILog, seconds: Callable[[], float]) -> None:
        self._group = group
        self._log = log
        self._seconds = seconds
        self._saved = 0
        self._saving = False
        self._failing = False

    @inlineCallbacks
    def check(self) -> Generator[Deferred[Any], Any, None]:
        """Raise the numbers if higher ones were given. Fail with LogError if that cannot be stored."""
        number = self._number()
        try:
            self._saved = highest = yield self._log.load_highest()
        except LogError as error:
            highest, why = number + STEP, f"{error}, so higher ones may have been given"
        else:
            why = f"{highest} was given before: this is an older copy of the log"
        if highest > number:
            to = above(highest)
            yield self._log.append([Raised(self._seconds(), to)], f"raised-{secrets.token_hex(8)}")
            self._logger.warn(
                "The log ends with the number {number}, but {why}. The next line has the number {next}",
                number=number,
                why=why,
                next=to + 1,
            )

    def save_if_changed(self) -> None:
        if not self._saving and self._number() != self._saved:
            self.save()

    @inlineCallbacks
    def save(self) -> Generator[Deferred[Any], Any, None]:
        """Record the highest number. If that fails, say so once; the next second brings the next attempt."""
        number, self._saving = self._number(), True
        try:
            yield self._log.save_highest(number)
            self._saved = number
            if self._failing:
                self._logger.info("The highest number is recorded again")
            self._failing = False
        except Misplaced:
            pass  # that is said
        except LogError as error:
            if not self._failing:
                self._logger.error(
                    "{error}. If the log is replaced by an older copy now, clients may miss lines", error=str(error)
                )
            self._failing = True
        finally:
            self._saving = False

    def _number(self) -> int:
        return self._group.numbering.after(self._group.history.head)
