"""Trusted certificates, and the file that stores them."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from twisted.trial.unittest import TestCase

from groupchat.client.trust import (
    ChangedCertificateError,
    KnownServers,
    UnknownCertificateError,
    UntrustedError,
    default_path,
    fingerprint_of,
)

HERE, THERE = "chat.example:12345", "[::1]:12345"
ONE, TWO = b"a certificate", b"another"
SELF_SIGNED = "it is self-signed"


class KnownServersTest(TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "deep" / "known_servers"
        self.known = KnownServers(self.path)

    def lines(self) -> list[str]:
        return self.path.read_text().splitlines()

    def trust(self, where: str, certificate: bytes) -> None:
        self.assertRaises(UnknownCertificateError, self.known.check, where, certificate, SELF_SIGNED).trust()

    def test_a_fingerprint_is_written_as_openssl_does(self) -> None:
        self.assertEqual(fingerprint_of(b"")[:12], "E3:B0:C4:42:")
        self.assertEqual(len(fingerprint_of(b"")), 95)

    def test_an_unknown_certificate_may_be_trusted(self) -> None:
        why = self.assertRaises(UnknownCertificateError, self.known.check, HERE, ONE, SELF_SIGNED)
        for part in (HERE, SELF_SIGNED, fingerprint_of(ONE)):
            self.assertIn(part, str(why))
        self.assertFalse(self.path.exists())
        why.trust()
        self.known.check(HERE, ONE, SELF_SIGNED)
        self.assertEqual(self.lines(), [f"{HERE} {fingerprint_of(ONE)}"])

    def test_a_changed_certificate_is_refused(self) -> None:
        self.trust(HERE, ONE)
        for trust_new in (False, True):
            known = KnownServers(self.path, trust_new=trust_new)
            why = self.assertRaises(ChangedCertificateError, known.check, HERE, TWO, SELF_SIGNED)
            for part in ("HAS CHANGED", HERE, fingerprint_of(TWO), str(self.path)):
                self.assertIn(part, str(why))
            self.assertNotIsInstance(why, UnknownCertificateError)
        self.assertEqual(self.lines(), [f"{HERE} {fingerprint_of(ONE)}"])

    def test_a_self_signed_one_after_a_trusted_one_is_refused(self) -> None:
        self.known.check(HERE, ONE, "")
        known = KnownServers(self.path, trust_new=True)
        self.assertRaises(ChangedCertificateError, known.check, HERE, TWO, SELF_SIGNED)
        self.assertRaises(ChangedCertificateError, known.check, HERE, ONE, "it has expired")
        known.check(HERE, TWO, "")

    def test_a_certificate_trusted_by_the_system_may_change(self) -> None:
        self.known.check(HERE, ONE, "")
        before = self.path.stat().st_ino
        self.known.check(HERE, TWO, "")
        self.assertEqual(self.lines(), [f"{HERE} system"])
        self.assertEqual(self.path.stat().st_ino, before)

    def test_a_fingerprint_stays_when_the_system_trusts_too(self) -> None:
        self.trust(HERE, ONE)
        self.known.check(HERE, TWO, "")
        self.assertRaises(ChangedCertificateError, self.known.check, HERE, TWO, SELF_SIGNED)

    def test_trust_new_asks_no_question(self) -> None:
        known = KnownServers(self.path, trust_new=True)
        known.check(HERE, ONE, SELF_SIGNED)
        self.known.check(HERE, ONE, SELF_SIGNED)
        self.assertRaises(ChangedCertificateError, known.check, HERE, TWO, SELF_SIGNED)

    def test_each_server_has_its_own_line(self) -> None:
        self.trust(HERE, ONE)
        self.trust(THERE, TWO)
        self.known.remember(HERE, "AA")
        self.assertEqual(self.lines(), [f"{THERE} {fingerprint_of(TWO)}", f"{HERE} AA"])
        self.assertEqual(self.known.find(THERE), fingerprint_of(TWO))
        self.assertIsNone(self.known.find("chat.example:1234"))

    def test_the_file_and_its_directory_are_private(self) -> None:
        umask = os.umask(0)
        self.addCleanup(os.umask, umask)
        self.known.remember(HERE, "AA")
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(self.path.parent.stat().st_mode), 0o700)

    def test_the_file_is_replaced_whole(self) -> None:
        self.known.remember(HERE, "AA")
        with self.path.open() as old:
            self.known.remember(HERE, "BB")
            self.assertEqual(old.read(), f"{HERE} AA\n")
        self.assertEqual(self.path.read_text(), f"{HERE} BB\n")
        self.assertEqual([path.name for path in self.path.parent.iterdir()], ["known_servers"])

    def test_an_unreadable_file_trusts_nobody(self) -> None:
        self.path.mkdir(parents=True)
        for problem in ("", SELF_SIGNED):
            known = KnownServers(self.path, trust_new=True)
            self.assertRaises(UntrustedError, known.check, HERE, ONE, problem)

    def test_a_file_that_is_not_text_trusts_nobody(self) -> None:
        self.path.parent.mkdir(parents=True)
        self.path.write_bytes(b"\xff\xfe\n")
        known = KnownServers(self.path, trust_new=True)
        self.assertRaises(UntrustedError, known.check, HERE, ONE, SELF_SIGNED)

    def test_a_line_that_was_edited_by_hand_counts(self) -> None:
        self.path.parent.mkdir(parents=True)
        self.path.write_text(f"\n{HERE}  AA \nnonsense\n")
        self.assertEqual(self.known.find(HERE), "AA")
        self.known.remember(THERE, "BB")
        self.assertEqual(self.known.find(HERE), "AA")


class PathTest(TestCase):
    def test_the_file_is_in_the_users_data_directory(self) -> None:
        self.patch(os, "environ", {"HOME": "/home/me"})
        self.assertEqual(default_path(), Path("/home/me/.local/share/groupchat/known_servers"))
        self.patch(os, "environ", {"HOME": "/home/me", "XDG_DATA_HOME": "/data"})
        self.assertEqual(default_path(), Path("/data/groupchat/known_servers"))
