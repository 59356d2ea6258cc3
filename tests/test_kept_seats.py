"""The files in which the client keeps its seats between runs."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from groupchat.client.kept_seats import MAX_RUN, KeptSeat, KeptSeats, default_directory
from groupchat.core.ids import MAX_ID

URL = "tcp://chat.example:12345"


class SeatsCase(SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.seats = KeptSeats(self.folder / "state" / "seats", URL)

    def take(self, name: str = "Alice", told: str = "") -> KeptSeat:
        """Take a seat, and check that the user is told this."""
        seat, message = self.seats.take(name)
        self.addCleanup(seat.close)
        self.assertRegex(message, told or r"\A\Z")
        self.assertNotIn("\n", message)
        return seat

    def keep(self, seen: int = 7, name: str = "Alice") -> KeptSeat:
        """Take a seat, join with it, and end the run."""
        seat = self.take(name)
        seat.seen = seen
        seat.save()
        seat.close()
        return seat

    def refuse(self, told: str, name: str = "Alice") -> None:
        """Check that a seat cannot be kept."""
        seat = self.take(name, told)
        seat.seen = 9
        seat.save()
        self.assertFalse(seat.is_kept)

    def files(self) -> list[Path]:
        return list(self.seats.directory.iterdir())

    @property
    def file(self) -> Path:
        [file] = self.files()
        return file


class RunsTests(SeatsCase):
    def test_the_next_run_has_the_key_and_the_last_line(self) -> None:
        first = self.keep(7)
        for run in (1, 2):
            again = self.take()
            self.assertEqual((again.key, again.seen, again.run, again.is_kept), (first.key, 7, run, True))
            again.close()

    def test_files_are_private(self) -> None:
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        self.keep()
        self.assertEqual(stat.S_IMODE(self.seats.directory.stat().st_mode), 0o700)
        self.assertEqual(stat.S_IMODE(self.file.stat().st_mode), 0o600)
        self.file.chmod(0o644)
        self.seats.directory.chmod(0o755)
        self.take()
        self.assertEqual(stat.S_IMODE(self.seats.directory.stat().st_mode), 0o700)
        self.assertEqual(stat.S_IMODE(self.file.stat().st_mode), 0o600)

    def test_a_seat_that_never_joined_leaves_no_file(self) -> None:
        seat = self.take()
        self.assertFalse(seat.is_kept)
        seat.close()
        self.assertEqual(self.files(), [])

    def test_a_forgotten_seat_leaves_no_file(self) -> None:
        old = self.keep()
        again = self.take()
        again.close(forget=True)
        self.assertEqual(self.files(), [])
        self.assertNotEqual(self.take().key, old.key)

    def test_a_killed_run_that_never_joined_keeps_its_key(self) -> None:
        seat = self.take()
        os.close(seat.file)
        seat.file = -1
        again = self.take()
        self.assertEqual((again.key, again.seen), (seat.key, 0))

    def test_each_server_and_name_has_its_own(self) -> None:
        other = KeptSeats(self.seats.directory, "tls://chat.example:12345")
        keys = {self.keep(7, name).key for name in ("Alice", "Bob")} | {other.take("Alice")[0].key}
        self.assertEqual(len(keys), 3)

    def test_case_and_spaces_make_no_other_name(self) -> None:
        key = self.keep(7, "Alice Ä").key
        for name in ("alice ä", " ALICE  A\u0308 ", "\uff21lice ä"):
            again = self.take(name)
            self.assertEqual(again.key, key, name)
            again.close()

    def test_a_seat_in_use_is_taken_by_nobody_else(self) -> None:
        seat = self.take()
        other = self.take(told="another groupchat here has the seat of Alice: this one takes a new seat")
        self.assertNotEqual(other.key, seat.key)
        self.assertFalse(other.is_kept)
        other.close(forget=True)
        self.assertTrue(self.file.exists())
        seat.seen = 7
        seat.close()
        self.assertEqual(self.take().key, seat.key)

    def test_a_file_removed_before_it_is_locked_is_made_anew(self) -> None:
        lock = fcntl.flock
        removed: list[Path] = []

        def late(file: int, operation: int) -> None:
            if not removed:
                removed.append(self.file)
                self.file.unlink()
            lock(file, operation)

        with patch("fcntl.flock", late):
            seat = self.take()
        seat.seen = 7
        seat.save()
        seat.close()
        self.assertEqual(self.take().key, seat.key)

    def test_a_renamed_seat_is_found_under_both_names(self) -> None:
        self.keep(3, "Ally")  # of an earlier run, whose name became free
        seat = self.take()
        seat.seen = 7
        for name in ("Ally", "alice", "ally"):
            self.seats.link(seat, name)
        seat.save()
        seat.close()
        for name in ("Alice", "Ally"):
            again = self.take(name)
            self.assertEqual((again.key, again.seen), (seat.key, 7))
            again.close()
        self.take("Ally").close(forget=True)
        self.assertEqual(self.files(), [])

    def test_the_directory_is_that_of_the_xdg_rules(self) -> None:
        self.patch(os, "environ", {"HOME": "/home/me"})
        self.assertEqual(default_directory(), Path("/home/me/.local/state/groupchat/seats"))
        self.patch(os, "environ", {"HOME": "/home/me", "XDG_STATE_HOME": "relative"})
        self.assertEqual(default_directory(), Path("/home/me/.local/state/groupchat/seats"))
        self.patch(os, "environ", {"HOME": "/home/me", "XDG_STATE_HOME": "/state"})
        self.assertEqual(default_directory(), Path("/state/groupchat/seats"))


class TroubleTests(SeatsCase):
    """Whatever happens to the file, there is a seat."""

    def test_a_damaged_file_is_told_of_and_replaced(self) -> None:
        key = self.keep().key
        sound = self.file.read_bytes()
        for damaged in (
            sound[:-1],
            sound + b"\n",
            sound.upper(),
            b"\xff" * 64,
            b"x" * 100_000,
            sound.replace(b" 0000000000 ", f" {MAX_RUN:010} ".encode()),
            sound[:-20] + f"{MAX_ID + 1}\n".encode(),
        ):
            self.file.write_bytes(damaged)
            seat = self.take(told=r"\A/.* was damaged: this is a new seat\Z")
            self.assertNotEqual(seat.key, key)
            seat.seen = 7
            seat.save()
            seat.close()
            again = self.take()
            self.assertEqual(again.key, seat.key)
            again.close()

    def test_a_power_cut_may_leave_an_empty_new_file(self) -> None:
        for left in (b"", bytes(64)):
            self.keep()
            self.file.write_bytes(left)
            self.take().close()
            self.assertEqual(self.files(), [])

    def test_a_run_ended_in_any_write_leaves_the_old_or_new_state(self) -> None:
        self.keep(7)
        old = self.file.read_bytes()
        self.keep(1_000_008)
        new = self.file.read_bytes()
        self.assertEqual((len(old), len(new)), (64, 64))
        for cut in range(65):
            self.file.write_bytes(new[:cut] + old[cut:])
            seat = self.take()
            self.assertEqual(seat.key.encode(), old[:32])
            seat.close()

    def test_links_are_not_followed(self) -> None:
        self.keep()
        target = self.folder / "target"
        target.write_text("precious")
        file = self.file
        file.unlink()
        file.symlink_to(target)
        self.refuse("your seat cannot be kept in /.*: Too many levels of symbolic links")
        self.assertEqual(target.read_text(), "precious")
        self.assertTrue(file.is_symlink())

    def test_other_things_than_files_are_left_alone(self) -> None:
        self.keep()
        file = self.file
        makers: list[Callable[[Path], object]] = [os.mkdir, os.mkfifo]
        for make in makers:
            file.unlink()
            make(file)
            self.refuse("your seat cannot be kept in")
            self.assertFalse(file.is_file())
            if file.is_dir():
                file.rmdir()
                file.touch()

    def test_a_home_without_room_for_a_directory(self) -> None:
        (self.folder / "state").write_text("a file")
        self.refuse("your seat cannot be kept in /.*: Not a directory")

    def test_a_read_only_home(self) -> None:
        for call in ("os.open", "pathlib.Path.mkdir"):
            with patch(call, side_effect=OSError(errno.EROFS, os.strerror(errno.EROFS))):
                self.refuse("your seat cannot be kept in /.*: Read-only file system")

    def test_a_full_disk(self) -> None:
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with patch("os.pwrite", side_effect=full):
            self.refuse("your seat cannot be kept in /.*: No space left on device")
        with patch("os.pwrite", return_value=5):
            self.refuse("your seat cannot be kept in /.*: it was not written")
        key = self.keep().key
        for call in ("os.pwrite", "os.fsync"):
            with patch(call, side_effect=full):
                self.refuse("your seat cannot be kept in /.*: No space left on device")
            seat = self.take()
            self.assertEqual((seat.key, seat.seen), (key, 7))
            seat.close()
