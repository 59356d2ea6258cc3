"""The log after a power cut, and the rules of the simulated disk."""

from __future__ import annotations

import os
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from tests.powercut import Disk, Record, cut, rehearse
from tests.slow import slow

CUTS = 240
FEW_CUTS = 48


class PowerCutTests(SynchronousTestCase):
    def check_full(self, cuts: int) -> None:
        figures = rehearse("FULL", cuts)
        self.assertEqual(([], []), (figures.damages, figures.losses))
        self.assertEqual((cuts, 0), (figures.cuts, figures.lost))
        self.assertGreater(figures.checkpoints, 8)

    def test_full_loses_nothing_acknowledged_in_a_few_cuts(self) -> None:
        self.check_full(FEW_CUTS)

    @slow
    def test_full_loses_nothing_acknowledged(self) -> None:
        self.check_full(CUTS)

    @slow
    def test_normal_may_lose_the_end_and_damages_nothing(self) -> None:
        figures = rehearse("NORMAL", CUTS // 2)
        self.assertEqual([], figures.damages)
        self.assertGreater(figures.lost, 0)

    def test_a_disk_that_ignores_fsync_fails_the_check(self) -> None:
        figures = rehearse("FULL", FEW_CUTS, honest=False)
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
        """Return all contents that the file `a` may have after a cut; None among them if it may be gone."""
        disk = Disk({})
        for record in records:
            disk.play(record)
        return {cut(disk, Random(seed)).get("a") for seed in range(300)}

    def test_synced_content_is_there(self) -> None:
        self.assertEqual({b"one"}, self.left(opened("a"), wrote(b"one"), synced(), *DIRECTORY))

    def test_content_written_since_may_be_there(self) -> None:
        left = self.left(opened("a"), wrote(b"one"), synced(), *DIRECTORY, wrote(b"two"))
        self.assertEqual({b"one", b"two"}, left)

    def test_a_write_may_be_torn_between_sectors(self) -> None:
        old, new = b"o" * 512, b"n" * 512
        left = self.left(opened("a"), wrote(old * 2), synced(), *DIRECTORY, wrote(new * 2))
        self.assertEqual({old * 2, old + new, new + old, new * 2}, left)

    def test_a_later_write_may_be_there_without_the_earlier(self) -> None:
        left = self.left(opened("a"), wrote(b"--"), synced(), *DIRECTORY, wrote(b"1"), wrote(b"2", offset=1))
        self.assertEqual({b"--", b"1-", b"-2", b"12"}, left)

    def test_a_file_may_have_its_size_without_its_content(self) -> None:
        left = self.left(opened("a"), *DIRECTORY, wrote(b"one"))
        self.assertTrue({b"", b"\0\0\0", b"one"} < left)
        self.assertEqual({0, 3}, {len(content or b"") for content in left})

    def test_a_new_file_may_be_gone_until_its_directory_is_synced(self) -> None:
        self.assertEqual({None, b"one"}, self.left(opened("a"), wrote(b"one"), synced()))

    def test_an_unlinked_file_may_be_back(self) -> None:
        gone = Record("U", -1, 0, b"a")
        self.assertEqual({None, b""}, self.left(opened("a"), *DIRECTORY, gone))
        self.assertEqual({None}, self.left(opened("a"), *DIRECTORY, gone, synced(fd=4)))

    def test_a_rename_happens_or_not(self) -> None:
        renamed = Record("R", -1, 0, b"b\0a")
        before = (opened("a"), wrote(b"old"), synced(), opened("b"), wrote(b"new"), synced(), *DIRECTORY)
        self.assertEqual({b"old", b"new"}, self.left(*before, renamed))
