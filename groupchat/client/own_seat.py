"""The seat of a numbered session: its key, the file that keeps it for the next run, and how to come back to it."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from groupchat.client.kept_seats import IDS_BITS, KeptSeat, KeptSeats
from groupchat.client.session import Seat


class OwnSeat:
    """A seat, and whether the server holds it.

    `seats` are those that are kept between runs, if any are. With `new_seat`, the one that was kept is to be given up:
    `gives_up` is true until then. `tell` is called with words for the user, if the seat cannot be kept.
    """

    def __init__(
        self, seats: KeptSeats | None = None, tell: Callable[[str], object] = str, *, new_seat: bool = False
    ) -> None:
        self.state = Seat.NONE
        self.gives_up = False
        self._new_seat = new_seat
        self._seats = seats
        self._tell = tell
        self._kept = KeptSeat()
        self._last_id = 0
        self._name = ""  # under which it was taken

    @property
    def key(self) -> str:
        return self._kept.key

    @property
    def seen(self) -> int:
        """The number of the last line."""
        return self._kept.seen

    @property
    def is_kept(self) -> bool:
        """True if the next run can have it."""
        return self._kept.is_kept

    @property
    def first_id(self) -> int:
        """The lowest id of this run. `new_id` returns higher ones."""
        return self._kept.run << IDS_BITS

    def new_id(self) -> int:
        """Return an id for a command, which was used by no command with this key."""
        self._last_id += 1
        return self._last_id

    def take(self, name: str) -> None:
        """Take the seat that is kept under a name, or a new one, unless it is this one."""
        if self._seats is None or name == self._name:
            return
        self._kept.close()
        self._kept, message = self._seats.take(name)
        self._name = name
        self.state = Seat.HELD if self._kept.seen else Seat.NONE
        self.gives_up = self._new_seat and self.state is Seat.HELD
        self._last_id = self.first_id
        if message:
            self._tell(message)

    def introduction(self, name: str) -> str:
        """Return the first line of a session under this name: it resumes the seat if the server may still hold it."""
        if self.state in (Seat.HELD, Seat.REGAINED):
            return f"/resume {self.key} {self.seen}"
        return f"/numbered {self.key} {name}"

    def note(self, number: int, clock: IReactorTime) -> None:
        """Note the number of the last line. It is stored in the next turn, when the line is on the screen."""
        self._kept.seen = number
        if self._kept.file >= 0:
            clock.callLater(0, self._save)

    def _save(self) -> None:
        try:
            self._kept.save()
        except OSError as error:
            self.give_up()
            self._tell(f"your seat cannot be kept any more: {error.strerror or error}")

    def renamed(self, name: str) -> None:
        """Keep the seat under its member's new name, too."""
        if self._seats is not None:
            self._seats.link(self._kept, name)

    def give_up(self) -> None:
        """Remove what is kept: the member has left for good, or its file cannot be written."""
        self._kept.close(forget=True)

    def renew(self) -> None:
        """Take a new seat in place of the one that was to be given up."""
        self.give_up()
        self._new_seat = False
        name, self._name = self._name, ""
        self.take(name)

    def close(self) -> None:
        """Let the next run have it. Nothing is stored from now on."""
        self._save()
        self._kept.close()
