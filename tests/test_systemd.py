"""What systemd is told: by the service itself, and by a real daemon."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from unittest.mock import patch

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from groupchat.core.errors import Unavailable
from groupchat.systemd import SILENT_SECONDS, Systemd
from tests.daemon import SECONDS, DaemonTestCase, UDPMember
from tests.programs import need

UNITS = Path(__file__).resolve().parent.parent / "contrib" / "systemd"


class Manager:
    """The part of systemd that is told something."""

    def __init__(self, name: str) -> None:
        self.address = name
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + name[1:] if name.startswith("@") else name)
        self.socket.setblocking(False)

    def told(self) -> list[str]:
        """Return what it was told since the last call."""
        found: list[str] = []
        try:
            while True:
                found += self.socket.recv(4096).decode().split("\n")
        except BlockingIOError:
            return found


class ServiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.manager = Manager(f"@groupchat-test-{os.getpid()}-{id(self)}")
        self.addCleanup(self.manager.socket.close)
        self.clock = Clock()
        self.answers: list[Deferred[int]] = []

    def begin(self, **environment: str) -> Systemd:
        def ask() -> Deferred[int]:
            self.answers.append(Deferred())
            return self.answers[-1]

        service = Systemd({"NOTIFY_SOCKET": self.manager.address, **environment}, self.clock, ask, lambda: "well")
        service.startService()
        return service

    def test_the_start_and_the_stop_are_told(self) -> None:
        service = self.begin()
        self.assertEqual(self.manager.told(), ["READY=1", "STATUS=well", "WATCHDOG=1"])
        service.stopService()
        self.assertEqual(self.manager.told()[0], "STOPPING=1")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_reload_is_told_from_its_begin_to_its_end(self) -> None:
        service = self.begin()
        self.manager.told()
        during: list[str] = []
        service.reload(lambda: during.extend(self.manager.told()))
        self.assertEqual(during[0], "RELOADING=1")
        self.assertRegex(during[1], r"\AMONOTONIC_USEC=\d+\Z")
        self.assertEqual(self.manager.told(), ["READY=1"])
        service.stopService()
        self.manager.told()
        service.reload(lambda: None)
        self.assertEqual(self.manager.told(), [])

    def test_the_watchdog_is_fed_in_time(self) -> None:
        self.begin(WATCHDOG_USEC="6000000")
        self.manager.told()
        for _ in range(10):
            self.answers.pop().callback(1)
            self.clock.advance(2)
            self.assertEqual(self.manager.told(), ["STATUS=well", "WATCHDOG=1"])

    def test_it_is_not_fed_while_the_log_is_silent(self) -> None:
        self.begin()
        self.clock.pump([1.0] * int(SILENT_SECONDS + 10))
        self.manager.told()
        self.clock.advance(10)
        self.assertEqual(self.manager.told(), ["STATUS=well"])
        self.assertEqual(len(self.answers), 1)  # it is asked once
        self.answers.pop().callback(1)
        self.clock.advance(10)
        self.assertEqual(self.manager.told(), ["STATUS=well", "WATCHDOG=1"])

    def test_an_error_of_the_log_is_an_answer(self) -> None:
        service = Systemd(
            {"NOTIFY_SOCKET": self.manager.address}, self.clock, lambda: fail(Unavailable("full")), lambda: "full"
        )
        service.startService()
        self.clock.pump([10.0] * 10)
        self.assertEqual(self.manager.told()[-2:], ["STATUS=full", "WATCHDOG=1"])

    def test_nobody_is_told_without_a_socket(self) -> None:
        service = Systemd({}, self.clock, lambda: succeed(1), lambda: self.fail("asked"))
        service.startService()
        service.stopService()
        self.assertEqual((self.manager.told(), self.clock.getDelayedCalls()), ([], []))

    def test_a_manager_that_is_gone_does_no_harm(self) -> None:
        self.begin(NOTIFY_SOCKET="/no/such/socket").stopService()

    def test_another_process_is_meant(self) -> None:
        for environment in ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "9" * 30}):
            service = Systemd(environment, self.clock, lambda: succeed(1), lambda: "")
            self.assertEqual(service._interval, 10.0)


class DaemonTests(DaemonTestCase):
    def test_a_real_daemon_reports(self) -> None:
        directory = tempfile.mkdtemp(prefix="groupchat-test-notify-")
        self.addCleanup(shutil.rmtree, directory)
        manager = Manager(f"{directory}/notify")
        self.addCleanup(manager.socket.close)
        manager.socket.setblocking(True)
        manager.socket.settimeout(SECONDS)
        with patch.dict(os.environ, {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "3000000"}):
            daemon = self.start("--tcp", "0")
        self.assertEqual(manager.socket.recv(4096), b"READY=1")
        member = UDPMember(daemon.port)
        self.addCleanup(member.close)
        member.ask("1 Bob")
        while b"1 members" not in (told := manager.socket.recv(4096)):
            pass
        self.assertEqual(told, b"STATUS=1 members, 0 live, 1 lines; messages are stored\nWATCHDOG=1")
        daemon.stop()
        while not (told := manager.socket.recv(4096)).startswith(b"STOPPING=1"):
            pass


class UnitTests(SynchronousTestCase):
    def test_the_unit_is_hardened(self) -> None:
        command = [
            need("systemd-analyze", "systemd"),
            "security",
            "--offline=true",
            "--threshold=20",
            str(UNITS / "groupchat@.service"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        self.assertEqual(done.returncode, 0, done.stdout[-300:] + done.stderr)
