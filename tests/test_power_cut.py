"""The log after a power cut, and that the disk which this is shown on loses what a disk may lose."""

from __future__ import annotations

import os
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from tests.powercut import Disk, Record, cut, rehearse

CUTS = 240


class PowerCutTests(SynchronousTestCase):
    def test_with_full_nothing_acknowledged_is_lost(self) -> None:
        figures = rehearse("FULL", CUTS)
        self.assertEqual(([], []), (figures.damages, figures.losses))
        self.assertEqual((CUTS, 0), (figures.cuts, figures.lost))
        self.assertGreater(figures.checkpoints, 8)

    def test_with_normal_the_end_may_be_lost_and_the_rest_is_whole(self) -> None:
        figures = rehearse("NORMAL", CUTS // 2)
        self.assertEqual([], figures.damages)
        self.assertGreater(figures.lost, 0)

    def test_a_disk_that_heeds_no_fsync_is_found_out(self) -> None:
        figures = rehearse("FULL", CUTS // 3, honest=False)
        self.assertTrue(figures.damages)
        self.assertTrue(figures.losses)


def opened(name: str, fd: int = 3) -> Record:
    return Record("O", fd, os.O_RDWR, name.encode())


def wrote(content: bytes, offset: int = 0) -> Record:
    return Record("W", 3, offset, content)


def synced(fd: int = 3) -> Record:
    return Record("S", fd, 0, b"")


DIRECTORY = (opened("", fd=4), synced(fd=4))


class DiskTests(SynchronousTestCase):
    def left(self, *records: Record) -> set[bytes | None]:
        """What may be in the file `a` after a cut; None if it may be gone."""
        disk = Disk({})
        for record in records:
            disk.play(record)
        return {cut(disk, Random(seed)).get("a") for seed in range(300)}

    def test_what_had_its_fsync_is_there(self) -> None:
        self.assertEqual({b"one"}, self.left(opened("a"), wrote(b"one"), synced(), *DIRECTORY))

    def test_what_came_since_may_be(self) -> None:
        left = self.left(opened("a"), wrote(b"one"), synced(), *DIRECTORY, wrote(b"two"))
        self.assertEqual({b"one", b"two"}, left)

    def test_a_write_may_be_torn_between_sectors(self) -> None:
        old, new = b"o" * 512, b"n" * 512
        left = self.left(opened("a"), wrote(old * 2), synced(), *DIRECTORY, wrote(new * 2))
        self.assertEqual({old * 2, old + new, new + old, new * 2}, left)

    def test_the_later_of_two_writes_may_be_there_without_the_other(self) -> None:
        left = self.left(opened("a"), wrote(b"--"), synced(), *DIRECTORY, wrote(b"1"), wrote(b"2", offset=1))
        self.assertEqual({b"--", b"1-", b"-2", b"12"}, left)

    def test_a_file_may_be_longer_than_what_is_there_of_it(self) -> None:
        left = self.left(opened("a"), *DIRECTORY, wrote(b"one"))
        self.assertTrue({b"", b"\0\0\0", b"one"} < left)
        self.assertEqual({0, 3}, {len(content or b"") for content in left})

    def test_a_new_file_may_be_gone_until_the_directory_has_its_fsync(self) -> None:
        self.assertEqual({None, b"one"}, self.left(opened("a"), wrote(b"one"), synced()))

    def test_a_file_that_was_unlinked_may_be_back(self) -> None:
        gone = Record("U", -1, 0, b"a")
        self.assertEqual({None, b""}, self.left(opened("a"), *DIRECTORY, gone))
        self.assertEqual({None}, self.left(opened("a"), *DIRECTORY, gone, synced(fd=4)))

    def test_a_rename_is_there_or_not(self) -> None:
        renamed = Record("R", -1, 0, b"b\0a")
        before = (opened("a"), wrote(b"old"), synced(), opened("b"), wrote(b"new"), synced(), *DIRECTORY)
        self.assertEqual({b"old", b"new"}, self.left(*before, renamed))
