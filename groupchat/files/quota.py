"""How much may be on the shelf, and of whom. Pure.

What a member uploaded counts for the member. What guests uploaded counts for their host, and so does what somebody did
who is a member no longer: to join again under another name makes no room. Of an upload that is under way, all that was
announced counts from its beginning, so that many at once cannot promise the same room twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from groupchat.core.errors import IllegalMessage, NotNow
from groupchat.core.limits import MAX_FILES, MAX_PARTS, MAX_PARTS_EACH, FileLimits
from groupchat.core.notices import size_in_words

Account = int | str
"""A member's id, or a host."""


@dataclass(frozen=True, slots=True)
class Held:
    """Something that takes room, in bytes: `size` of it is on the disk, `promised` at most will be.

    `account` is None for what somebody put into the directory by hand.
    """

    size: int
    promised: int
    account: Account | None = None


@dataclass(frozen=True, slots=True)
class Quota:
    """The limits, and who is a member."""

    limits: FileLimits
    is_member: Callable[[int], bool]

    def account(self, member: int, host: str) -> Account:
        return member if member and self.is_member(member) else host

    def check_size(self, size: int) -> None:
        """Raises IllegalMessage for what is too large, whatever there is."""
        most = min(self.limits.max_file, self.limits.max_member, self.limits.max_total)
        if size > most:
            raise IllegalMessage(f"A file has at most {size_in_words(most)}; that one has {size_in_words(size)}.")

    def check(self, more: Held, files: Sequence[Held], parts: Sequence[Held], free: int) -> None:
        """Raises IllegalMessage if there is no room for `more`, which is not in `parts`, with so much free."""
        if len(files) + len(parts) >= MAX_FILES or len(parts) >= MAX_PARTS:
            raise NotNow("There are too many files on the shelf.")
        if sum(part.account == more.account for part in parts) >= MAX_PARTS_EACH:
            raise NotNow("There are too many files of yours that are not complete: send the rest of those first.")
        held = [*files, *parts, more]
        own = sum(one.promised for one in held if one.account == more.account)
        if own > self.limits.max_member:
            raise IllegalMessage(
                f"You may have {size_in_words(self.limits.max_member)} of files on the shelf, and no more."
            )
        if sum(one.promised for one in held) > self.limits.max_total:
            raise NotNow("The shelf is full.")
        if sum(one.promised - one.size for one in held) > free - self.limits.keep_free:
            raise NotNow("The disk of the server is almost full.")
