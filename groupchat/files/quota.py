"""The space that files on the shelf may take, in all and of each owner. Pure.

The files of a member count for the member; those of guests, and of former members, count for their host, so that
joining again under another name frees no space. An upload counts with its announced size from the beginning, so
that several at once cannot be promised the same space.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from groupchat.core.errors import IllegalMessage, NotNow
from groupchat.core.limits import MAX_FILES, MAX_PARTS, MAX_PARTS_EACH, FileLimits
from groupchat.core.notices import size_in_words
from groupchat.files import FileOwner

Account = int | str
"""A member's id, or a host."""


@dataclass(frozen=True, slots=True)
class Usage:
    """The space of one file or part, in bytes: `size` now, and at most `promised` later.

    `account` is None for a file that was put into the directory by hand.
    """

    size: int
    promised: int
    account: Account | None


@dataclass(frozen=True, slots=True)
class Quota:
    """The limits of the shelf. `is_member` returns True for the id of a member."""

    limits: FileLimits
    is_member: Callable[[int], bool]

    def account(self, owner: FileOwner) -> Account:
        return owner.member if owner.member and self.is_member(owner.member) else owner.host

    def usage(self, size: int, promised: int, owner: FileOwner | None) -> Usage:
        return Usage(size, promised, self.account(owner) if owner is not None else None)

    def check_size(self, size: int) -> None:
        """Raise IllegalMessage if a file of this size can never be accepted."""
        most = min(self.limits.max_file, self.limits.max_member, self.limits.max_total)
        if size > most:
            raise IllegalMessage(f"A file has at most {size_in_words(most)}; that one has {size_in_words(size)}.")

    def check(self, more: Usage, files: Sequence[Usage], parts: Sequence[Usage], free: int) -> None:
        """Raise IllegalMessage if there is no space for `more`. `free` is the free space of the disk."""
        if len(files) + len(parts) >= MAX_FILES or len(parts) >= MAX_PARTS:
            raise NotNow("There are too many files on the shelf.")
        if sum(part.account == more.account for part in parts) >= MAX_PARTS_EACH:
            raise NotNow("Too many of your files are incomplete: send the rest of those first.")
        used = [*files, *parts, more]
        own = sum(one.promised for one in used if one.account == more.account)
        if own > self.limits.max_member:
            raise IllegalMessage(f"Your files may take at most {size_in_words(self.limits.max_member)} on the shelf.")
        if sum(one.promised for one in used) > self.limits.max_total:
            raise NotNow("The shelf is full.")
        if sum(one.promised - one.size for one in used) > free - self.limits.keep_free:
            raise NotNow("The disk of the server is almost full.")
