"""Uploads that are announced and sent in parts: in a real directory, over restarts, breaks and crashes."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Generator
from dataclasses import replace
from hashlib import sha1
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks

from groupchat.core.errors import IllegalMessage, NotNow
from groupchat.core.limits import MAX_PARTS_EACH, PART_SECONDS
from groupchat.files import Announced, FileOwner, IReceiving, NoSuchUpload, WrongChecksum, WrongOffset, parts, uploads
from tests.shelves import ALICE, BOB, GUEST, SMALL, ShelfTestCase

Steps = Generator[Deferred[Any], Any, None]
DATA = os.urandom(300_000)


class AnnouncedTestCase(ShelfTestCase):
    def announce(
        self, name: str = "a", size: int = len(DATA), owner: FileOwner = ALICE, metadata: str = "x"
    ) -> Deferred[str]:
        return self.shelf.announce(name, size, owner, metadata)

    @inlineCallbacks
    def send(
        self, key: str, begin: int, end: int, owner: FileOwner = ALICE, checksum: bytes | None = None
    ) -> Generator[Deferred[Any], Any, str]:
        """Send bytes in one request. Return the name that the file got, if they were the last ones."""
        receiving: IReceiving = yield self.shelf.resume(key, begin, checksum, owner)
        self.assertEqual(receiving.offset, begin)
        for at in range(begin, end, 100_000):
            yield receiving.write(DATA[at : min(end, at + 100_000)])
        name: str = yield receiving.finish()
        return name

    @inlineCallbacks
    def broken(
        self, key: str, begin: int, end: int, checksum: bytes | None = None
    ) -> Generator[Deferred[Any], Any, IReceiving]:
        """Begin to send bytes. Nobody says that they were all."""
        receiving: IReceiving = yield self.shelf.resume(key, begin, checksum, ALICE)
        yield receiving.write(DATA[begin:end])
        return receiving

    def found(self, key: str, owner: FileOwner = ALICE) -> Announced:
        return self.shelf.find(key, owner)

    def offset(self, key: str) -> int:
        return self.found(key).offset

    def crash(self) -> Deferred[Any]:
        """Open the shelf as after a kill: nothing was tidied up. The stopped one may no longer change the disk."""
        contents = self.shelf._contents()
        for receiving in contents.uploads._under_way.values():
            assert receiving is not None
            receiving._file = None
        return self.restart()

    def records(self) -> int:
        return len(list(self.folder.glob("*.upload")))


class AnnouncedTests(AnnouncedTestCase):
    @inlineCallbacks
    def test_a_file_comes_in_parts_over_restarts(self) -> Steps:
        key = yield self.announce()
        name = ""
        for begin in range(0, len(DATA), 60_000):
            self.assertEqual((name, self.found(key)), ("", replace(self.found(key), offset=begin, size=len(DATA))))
            name = yield self.send(key, begin, begin + 60_000)
            self.assertEqual((yield self.names()), [name] if name else [])
            yield self.restart()
        self.assertEqual((yield self.fetch("a")), DATA)
        self.assertEqual(self.found(key).shared, "a")
        self.assertEqual((self.offset(key), self.parts(), self.records()), (len(DATA), [], 1))
        self.assertEqual(self.owner_of("a"), replace(ALICE, name=""))

    @inlineCallbacks
    def test_what_was_announced_outlives_a_restart(self) -> Steps:
        key = yield self.announce("ü.txt", owner=GUEST, metadata="filename w7w=")
        yield self.restart()
        self.assertEqual(self.found(key, GUEST).metadata, "filename w7w=")
        self.assertEqual((yield self.send(key, 0, len(DATA), GUEST)), "ü.txt")

    @inlineCallbacks
    def test_breaks_and_stops_keep_all_that_came(self) -> Steps:
        key = yield self.announce()
        receiving = yield self.broken(key, 0, 1000)
        yield receiving.close()
        self.assertEqual(self.offset(key), 1000)
        yield self.broken(key, 1000, 5000)
        yield self.restart()
        self.assertEqual(self.offset(key), 5000)
        yield self.broken(key, 5000, 7000)
        yield self.crash()
        self.assertEqual(self.offset(key), 7000)
        self.assertEqual((yield self.send(key, 7000, len(DATA))), "a")
        self.assertEqual((yield self.fetch("a")), DATA)

    @inlineCallbacks
    def test_a_wrong_offset_is_refused(self) -> Steps:
        key = yield self.announce()
        yield self.send(key, 0, 1000)
        for offset in (0, 999, 1001, len(DATA)):
            yield self.assertFailure(self.shelf.resume(key, offset, None, ALICE), WrongOffset)
        self.assertEqual(self.offset(key), 1000)

    @inlineCallbacks
    def test_more_than_announced_is_refused_and_the_rest_kept(self) -> Steps:
        key = yield self.announce(size=1000)
        receiving = yield self.broken(key, 0, 999)
        yield self.refused(receiving.write(b"xx"), "more than")
        self.assertEqual(self.offset(key), 999)
        self.assertEqual((yield self.send(key, 999, 1000)), "a")
        self.assertEqual((yield self.fetch("a")), DATA[:1000])

    @inlineCallbacks
    def test_two_requests_at_once_are_refused(self) -> Steps:
        key = yield self.announce()
        yield self.broken(key, 0, 1000)
        why = yield self.refused(self.shelf.resume(key, 1000, None, ALICE), "already")
        self.assertIsInstance(why, NotNow)
        yield self.refused(self.shelf.give_up(key, ALICE), "already")

    @inlineCallbacks
    def test_only_the_owner_finds_an_upload(self) -> Steps:
        yield self.announce()
        mine = yield self.announce(owner=GUEST)
        key = yield self.announce()
        others = [BOB, GUEST, replace(GUEST, host=ALICE.host), FileOwner(0, ALICE.host, "Alice")]
        for where, owner in [(key, one) for one in others] + [(mine, ALICE), (mine, replace(GUEST, name="Al"))]:
            self.assertRaises(NoSuchUpload, self.found, where, owner)
            yield self.assertFailure(self.shelf.resume(where, 0, None, owner), NoSuchUpload)
            yield self.assertFailure(self.shelf.give_up(where, owner), NoSuchUpload)
        self.assertEqual(self.found(key, replace(ALICE, host="10.9.9.9")).offset, 0)
        self.assertRaises(NoSuchUpload, self.found, mine, replace(GUEST, host="10.9.9.9"))

    @inlineCallbacks
    def test_giving_up_leaves_nothing(self) -> Steps:
        key = yield self.announce()
        yield self.send(key, 0, 1000)
        yield self.shelf.give_up(key, ALICE)
        self.assertEqual((self.parts(), self.records()), ([], 0))
        self.assertRaises(NoSuchUpload, self.found, key)

    @inlineCallbacks
    def test_a_shared_file_is_not_given_up(self) -> Steps:
        key = yield self.announce()
        yield self.send(key, 0, len(DATA))
        yield self.refused(self.shelf.give_up(key, ALICE), "shared already")
        self.assertEqual((yield self.names()), ["a"])

    @inlineCallbacks
    def test_the_last_byte_counts_once_the_file_is_shared(self) -> Steps:
        key = yield self.announce()
        receiving = yield self.broken(key, 0, len(DATA))
        yield receiving.finish()
        yield receiving.withdraw()
        for _ in range(2):
            self.assertEqual((self.offset(key), self.found(key).shared), (len(DATA) - 1, ""))
            yield self.crash()
        self.assertEqual((yield self.send(key, len(DATA) - 1, len(DATA))), "a")
        self.assertEqual((yield self.fetch("a")), DATA)

    @inlineCallbacks
    def test_bad_names_are_refused(self) -> Steps:
        for name in ("", "a/b", "..", ".x", "a\n", "NUL", "x" * 256):
            yield self.assertFailure(self.announce(name), IllegalMessage)
        self.assertEqual((self.parts(), self.records()), ([], 0))


class FullDiskTests(AnnouncedTestCase):
    @inlineCallbacks
    def test_an_announcement_that_fails_leaves_nothing(self) -> Steps:
        before = sorted(os.listdir(self.folder))

        def fail(handle: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        patch = self.patch(os, "fsync", fail)
        why = yield self.assertFailure(self.announce(), NotNow)
        patch.restore()
        self.assertIn("full", str(why))
        self.assertEqual(sorted(os.listdir(self.folder)), before)
        yield self.announce()


class RecordTests(AnnouncedTestCase):
    @inlineCallbacks
    def test_a_record_is_on_the_disk_before_it_has_its_name(self) -> Steps:
        steps: list[str] = []
        fsync, rename = os.fsync, os.rename

        def note_sync(handle: int) -> None:
            steps.append(f"sync {Path(os.readlink(f'/proc/self/fd/{handle}')).suffix}")
            fsync(handle)

        def note_rename(before: str, after: str, **folders: int) -> None:
            steps.append(f"rename {Path(before).suffix}")
            rename(before, after, **folders)

        self.patch(os, "fsync", note_sync)
        self.patch(os, "rename", note_rename)
        yield self.announce()
        self.assertEqual(steps, ["sync .new", "rename .new", f"sync {self.folder.suffix}"])


class HashingTests(AnnouncedTestCase):
    """The bytes of earlier requests are hashed again only if they may have changed."""

    @inlineCallbacks
    def test_parts_are_not_hashed_again(self) -> Steps:
        key = yield self.announce()
        yield self.send(key, 0, 200_000)
        read: list[int] = []
        pread = os.pread

        def count(handle: int, size: int, offset: int) -> bytes:
            read.append(offset)
            return pread(handle, size, offset)

        patch = self.patch(os, "pread", count)
        for at in range(200_000, 200_020):
            yield self.send(key, at, at + 1)
        self.assertEqual(read, [])
        patch.restore()
        yield self.send(key, 200_020, len(DATA))
        self.assertEqual((yield self.fetch("a")), DATA)

    @inlineCallbacks
    def test_a_part_that_was_changed_is_hashed_again(self) -> Steps:
        key = yield self.announce()
        yield self.send(key, 0, 200_000)
        other = bytes(200_000)
        self.parts()[0].write_bytes(other)
        os.utime(self.parts()[0], (1, 1))
        yield self.send(key, 200_000, len(DATA))
        self.assertEqual((yield self.fetch("a")), other + DATA[200_000:])  # its hash is right, too

    @inlineCallbacks
    def test_a_part_that_was_cut_is_sent_again(self) -> Steps:
        key = yield self.announce()
        yield self.send(key, 0, 200_000)
        os.truncate(self.parts()[0], 1000)
        yield self.assertFailure(self.shelf.resume(key, 200_000, None, ALICE), WrongOffset)
        self.assertEqual(self.offset(key), 1000)
        self.assertEqual((yield self.send(key, 1000, len(DATA))), "a")
        self.assertEqual((yield self.fetch("a")), DATA)
        self.assertEqual(self.open_files(), 3)


class ChecksumTests(AnnouncedTestCase):
    @inlineCallbacks
    def test_right_checksums_count(self) -> Steps:
        key = yield self.announce()
        yield self.send(key, 0, 1000, checksum=sha1(DATA[:1000]).digest())
        yield self.crash()
        self.assertEqual(self.offset(key), 1000)
        self.assertEqual((yield self.send(key, 1000, len(DATA), checksum=sha1(DATA[1000:]).digest())), "a")
        self.assertEqual((yield self.fetch("a")), DATA)

    @inlineCallbacks
    def test_wrong_checksums_change_nothing(self) -> Steps:
        key = yield self.announce()
        yield self.send(key, 0, 1000)
        for end in (2000, len(DATA)):
            yield self.assertFailure(self.send(key, 1000, end, checksum=bytes(20)), WrongChecksum)
            self.assertEqual((self.offset(key), self.parts()[0].stat().st_size), (1000, 1000))
        self.assertEqual((yield self.send(key, 1000, len(DATA))), "a")
        self.assertEqual((yield self.fetch("a")), DATA)

    @inlineCallbacks
    def test_bytes_that_were_not_verified_do_not_count(self) -> Steps:
        key = yield self.announce()
        yield self.send(key, 0, 1000)
        receiving = yield self.broken(key, 1000, 5000, bytes(20))
        yield receiving.close()
        self.assertEqual((self.offset(key), self.parts()[0].stat().st_size), (1000, 1000))
        yield self.broken(key, 1000, 5000, bytes(20))
        yield self.crash()
        self.assertEqual((self.offset(key), self.parts()[0].stat().st_size), (1000, 5000))
        yield self.broken(key, 1000, 6000)
        yield self.crash()
        self.assertEqual(self.offset(key), 6000)
        self.assertEqual((yield self.send(key, 6000, len(DATA))), "a")
        self.assertEqual((yield self.fetch("a")), DATA)


class CrashTests(AnnouncedTestCase):
    @inlineCallbacks
    def test_a_crash_while_a_file_is_shared_shares_it_once(self) -> Steps:
        key = yield self.announce()
        receiving = yield self.broken(key, 0, len(DATA))
        patches = [self.patch(parts.PartFolder, "settle", lambda *_: None)]
        yield receiving.finish()
        self.assertEqual((len(self.parts()), self.records()), (1, 1))
        yield self.shelf.stop()
        for patch in patches:
            patch.restore()
        yield self.open(SMALL)
        self.assertEqual((self.found(key).shared, self.parts(), self.records()), ("a", [], 1))
        self.assertEqual((yield self.names()), ["a"])

    @inlineCallbacks
    def test_damaged_records_are_removed(self) -> Steps:
        key = yield self.announce()
        yield self.send(key, 0, 1000)
        (record,) = self.folder.glob("*.upload")
        good = record.read_text()
        bad = [b"", b"{", b"[]", b"null", b"\xff", b"[" * 9000, good.replace("300000", "-1").encode()]
        bad += [good.replace("300000", "1.5").encode(), good.replace("300000", "9" * 30).encode()]
        bad += [good.replace('"name"', '"nom"').encode(), good.replace('"a"', "7").encode()]
        for data in bad:
            record.write_bytes(data)
            yield self.restart()
            self.assertRaises(NoSuchUpload, self.found, key)
        self.assertEqual(len(self.parts()), 1)  # it expires like any other
        record.with_name(f"{'0' * 64}.upload").write_text(good)
        record.with_name(f"{'0' * 64}.upload.new").write_text(good)
        record.with_name(f"{'1' * 64}.upload").symlink_to(record)
        record.write_text(good.replace('"member": 1', '"member": 2'))
        yield self.restart()
        self.assertRaises(NoSuchUpload, self.found, key, BOB)
        self.assertEqual(self.records(), 1)


class ExpiryTests(AnnouncedTestCase):
    @inlineCallbacks
    def test_an_upload_expires_a_day_after_its_last_bytes(self) -> Steps:
        now = [1e9]
        self.shelf._time_of_day = self.shelf._contents().uploads._time_of_day = lambda: now[0]
        key = yield self.announce()
        self.assertEqual(self.found(key).expires, 1e9 + PART_SECONDS)
        now[0] += PART_SECONDS - 1
        yield self.send(key, 0, 1000)
        self.assertEqual(self.found(key).expires, now[0] + PART_SECONDS)
        done = yield self.announce("done", 1000)
        yield self.send(done, 0, 1000)
        now[0] += PART_SECONDS
        self.assertRaises(NoSuchUpload, self.found, key)
        yield self.assertFailure(self.shelf.resume(key, 1000, None, ALICE), NoSuchUpload)
        self.assertRaises(NoSuchUpload, self.found, done)
        now[0] += 1
        yield Deferred.fromCoroutine(self.shelf._contents().uploads.sweep())
        self.assertEqual((self.parts(), self.records()), ([], 0))

    @inlineCallbacks
    def test_abandoned_parts_expire_over_a_restart(self) -> Steps:
        key = yield self.announce()
        yield self.send(key, 0, 1000)
        yield self.shelf.stop()
        long_ago = time.time() - PART_SECONDS - 60
        os.utime(self.parts()[0], (long_ago, long_ago))
        yield self.open(SMALL)
        self.assertRaises(NoSuchUpload, self.found, key)
        self.assertEqual((self.parts(), self.records()), ([], 0))

    @inlineCallbacks
    def test_shared_files_are_remembered_in_bounds(self) -> Steps:
        keys = []
        for number in range(MAX_PARTS_EACH + 3):
            keys.append((yield self.announce(f"{number}", 1)))
            yield self.send(keys[-1], 0, 1)
        for _ in range(2):
            self.assertEqual(self.records(), MAX_PARTS_EACH)
            for key in keys[:3]:
                self.assertRaises(NoSuchUpload, self.found, key)
            for key in keys[3:]:
                self.assertEqual(self.offset(key), 1)
            yield self.restart()


class RoomTests(AnnouncedTestCase):
    @inlineCallbacks
    def test_announcing_holds_no_room(self) -> Steps:
        for number in range(5):
            yield self.announce(f"{number}", 4_000_000)
        yield self.upload("b", bytes(4_000_000))

    @inlineCallbacks
    def test_what_can_never_fit_is_refused_at_once(self) -> Steps:
        yield self.refused(self.announce(size=4_000_001), "at most 4.0 MB")
        yield self.upload("b", bytes(3_000_000))
        yield self.refused(self.announce(size=3_500_000), "at most 6.0 MB")
        self.assertEqual((self.parts(), self.records()), ([], 0))

    @inlineCallbacks
    def test_room_is_looked_for_again_with_each_request(self) -> Steps:
        key = yield self.announce()
        yield self.send(key, 0, 1000)
        self.put("other", bytes(200_000))
        self.shelf.configure(replace(SMALL, max_total=400_000))
        why = yield self.refused(self.shelf.resume(key, 1000, None, ALICE), "full")
        self.assertIsInstance(why, NotNow)
        self.shelf.configure(SMALL)
        self.assertEqual((yield self.send(key, 1000, len(DATA))), "a")

    @inlineCallbacks
    def test_one_owner_has_a_bounded_number_of_uploads(self) -> Steps:
        keys = []
        for number in range(MAX_PARTS_EACH):
            keys.append((yield self.announce(f"{number}")))
        yield self.refused(self.announce(), "incomplete")
        self.assertEqual([self.offset(key) for key in keys], [0] * MAX_PARTS_EACH)
        yield self.announce(owner=BOB)
        self.patch(uploads, "BETWEEN_SECONDS", -1.0)  # they have been idle for long
        yield self.announce()
        self.assertRaises(NoSuchUpload, self.found, keys[0])

    @inlineCallbacks
    def test_a_full_disk_keeps_what_came(self) -> Steps:
        key = yield self.announce()
        receiving = yield self.broken(key, 0, 1000)

        def full(*_: Any) -> None:
            raise OSError(28, "no room")

        patch = self.patch(os, "pwrite", full)
        self.assertIsInstance((yield self.refused(receiving.write(b"x"), "full")), NotNow)
        patch.restore()
        self.assertEqual(self.offset(key), 1000)
        patch = self.patch(parts, "replace_file", full)
        yield self.refused(self.announce(), "full")
        patch.restore()
        self.assertEqual((yield self.send(key, 1000, len(DATA))), "a")
