"""The space that files on the shelf may take: in all, of each owner, and of each host. Pure.

The files of a member count for the member; those of guests, and of former members, count for their host, so that
joining again under another name frees no space. Each file counts MIN_FILE_SPACE at least. One host with all its members
has at most half of the files, so that no host can fill the list.

An upload counts with its announced size while it keeps a minimum rate, so that several at once are not promised the
same space. One that is slower counts with what came of it: nobody holds room by announcing files and not sending them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from groupchat.core.errors import IllegalMessage, NotNow
from groupchat.core.limits import MAX_FILES, MAX_FILES_EACH, MAX_PARTS, MAX_PARTS_EACH, MIN_FILE_SPACE, FileLimits
from groupchat.core.networks import network_of
from groupchat.core.notices import size_in_words
from groupchat.files import FileOwner

Account = int | str
"""A member's id, or a host."""


@dataclass(frozen=True, slots=True)
class Usage:
    """The space of one unfinished upload, in bytes: `size` now, and at most `promised` later."""

    size: int
    promised: int
    account: Account
    host: str


@dataclass(slots=True)
class Tally:
    """A number of files, and the space that they take, in bytes."""

    files: int = 0
    space: int = 0

    def add(self, files: int, space: int) -> None:
        self.files += files
        self.space += space


class Ledger:
    """The number of files on the shelf, and the space that they take: in all, of each member, and of each host.

    The owner of a file is None if it was put into the directory by hand.
    """

    def __init__(self, is_member: Callable[[int], bool]) -> None:
        self.total = Tally()
        self._is_member = is_member
        self._members: dict[int, Tally] = {}
        self._hosts: dict[str, dict[int, Tally]] = {}  # by host, then by member; 0 stands for guests

    def add(self, owner: FileOwner | None, size: int) -> None:
        self._change(owner, 1, max(size, MIN_FILE_SPACE))

    def remove(self, owner: FileOwner | None, size: int) -> None:
        self._change(owner, -1, -max(size, MIN_FILE_SPACE))

    def _change(self, owner: FileOwner | None, files: int, space: int) -> None:
        self.total.add(files, space)
        if owner is not None:
            members = self._hosts.setdefault(network_of(owner.host), {})
            for tallies in (members, self._members):
                tally = tallies.setdefault(owner.member, Tally())
                tally.add(files, space)
                if not tally.files:
                    del tallies[owner.member]
            if not members:
                del self._hosts[network_of(owner.host)]

    def of(self, account: Account) -> Tally:
        """Return what the files of an account take."""
        if isinstance(account, int):
            return self._members.get(account, Tally())
        members = self._hosts.get(account, {})
        return _sum([tally for member, tally in members.items() if not (member and self._is_member(member))])

    def of_host(self, host: str) -> Tally:
        """Return what the files of all owners of a host take."""
        return _sum(list(self._hosts.get(host, {}).values()))


def _sum(tallies: list[Tally]) -> Tally:
    return Tally(sum(tally.files for tally in tallies), sum(tally.space for tally in tallies))


@dataclass(slots=True)
class Quota:
    """The limits of the shelf. `is_member` returns True for the id of a member."""

    limits: FileLimits
    is_member: Callable[[int], bool]

    def account(self, owner: FileOwner) -> Account:
        return owner.member if owner.member and self.is_member(owner.member) else network_of(owner.host)

    def usage(self, size: int, promised: int, owner: FileOwner) -> Usage:
        return Usage(size, max(promised, MIN_FILE_SPACE), self.account(owner), network_of(owner.host))

    def check_size(self, size: int) -> None:
        """Raise IllegalMessage if a file of this size can never be accepted."""
        most = min(self.limits.max_file, self.limits.max_member, self.limits.max_total)
        if size > most:
            raise IllegalMessage(f"A file has at most {size_in_words(most)}; that one has {size_in_words(size)}.")

    def check(self, more: Usage, files: Ledger, parts: Sequence[Usage], free: int) -> None:
        """Raise IllegalMessage if there is no space for `more`. `free` is the free space of the disk."""
        own = [part for part in parts if part.account == more.account]
        if len(own) >= MAX_PARTS_EACH:
            raise NotNow("Too many of your files are incomplete: send the rest of those first.")
        if files.total.files + len(parts) >= MAX_FILES or len(parts) >= MAX_PARTS:
            raise NotNow("There are too many files on the shelf.")
        if files.of(more.account).files + len(own) >= MAX_FILES_EACH:
            raise IllegalMessage(f"There are {MAX_FILES_EACH} files of yours on the shelf: nobody may have more.")
        if files.of_host(more.host).files + sum(part.host == more.host for part in parts) >= MAX_FILES // 2:
            raise IllegalMessage("Half of all files on the shelf are from your address: it may have no more.")
        if files.of(more.account).space + sum(part.promised for part in [*own, more]) > self.limits.max_member:
            raise IllegalMessage(f"Your files may take at most {size_in_words(self.limits.max_member)} on the shelf.")
        uploads = [*parts, more]
        if files.total.space + sum(part.promised for part in uploads) > self.limits.max_total:
            raise NotNow("The shelf is full.")
        if sum(part.promised - part.size for part in uploads) > free - self.limits.keep_free:
            raise NotNow("The disk of the server is almost full.")
