"""Transfers with real files and without sockets: whatever breaks, files come whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from groupchat.client.files import parts
from groupchat.client.files.connection import FileConnection
from groupchat.client.files.names import part_name
from groupchat.client.files.transfers import AT_ONCE, PATIENCE, Transfers
from groupchat.client.trust import UntrustedError
from tests.filing import NOTHING_LISTENS, FakeDisk, FakeServer, FakeWatcher, digest, run

DATA = bytes(range(256)) * 40
KEY = "KEY 00112233445566778899aabbccddeeff"


def failing(number: int) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def lying(size: int) -> Callable[[int], os.stat_result]:
    """Return a function like fstat, which says another size."""
    fstat = os.fstat

    def say(handle: int) -> os.stat_result:
        state = fstat(handle)
        return os.stat_result([*state[:6], size, *state[7:]])

    return say


class TransfersCase(TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.server = FakeServer()
        self.server.shelf["photo.jpg"] = DATA
        self.clock = Clock()
        self.disk = FakeDisk()
        self.watcher = FakeWatcher()
        self.password = ""
        self.connection = FileConnection(self.server, lambda: self.password)
        self.transfers = Transfers(self.clock, self.connection, self.disk, self.watcher)
        self.target = self.folder / "photo.jpg"
        self.part = self.folder / part_name("photo.jpg", digest(DATA))

    def run_all(self, seconds: float = 60.0) -> None:
        run(self.server, self.clock, seconds)

    def get(self, name: str = "photo.jpg") -> list[tuple[str, ...]]:
        """Fetch a file. Return what was reported, but that it began."""
        self.transfers.get(name, self.folder / name)
        self.run_all()
        return self.watcher.news()[1:]

    def files(self) -> list[str]:
        return sorted(os.listdir(self.folder))


class GetTest(TransfersCase):
    def test_a_file_comes(self) -> None:
        self.assertEqual(self.get(), [("done", "photo.jpg", "photo.jpg")])
        self.assertEqual(self.target.read_bytes(), DATA)
        self.assertEqual(self.files(), ["photo.jpg"])
        self.assertEqual(self.server.asked, ["GET 0 - photo.jpg"])
        self.assertTrue(all(stream.over for stream in self.server.streams))

    def test_byte_by_byte(self) -> None:
        self.server.step = 1
        self.get()
        self.assertEqual(self.target.read_bytes(), DATA)

    def test_an_empty_file(self) -> None:
        self.server.shelf["empty"] = b""
        self.assertEqual(self.get("empty"), [("done", "empty", "empty")])
        self.assertEqual((self.folder / "empty").read_bytes(), b"")
        self.assertEqual(self.files(), ["empty"])

    def test_a_cut_download_resumes(self) -> None:
        answer = len(f"ok {len(DATA)} {digest(DATA)} 0\n")
        for cut in [0, 1, 5, answer - 1, answer, answer + 1, answer + 5000, answer + len(DATA) - 1]:
            self.target.unlink(missing_ok=True)
            self.server.asked.clear()
            self.server.cut = [cut]
            told = self.get()
            self.assertEqual([each[0] for each in told], ["waits", "done"], cut)
            self.assertEqual(self.target.read_bytes(), DATA)
            there = max(0, cut - answer)
            beginning = digest(DATA) if cut >= answer else "-"
            self.assertEqual(self.server.asked[1], f"GET {there} {beginning} photo.jpg")

    def test_a_download_survives_many_broken_connections(self) -> None:
        self.server.cut = [300 * (number % 3) for number in range(20)]
        told = self.get()
        self.assertEqual(told[-1], ("done", "photo.jpg", "photo.jpg"))
        self.assertEqual(self.target.read_bytes(), DATA)

    def test_the_part_of_an_earlier_run_is_checked_and_used(self) -> None:
        self.part.write_bytes(DATA[:7000])
        self.get()
        self.assertEqual(self.server.asked, [f"GET 7000 {digest(DATA)[:16]} photo.jpg"])
        self.assertEqual(self.target.read_bytes(), DATA)
        self.assertEqual(self.files(), ["photo.jpg"])

    def test_a_part_that_is_whole_only_gets_its_name(self) -> None:
        self.part.write_bytes(DATA)
        self.assertEqual(self.get()[-1][0], "done")
        self.assertEqual(self.target.read_bytes(), DATA)

    def test_a_part_of_a_replaced_file_is_left_alone(self) -> None:
        self.part.write_bytes(DATA[:7000])
        self.server.shelf["photo.jpg"] = b"new"
        self.get()
        self.assertEqual(self.target.read_bytes(), b"new")
        self.assertEqual(self.part.read_bytes(), DATA[:7000])

    def test_a_part_with_wrong_bytes_is_deleted(self) -> None:
        self.part.write_bytes(b"x" * 7000)
        told = self.get()
        self.assertEqual(told[-1][0], "failed")
        self.assertIn("thrown away", told[-1][2])
        self.assertEqual(self.files(), [])
        self.assertEqual(self.get()[-1][0], "done")

    def test_a_part_that_is_too_long_is_started_again(self) -> None:
        self.part.write_bytes(DATA + b"more")
        self.assertEqual(self.get()[-1][0], "done")
        self.assertEqual(self.target.read_bytes(), DATA)

    def test_a_file_with_a_wrong_hash_gets_no_name(self) -> None:
        self.server.spoils = True
        told = self.get()
        self.assertEqual(told[-1][0], "failed")
        self.assertEqual(self.files(), [])

    def test_a_target_created_meanwhile_is_not_overwritten(self) -> None:
        self.server.cut = [3000]
        self.transfers.get("photo.jpg", self.target)
        while self.server.turn():
            pass
        self.target.write_bytes(b"mine")
        self.run_all()
        self.assertEqual(self.target.read_bytes(), b"mine")
        self.assertEqual(self.part.read_bytes(), DATA)
        self.assertIn("exists by now", self.watcher.news()[-1][2])

    def test_a_file_system_without_links_will_do(self) -> None:
        for number in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            self.patch(os, "link", failing(number))
            self.get()
            self.assertEqual(self.target.read_bytes(), DATA)
            self.assertEqual(self.files(), ["photo.jpg"])
            self.assertIn("exists", self.get()[-1][2])
            for part in self.folder.iterdir():
                part.unlink()

    def test_a_file_system_without_locks_will_do(self) -> None:
        self.patch(fcntl, "flock", failing(errno.ENOLCK))
        self.assertEqual(self.get()[-1][0], "done")

    def test_two_downloads_of_a_file_do_not_share_a_part(self) -> None:
        self.part.write_bytes(DATA[:10])
        self.transfers.get("photo.jpg", self.target)
        self.transfers.get("photo.jpg", self.target)
        self.run_all()
        told = self.watcher.news()
        self.assertEqual(sorted(each[0] for each in told), ["began", "began", "done", "failed"])
        [why] = [each[2] for each in told if each[0] == "failed"]
        self.assertEqual(why, f"{self.part} is being fetched already")
        self.assertEqual(self.target.read_bytes(), DATA)

    def test_cancelled_its_part_is_kept(self) -> None:
        self.server.step = 1000
        transfer = self.transfers.get("photo.jpg", self.target)
        for _ in range(8):
            self.server.turn()
        self.transfers.cancel(transfer)
        self.assertEqual([each[0] for each in self.watcher.news()], ["began", "stopped"])
        assert transfer.kept is not None
        size, path = transfer.kept
        self.assertEqual((path, path.stat().st_size), (self.part, size))
        self.assertEqual(path.read_bytes(), DATA[:size])
        self.assertEqual(self.transfers.all, [])
        self.assertTrue(all(stream.over for stream in self.server.streams))
        self.assertEqual(self.get()[-1][0], "done")
        self.assertEqual(self.server.asked[-1], f"GET {size} {digest(DATA)[:16]} photo.jpg")

    def test_it_can_be_cancelled_at_any_time(self) -> None:
        for turns in range(14):
            self.server.step = 4000
            self.server.cut = [5000]
            transfer = self.transfers.get("photo.jpg", self.target)
            for _ in range(turns):
                self.server.turn()
                self.clock.advance(0.1)
            self.transfers.cancel(transfer)
            self.assertIn(self.watcher.news()[-1][0], ("stopped", "done"), turns)
            self.assertEqual(self.transfers.all, [])
            self.target.unlink(missing_ok=True)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_slow_disk_slows_the_server(self) -> None:
        self.server.shelf["photo.jpg"] = DATA * 500
        self.server.step = 10_000
        self.transfers.get("photo.jpg", self.target)
        self.server.turn()
        self.disk.held = True
        for _ in range(500):
            self.server.turn()
        [stream] = self.server.streams
        self.assertTrue(stream.paused)
        self.disk.let_go()
        self.run_all()
        self.assertEqual(self.target.read_bytes(), DATA * 500)

    def test_only_some_transfers_run_at_once(self) -> None:
        self.server.step = 1000
        for number in range(7):
            self.server.shelf[f"file {number}"] = DATA
            self.transfers.get(f"file {number}", self.folder / f"file {number}")
        self.server.turn()
        self.assertEqual(len(self.server.asked), AT_ONCE)
        self.run_all()
        self.assertEqual(len(self.files()), 7)

    def test_a_waiting_transfer_can_be_cancelled(self) -> None:
        all_of_them = [self.transfers.get("photo.jpg", self.folder / str(number)) for number in range(5)]
        self.transfers.cancel(all_of_them[4])
        self.assertEqual(self.watcher.news()[-1][0], "stopped")
        self.transfers.stop()
        self.assertEqual(self.files(), [])

    def test_no_ends_a_transfer_and_busy_is_retried(self) -> None:
        self.assertEqual(self.get("nothing"), [("failed", "nothing", "There is no such file.")])
        self.server.answers = ["busy Too many.", "busy Too many.", "no Nor you."]
        told = self.get()
        self.assertEqual([each[0] for each in told], ["waits", "waits", "failed"])
        self.assertEqual(told[-1][2], "Nor you.")

    def test_nothing_listening_fails_at_once(self) -> None:
        self.server.refusals = [NOTHING_LISTENS]
        self.assertEqual(self.get(), [("failed", "photo.jpg", "nothing is listening there")])

    def test_a_server_that_was_reached_is_retried_for_a_while(self) -> None:
        self.get()
        self.target.unlink()
        self.server.refusals = [NOTHING_LISTENS] * 3
        self.assertEqual(self.get()[-1][0], "done")
        self.target.unlink()
        self.server.refusals = [NOTHING_LISTENS] * 1000
        self.transfers.get("photo.jpg", self.target)
        self.run_all(PATIENCE + 60)
        self.assertEqual(self.watcher.news()[-1][0], "failed")

    def test_an_untrusted_server_is_sent_nothing(self) -> None:
        self.server.refusals = [UntrustedError("It has changed.")]
        self.assertEqual(self.get(), [("failed", "photo.jpg", "It has changed.")])
        self.assertEqual(self.server.asked, [])

    def test_the_password_comes_first(self) -> None:
        self.server.password = self.password = "open sesame"
        self.assertEqual(self.get()[-1][0], "done")
        self.assertEqual(self.server.asked, ["PASSWORD open sesame", "GET 0 - photo.jpg"])
        self.password = "wrong"
        self.assertEqual(self.get("photo.jpg")[-1][2], "That is not the password.")

    def test_answers_that_break_the_protocol_fail(self) -> None:
        whole = digest(DATA)
        for answer in (
            "",
            "ok",
            "what",
            f"ok -1 {whole} 0",
            f"ok 10 {whole} 11",
            f"ok 10 {whole} 5",
            f"ok {'9' * 30} {whole} 0",
            f"ok 10 {whole.upper()} 0",
            f"ok 10 {whole[:10]} 0",
            f"ok 2 {whole} 0\nmore than two bytes",
            "x" * 20_000,
        ):
            self.server.answers = [answer]
            told = self.get()
            self.assertEqual([each[0] for each in told], ["failed"], answer)
            self.assertEqual(self.files(), [], answer)

    def test_a_directory_that_is_gone_and_one_that_cannot_be_written(self) -> None:
        self.transfers.get("photo.jpg", self.folder / "nowhere" / "photo.jpg")
        self.run_all()
        self.assertIn("No such file or directory", self.watcher.news()[-1][2])

    def test_a_part_that_is_a_symbolic_link_is_not_followed(self) -> None:
        other = self.folder / "other"
        other.write_bytes(b"mine")
        self.part.symlink_to(other)
        self.assertEqual(self.get()[-1][0], "failed")
        self.assertEqual(other.read_bytes(), b"mine")

    def test_progress(self) -> None:
        self.server.step = 1000
        self.transfers.get("photo.jpg", self.target)
        for _ in range(6):
            self.server.turn()
            self.clock.advance(1)
        [bar] = self.transfers.bars()
        self.assertEqual((bar.name, bar.doing, bar.total), ("photo.jpg", "getting", len(DATA)))
        self.assertGreater(bar.done, 0)
        self.assertGreater(bar.rate, 0)
        self.run_all()
        self.assertEqual(self.transfers.bars(), [])


class SendTest(TransfersCase):
    def setUp(self) -> None:
        super().setUp()
        self.path = self.folder / "mine.bin"
        self.path.write_bytes(DATA * 100)
        self.by = KEY

    def send(self, path: Path | None = None) -> list[tuple[str, ...]]:
        path = path or self.path
        self.transfers.send(path, path.name, lambda: self.by)
        self.run_all()
        return self.watcher.news()[1:]

    def test_a_file_goes(self) -> None:
        self.assertEqual(self.send(), [("done", "mine.bin", "mine.bin")])
        self.assertEqual(self.server.shelf["mine.bin"], DATA * 100)
        self.assertEqual(self.server.shared, [("mine.bin", KEY)])
        self.assertEqual(self.server.asked, [f"PUT {len(DATA) * 100} {digest(DATA * 100)} mine.bin", f"BY {KEY}"])

    def test_an_empty_one(self) -> None:
        self.path.write_bytes(b"")
        self.assertEqual(self.send()[-1][0], "done")

    def test_it_gets_another_name(self) -> None:
        self.server.shelf["mine.bin"] = b"older"
        self.assertEqual(self.send()[-1], ("done", "mine.bin", "another mine.bin"))

    def test_a_cut_upload_resumes_at_the_offset_of_the_server(self) -> None:
        for cut in (0, 1, 70_000, len(DATA) * 100 - 1):
            self.server.cut = [-1, cut] if not self.connection.reached else [cut]
            self.server.shelf.clear()
            told = self.send()
            self.assertEqual(told[-1][0], "done", cut)
            self.assertEqual([each[0] for each in told[:-1]], ["waits"], cut)
            self.assertEqual(self.server.shelf["mine.bin"], DATA * 100)

    def test_an_upload_obeys_back_pressure(self) -> None:
        self.send()
        self.assertLess(max(stream.most_waiting for stream in self.server.streams), 64 * 1024 + 2 * parts.PIECE)

    def test_a_file_that_changes_during_the_upload_is_reported(self) -> None:
        self.transfers.send(self.path, "mine.bin", lambda: self.by)
        self.path.write_bytes(b"x" * len(DATA) * 100)
        self.run_all()
        told = self.watcher.news()[-1]
        self.assertEqual(told[0], "failed")
        self.assertIn("has changed while it was sent", told[2])

    def test_one_that_becomes_shorter(self) -> None:
        self.transfers.send(self.path, "mine.bin", lambda: self.by)
        self.path.write_bytes(b"x")
        self.run_all()
        self.assertIn("became shorter", self.watcher.news()[-1][2])

    def test_it_is_read_until_its_end_whatever_its_size_says(self) -> None:
        said = Path("/proc/version").read_bytes()
        self.assertEqual(self.send(Path("/proc/version")), [("done", "version", "version")])
        self.assertEqual(self.server.shelf["version"], said)
        for size in (1, 10 * len(DATA) * 100):
            self.patch(os, "fstat", lying(size))
            self.server.shelf.clear()
            self.assertEqual(self.send(), [("done", "mine.bin", "mine.bin")])
            self.assertEqual(self.server.shelf["mine.bin"], DATA * 100)

    def test_what_differs_when_it_is_read_again_is_sent_as_it_was(self) -> None:
        path = Path("/proc/self/stat")
        source = parts.Source(path)
        source.open()
        while source.hash_piece():
            path.read_bytes()
        self.assertEqual(digest(source.read(0)), source.sha256)
        self.assertFalse(source.has_changed)
        source.close()

    def each_time(self, change: Callable[[], object]) -> None:
        """Change something before each piece of work on the disk."""
        do = self.disk.do

        def change_first(work: Callable[..., Any], *arguments: object) -> Deferred[Any]:
            change()
            return do(work, *arguments)

        self.patch(self.disk, "do", change_first)

    def test_a_file_that_grows_while_it_is_sent_is_sent_as_it_was(self) -> None:
        with open(self.path, "ab", buffering=0) as file:
            self.each_time(lambda: file.write(b"more"))
            self.assertEqual(self.send()[-1][0], "done")
        whole, sent = self.path.read_bytes(), self.server.shelf["mine.bin"]
        self.assertEqual(sent, whole[: len(sent)])
        self.assertLess(len(DATA) * 100, len(sent))
        self.assertLess(len(sent), len(whole))

    def test_a_file_that_shrinks_while_it_is_read_is_sent_until_its_end(self) -> None:
        sizes = iter([len(DATA) * 100, parts.PIECE + 5])
        self.each_time(lambda: os.truncate(self.path, next(sizes, parts.PIECE + 5)))
        self.assertEqual(self.send()[-1][0], "done")
        self.assertEqual(self.server.shelf["mine.bin"], (DATA * 100)[: parts.PIECE + 5])

    def test_a_pipe_is_sent_once_its_writer_has_ended(self) -> None:
        pipe = self.folder / "pipe"
        os.mkfifo(pipe)
        source = parts.Source(pipe)
        self.assertEqual(source.open(), 0)
        self.assertIsNone(source.hash_piece())  # there is no writer yet
        with open(pipe, "wb", buffering=0) as writer:
            self.assertIsNone(source.hash_piece())  # and no data
            for data in (b"one ", b"two"):
                writer.write(data)
                self.assertEqual(source.hash_piece(), len(data))
            self.assertIsNone(source.hash_piece())
        self.assertEqual(source.hash_piece(), 0)
        self.assertEqual((source.size, source.read(0), source.read(4)), (7, b"one two", b"two"))
        self.assertEqual(source.sha256, digest(b"one two"))
        source.close()

    def test_a_pipe_without_data_is_an_empty_file(self) -> None:
        pipe = self.folder / "pipe"
        os.mkfifo(pipe)
        source = parts.Source(pipe)
        source.open()
        open(pipe, "wb").close()
        self.assertEqual((source.hash_piece(), source.size), (0, 0))
        source.close()
        output, end = os.pipe()  # as of <(true): what has no name cannot get another writer
        os.close(end)
        source = parts.Source(Path(f"/dev/fd/{output}"))
        source.open()
        self.assertEqual((source.hash_piece(), source.size), (0, 0))
        source.close()
        os.close(output)

    def test_no_room_for_the_copy_of_a_pipe_is_reported(self) -> None:
        self.patch(parts, "TemporaryFile", failing(errno.ENOSPC))
        told = self.send(Path("/proc/version"))
        self.assertEqual(told[-1], ("failed", "version", f"{tempfile.gettempdir()}: No space left on device"))

    def test_only_files_and_pipes_are_sent(self) -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.folder / "socket"))
        for path, why in (
            ("nothing", "No such file"),
            ("socket", "No such device"),
            ("/dev/null", "a device"),
            ("", "a directory"),
            ("a\0b/x", "null byte"),
        ):
            told = self.send(self.folder / path)
            self.assertEqual(told[0][0], "failed")
            self.assertIn(why, told[0][2])
        self.assertEqual(self.server.asked, [])

    def test_an_upload_waits_for_a_seat(self) -> None:
        self.by = ""
        self.transfers.send(self.path, "mine.bin", lambda: self.by)
        self.run_all(3)
        self.assertEqual(self.server.shared, [])
        self.by = KEY
        self.run_all()
        self.assertEqual(self.server.shared, [("mine.bin", KEY)])

    def test_an_answer_before_the_end_is_heard(self) -> None:
        self.server.answers = ["no There is no room for that."]
        self.assertEqual(self.send()[-1], ("failed", "mine.bin", "There is no room for that."))

    def test_cancelled_while_it_goes(self) -> None:
        transfer = self.transfers.send(self.path, "mine.bin", lambda: self.by)
        self.server.turn()
        self.transfers.cancel(transfer)
        self.assertEqual(self.watcher.news()[-1], ("stopped", "mine.bin"))
        self.assertEqual(self.send()[-1][0], "done")
        self.assertEqual(self.server.shelf["mine.bin"], DATA * 100)

    def test_uploads_use_their_own_connection_if_there_is_one(self) -> None:
        other = FakeServer()
        self.connection.for_uploads = FileConnection(other)
        self.transfers.send(self.path, "mine.bin", lambda: self.by)
        for _ in range(20):
            self.run_all(1)
            run(other, self.clock, 1)
        self.assertEqual(other.shared, [("mine.bin", KEY)])
        self.assertEqual(self.server.shared, [])
        self.assertEqual(len(self.server.streams), 1)
