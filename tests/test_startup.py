"""What is wrong is said before the fork, in one line and with status 1; what is risky, in one line of the log."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from groupchat.core.errors import CannotStart
from groupchat.daemon.startup import EXPIRES_SOON, Ports, check_writable, expiry, exposure, rehearse
from groupchat.quic.certificate import load_or_make
from tests.background import BackgroundCase
from tests.certificates import make_certificate
from tests.daemon import SECONDS, Daemon, UDPMember
from tests.programs import need

ROOT = Path(__file__).parent.parent
NOBODY = 65_534
LONG = "x" * 300
FIRST_FREE_PORT = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


def need_root(test: SynchronousTestCase) -> None:
    if os.geteuid():
        test.skipTest("only root can change its user")
    if not all(parent.stat().st_mode & stat.S_IXOTH for parent in Path(sys.executable).resolve().parents):
        test.skipTest("other users cannot run this Python")


class RefusalTests(BackgroundCase):
    def refuse(self, *options: str, twistd: tuple[str, ...] = (), user: int | None = None, **environment: str) -> str:
        """Return the line with which a start in the background is refused. Nothing is left behind."""
        before = set(self.directory.iterdir())
        done = self.run_twistd(*options, twistd=twistd, user=user, **environment)
        self.assertEqual((done.returncode, done.stdout, done.stderr.count("\n")), (1, "", 1), (options, twistd, done))
        self.assertRegex(done.stderr, r"\Atwistd( groupchat)?: ")
        self.assertEqual(set(self.directory.iterdir()) - before, set(), (options, twistd))
        return done.stderr

    def test_shared_files_that_cannot_be_used(self) -> None:
        (self.directory / "file").touch()
        os.mkfifo(self.directory / "fifo")
        for path, why in [
            ("file", "Not a directory"),
            ("fifo", "Not a directory"),
            ("file/shared", "Not a directory"),
            ("no/such/directory", "No such file or directory"),
            (LONG, "File name too long"),
            ("d/" * 3_000, "File name too long"),
            ("/proc/shared", "No such file or directory"),
        ]:
            self.assertIn(why, self.refuse("--web", "0", "--files", path))

    def test_a_file_of_the_group_that_cannot_be_made_or_opened(self) -> None:
        (self.directory / "file").write_text("no database, but some text")
        (self.directory / "directory").mkdir()
        os.mkfifo(self.directory / "fifo")
        for path, why in [
            (LONG, "File name too long"),
            ("x" * 250, "unable to open"),  # the name of its journal is too long
            ("d/" * 3_000, "is not a directory"),
            ("no/such/file", "no/such is not a directory"),
            ("file/group", "file is not a directory"),
            ("directory", "Is a directory"),
            ("file", "not a database"),
            ("fifo", "cannot be used"),
            ("/dev/null", "cannot be used"),
            ("/proc/group", "No such file or directory"),
        ]:
            self.assertIn(why, self.refuse("--db", path))

    def test_a_certificate_that_cannot_be_used(self) -> None:
        key, certificate = make_certificate(self.directory)
        other = self.directory / "other"
        other.mkdir()
        others_key, _ = make_certificate(other)
        mixed = self.directory / "mixed.pem"
        mixed.write_bytes(others_key.read_bytes() + certificate.read_bytes())
        for path, why in [
            ("no/such.pem", "No such file"),
            (LONG, "File name too long"),
            ("other", "Is a directory"),
            (str(key), "must have a certificate"),
            ("mixed.pem", "does not belong to the certificate"),
        ]:
            self.assertIn(why, self.refuse("--quic", "--certificate", path))
        for where, why in [
            (f"ssl:0:privateKey={others_key}:certKey={certificate}", "do not match"),
            (f"ssl:0:privateKey={certificate}:certKey={certificate}", "cannot be used"),
            (f"ssl:0:privateKey={LONG}:certKey={certificate}", "File name too long"),
        ]:
            self.assertIn(why, self.refuse("--tcp", where))

    def test_a_damaged_certificate_that_was_kept(self) -> None:
        kept = self.directory / "groupchat.sqlite.pem"
        load_or_make(kept)
        whole = kept.read_bytes()
        for damaged in (b"", b"garbage", whole[:100], whole[: len(whole) // 2]):
            kept.write_bytes(damaged)
            self.assertIn("groupchat.sqlite.pem must have a certificate", self.refuse("--quic"))

    def test_ports_in_use_whatever_the_endpoint(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as holder:
            port = holder.getsockname()[1]
            for where in (str(port), f"tcp:{port}", f"haproxy:tcp:{port}", f"tcp:{port}:interface=127.0.0.1"):
                for option in ("--tcp", "--web"):
                    self.assertIn(f"Address already in use. Is it running already? Choose another with {option}.",
                                  self.refuse(option, where))  # fmt: skip

    def test_two_options_with_the_same_port(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as holder:
            port = holder.getsockname()[1]
        for first, second in [(f"{port}", f"{port}"), (f"tcp:{port}", f"{port}"), (f"{port}", f"tcp:{port}")]:
            self.assertIn("Address already in use", self.refuse("--tcp", first, "--web", second))

    def test_the_makefile_is_told_its_own_variables(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as holder:
            port = str(holder.getsockname()[1])
            for option, variable in (("--tcp", "PORT"), ("--web", "WEB")):
                self.assertIn(
                    f"Choose another with make run {variable}=NUMBER.", self.refuse(option, port, GROUPCHAT_RUN="make")
                )

    def test_addresses_and_sockets_that_cannot_be_had(self) -> None:
        (self.directory / "file").touch()
        for where, why in [
            ("tcp:0:interface=192.0.2.1", "Cannot assign requested address"),
            ("tcp:0:interface=nonsense", "not known"),
            ("unix:no/such/socket", "No such file or directory"),
            ("unix:file", "Address already in use"),
            (f"unix:{LONG}", "too long"),
        ]:
            self.assertIn(why, self.refuse("--tcp", where))

    def test_a_unix_socket_in_use(self) -> None:
        path = self.directory / "socket"
        daemon = Daemon("--db", ":memory:", "--tcp", f"unix:{path}")
        self.addCleanup(daemon.stop)
        self.assertIn("Address already in use", self.refuse("--tcp", f"unix:{path}"))
        daemon.kill()
        self.start("--db", ":memory:", "--tcp", f"unix:{path}")  # what a killed daemon leaves is in nobody's way

    def test_options_of_twistd_that_cannot_be_used(self) -> None:
        (self.directory / "file").touch()
        (self.directory / "directory").mkdir()
        for option, value, why in [
            ("--pidfile", "no/such.pid", "No such file or directory"),
            ("--pidfile", "file/pid", "Not a directory"),
            ("--pidfile", "directory", "Is a directory"),
            ("--pidfile", LONG, "File name too long"),
            ("--pidfile", "/proc/pid", "No such file or directory"),
            ("--logfile", "no/such.log", "No such file or directory"),
            ("--logfile", "directory", "Is a directory"),
            ("--logfile", LONG, "File name too long"),
            ("--rundir", "no/such", "No such file or directory"),
            ("--rundir", "file", "Not a directory"),
            ("--chroot", "/no/such", "o"),  # not there, or not allowed
        ]:
            self.assertIn(why, self.refuse(twistd=(option, value)))

    def test_paths_count_from_the_directory_of_the_daemon(self) -> None:
        (self.directory / "run").mkdir()
        self.assertIn("is not a directory", self.refuse("--db", "run/group", twistd=("--rundir", "run")))
        self.start("--db", "group", "--tcp", "unix:socket", twistd=("--rundir", "run"))
        self.assertTrue((self.directory / "run" / "group").exists())
        self.assertTrue((self.directory / "run" / "socket").exists())

    def test_a_port_that_only_root_may_use(self) -> None:
        need_root(self)
        if not FIRST_FREE_PORT.exists() or FIRST_FREE_PORT.read_text() != "1024\n":
            self.skipTest("everybody may use any port")
        self.directory.chmod(0o777)
        for option in ("--tcp", "--web", "--port"):
            why = self.refuse(option, "80", user=NOBODY)
            self.assertIn(f"Only root may use a port below 1024: choose another with {option}.", why)

    def test_users_that_are_not_there(self) -> None:
        need_root(self)
        unknown = next(uid for uid in range(60_000, 65_000) if not is_user(uid))
        self.assertIn("There is no such user", self.refuse(twistd=("--uid", str(unknown))))
        self.directory.chmod(0o777)
        self.assertIn("Operation not permitted", self.refuse(twistd=("--uid", "0"), user=NOBODY))

    def test_what_the_user_of_the_daemon_may_not_do(self) -> None:
        need_root(self)
        self.directory.chmod(0o755)
        self.assertIn("Permission denied", self.refuse(twistd=("--uid", f"{NOBODY}")))
        self.assertIn("Permission denied", self.refuse("--db", ":memory:", "--web", "0", "--files", "shared",
                                                       twistd=("--uid", f"{NOBODY}")))  # fmt: skip
        load_or_make(self.directory / "groupchat.sqlite.pem")
        self.directory.chmod(0o777)
        self.assertIn("Permission denied", self.refuse("--quic", twistd=("--uid", f"{NOBODY}")))

    def test_a_daemon_under_another_user(self) -> None:
        need_root(self)
        load_or_make(self.directory / "root.pem")  # read before the daemon gives up the rights of root
        os.chown(self.directory, NOBODY, NOBODY)
        options = ("--certificate", "root.pem", "--quic", "--files", "shared")
        self.start(*options, twistd=("--uid", f"{NOBODY}"))
        for name in ("groupchat.sqlite", "shared", "chat.log"):
            self.assertEqual((self.directory / name).stat().st_uid, NOBODY, name)

    def test_a_daemon_in_another_root(self) -> None:
        need_root(self)
        root = self.directory / "root"
        (root / "etc").mkdir(parents=True)
        options = ("--chroot", str(root), "--pidfile", "/etc/pid")
        self.assertIn("/group is not a directory", self.refuse("--db", "/group/db", twistd=options))


def is_user(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


class WarningTests(BackgroundCase):
    def warnings(self, *options: str, twistd: tuple[str, ...] = ()) -> list[str]:
        """Return the warnings of a daemon at its start."""
        self.start(*options, twistd=twistd)
        return re.findall(r"\[warn\] (.*)", self.logged())

    def test_a_new_daemon_warns_of_nothing(self) -> None:
        self.directory.chmod(0o755)
        self.assertEqual(self.warnings("--quic", "--files", "shared"), [])
        for name in ("chat.log", "groupchat.sqlite", "groupchat.sqlite.pem"):
            self.assertEqual(stat.S_IMODE((self.directory / name).stat().st_mode), 0o600, name)

    def test_files_that_others_can_read(self) -> None:
        self.directory.chmod(0o755)
        key, certificate = make_certificate(self.directory, timedelta(days=365))
        both = self.directory / "both.pem"
        both.write_bytes(key.read_bytes() + certificate.read_bytes())
        (self.directory / "password").write_text("open sesame\n")
        self.log.touch()
        (self.directory / "operators").write_text("sesame\n")
        for path in (key, both, self.directory / "password", self.directory / "operators", self.log):
            path.chmod(0o644)
        found = self.warnings(
            "--tcp", f"ssl:0:privateKey={key}:certKey={certificate}", "--quic", "--certificate", "both.pem",
            "--password-file", "password", "--operator-file", "operators",
        )  # fmt: skip
        self.assertEqual(
            found,
            [
                "Every user of this machine can read the password, password: chmod o-r password",
                "Every user of this machine can read the passwords of operators, operators: chmod o-r operators",
                "Every user of this machine can read the key for QUIC, both.pem: chmod o-r both.pem",
                f"Every user of this machine can read the key for TLS, {key}: chmod o-r {key}",
                f"Every user of this machine can read the log, {self.log}: chmod o-r {self.log}",
            ],
        )

    def test_secrets_in_the_directory_of_shared_files(self) -> None:
        self.assertEqual(
            self.warnings("--web", "0", "--files", ".", "--db", "group"),
            [
                "Every member can fetch the group, group: choose another directory for --files",
            ],
        )

    def test_certificates_that_expire(self) -> None:
        key, certificate = make_certificate(self.directory, timedelta(days=-3))
        both = self.directory / "both.pem"
        both.write_bytes(key.read_bytes() + certificate.read_bytes())
        day = f"{datetime.now(UTC) - timedelta(days=3):%Y-%m-%d}"
        found = self.warnings(
            "--tcp", f"ssl:0:privateKey={key}:certKey={certificate}", "--quic", "--certificate", "both.pem"
        )
        self.assertEqual(
            found,
            [
                f"A certificate for TLS expired on {day}: replace it, and restart",
                f"The certificate both.pem expired on {day}: replace it, and restart",
            ],
        )

    def test_a_log_file_that_cannot_be_opened_anew(self) -> None:
        need_root(self)
        self.directory.chmod(0o755)
        self.log.touch(0o600)
        (found,) = self.warnings("--db", ":memory:", twistd=("--uid", f"{NOBODY}"))
        self.assertIn(f"may not write to {self.log}", found)


class CheckTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="groupchat-startup-")).resolve()
        self.addCleanup(shutil.rmtree, self.directory)

    def test_a_certificate_is_warned_of_two_weeks_ahead(self) -> None:
        now = datetime.now(UTC)
        for left, words in [
            (timedelta(days=-1), ["expired on"]),
            (timedelta(days=1), ["expires on"]),
            (EXPIRES_SOON - timedelta(hours=1), ["expires on"]),
            (EXPIRES_SOON + timedelta(hours=1), []),
        ]:
            found = list(expiry("It", now + left))
            self.assertEqual([line[3:13] for line in found], words)

    def test_a_file_in_a_closed_directory_is_not_exposed(self) -> None:
        path = self.directory / "secret"
        path.touch()
        path.chmod(0o604)
        self.assertEqual(list(exposure("it", path, None)), [])
        self.assertEqual(list(exposure("it", self.directory / "nothing", None)), [])
        self.assertEqual(len(list(exposure("it", path, self.directory))), 1)
        self.assertEqual(list(exposure("it", self.directory / ".hidden", self.directory)), [])

    def test_a_check_for_writing_makes_nothing(self) -> None:
        check_writable(self.directory / "new")
        (self.directory / "old").write_text("content")
        check_writable(self.directory / "old")
        self.assertEqual([path.read_text() for path in self.directory.iterdir()], ["content"])
        for path in (self.directory, self.directory / "no" / "such", self.directory / LONG):
            self.assertRaises(OSError, check_writable, path)

    def test_ports_are_held_until_all_are_checked(self) -> None:
        with Ports(".") as ports:
            free = socket.create_server(("127.0.0.1", 0))
            number = free.getsockname()[1]
            free.close()
            ports.listenTCP(number, None, interface="127.0.0.1")
            self.assertRaises(OSError, ports.listenTCP, number, None, interface="127.0.0.1")
        socket.create_server(("127.0.0.1", number)).close()

    def twistd(self) -> dict[str, object]:
        names = ("chroot", "umask", "pidfile", "uid", "gid", "euid")
        return {"rundir": str(self.directory), "nodaemon": True, **dict.fromkeys(names)}

    def test_a_rehearsal_is_in_a_process_of_its_own(self) -> None:
        found = rehearse(self.twistd(), lambda: [str(Path.cwd()), str(os.getppid()), "a\nb \udce9"])
        self.assertEqual(found, [str(self.directory), str(os.getpid()), "a\nb \udce9"])
        self.assertNotEqual(str(Path.cwd()), str(self.directory))

    def test_a_rehearsal_says_what_was_raised(self) -> None:
        def fail() -> list[str]:
            raise CannotStart("for a reason")

        def interrupt() -> list[str]:
            raise KeyboardInterrupt

        def die() -> list[str]:
            os._exit(9)

        for check, words in [(fail, "for a reason"), (interrupt, "KeyboardInterrupt"), (die, "killed")]:
            self.assertIn(words, str(self.assertRaises(CannotStart, rehearse, self.twistd(), check)))


class MakefileTests(SynchronousTestCase):
    def test_make_run_takes_more_options(self) -> None:
        command = [
            need("make", "make"),
            "-n",
            "--no-print-directory",
            "run",
            "PORT=1",
            "WEB=2",
            "OPTIONS=--web-host chat.example.org",
        ]
        shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=SECONDS).stdout
        self.assertRegex(shown, r"--port 1 --tcp 1 --quic --web 2 --files shared --web-host chat\.example\.org\n\Z")


class ReplySizeTests(BackgroundCase):
    def test_the_smallest_reply_has_room_for_a_refusal(self) -> None:
        self.start("--db", ":memory:", "--max-reply", "15")
        member = UDPMember(self.port())
        self.addCleanup(member.close)
        self.assertEqual(member.ask("5"), "Illegal message")
