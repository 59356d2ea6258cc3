"""What systemd is told: by the service itself, and by a real daemon."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.request
from pathlib import Path
from unittest.mock import patch

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from groupchat.core.errors import CannotStart, Unavailable
from groupchat.daemon.systemd import KINDS, SILENT_SECONDS, Systemd, passed_sockets
from tests.certificates import make_certificate
from tests.daemon import SECONDS, DaemonTestCase, LineMember, UDPMember
from tests.manager import Ear, Manager, datagrams, listening
from tests.programs import need

UNITS = Path(__file__).resolve().parent.parent / "contrib" / "systemd"


class ServiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.manager = Ear(f"@groupchat-test-{os.getpid()}-{id(self)}")
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

    def test_the_shortest_watchdog_costs_few_reports(self) -> None:
        self.begin(WATCHDOG_USEC="1")
        self.manager.told()
        self.clock.pump([0.01] * 100)
        self.assertLessEqual(len(self.manager.told()), 3 * 2)

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
        other = {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}
        for environment in (other, {"WATCHDOG_USEC": "9" * 30}, {"WATCHDOG_USEC": "-1"}, {"WATCHDOG_USEC": "\u00b2"}):
            service = Systemd(environment, self.clock, lambda: succeed(1), lambda: "")
            self.assertEqual(service._interval, 10.0)


class DaemonTests(DaemonTestCase):
    def test_a_real_daemon_reports(self) -> None:
        directory = tempfile.mkdtemp(prefix="groupchat-test-notify-")
        self.addCleanup(shutil.rmtree, directory)
        manager = Ear(f"{directory}/notify")
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


class DescriptorTests(SynchronousTestCase):
    def test_no_child_process_inherits_a_passed_socket(self) -> None:
        with listening() as opened:
            opened.set_inheritable(True)
            (passed,) = passed_sockets([opened.detach()], ["tcp"])["tcp"]
        self.addCleanup(passed.close)
        self.assertFalse(passed.get_inheritable())

    def test_a_descriptor_that_is_no_socket_is_refused(self) -> None:
        with tempfile.TemporaryFile() as file:
            why = self.assertRaises(CannotStart, passed_sockets, [file.fileno()], ["tcp"])
        self.assertIn("'tcp' that systemd passes cannot be used: Socket operation on non-socket", str(why))


class PassedTests(DaemonTestCase):
    """Real daemons that are passed sockets."""

    def manager(self, *options: str, **passed: list[socket.socket]) -> Manager:
        manager = Manager([(name, each) for name, those in passed.items() for each in those], *options)
        self.addCleanup(manager.close)
        return manager

    def line_member(self, passed: socket.socket, trust: str = "") -> LineMember:
        member = LineMember(passed.getsockname()[1], passed.getsockname()[0], trust=trust)
        self.addCleanup(member.close)
        return member

    def test_passed_sockets_are_used_by_their_names(self) -> None:
        udp, tcp, more, web = datagrams(), listening(), listening(), listening()
        number = str(tcp.getsockname()[1])
        manager = self.manager("--tcp", number, udp=[udp, datagrams_like(udp)], tcp=[tcp, more], web=[web])
        manager.start()
        manager.wait_until_ready()
        for passed in (udp, manager.passed[1][1]):
            member = UDPMember(passed.getsockname()[1], passed.getsockname()[0])
            self.addCleanup(member.close)
            self.assertNotIn("Illegal", member.ask(f"1 Bob{passed.getsockname()[0]}"))
        for passed in (tcp, more):
            self.assertIn("a group chat", self.line_member(passed).receive())
        with urllib.request.urlopen(f"http://127.0.0.1:{web.getsockname()[1]}/healthz", timeout=SECONDS) as answer:
            self.assertEqual(answer.status, 200)

    def test_nobody_is_refused_while_there_is_no_daemon(self) -> None:
        udp, tcp = datagrams(), listening()
        manager = self.manager(udp=[udp], tcp=[tcp])
        manager.start()
        manager.wait_until_ready()
        manager.stop()
        before = self.line_member(tcp)
        member = UDPMember(udp.getsockname()[1])
        self.addCleanup(member.close)
        member.send("1 Bob")
        manager.restart()
        self.assertEqual(member.receive(), "")
        self.assertIn("a group chat", before.receive())

    def test_a_passed_port_of_tls_is_encrypted_on_each_address(self) -> None:
        directory = Path(tempfile.mkdtemp(prefix="groupchat-test-passed-"))
        self.addCleanup(shutil.rmtree, directory)
        key, certificate = make_certificate(directory)
        tcp = listening()
        other = socket.create_server(("127.0.0.2", tcp.getsockname()[1]))
        option = f"ssl:{tcp.getsockname()[1]}:privateKey={key}:certKey={certificate}"
        manager = self.manager("--port", "0", "--tcp", option, tcp=[tcp, other])
        manager.start()
        manager.wait_until_ready()
        for passed in (tcp, other):
            member = self.line_member(passed, trust=str(certificate))
            self.assertIn("a group chat", member.receive())

    def test_sockets_that_cannot_be_used_are_refused_in_one_line(self) -> None:
        both = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        both.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        both.bind(("::", 0))
        for name, passed, why in [
            ("lines", listening(), "FileDescriptorName is one of udp, tcp, web"),
            ("udp", listening(), "it is not of UDP"),
            ("web", datagrams(), "it is not of TCP"),
            ("tcp", socket.socket(socket.AF_UNIX), "it is not of TCP"),
            ("tcp", socket.socket(), "it does not listen; is Accept=yes set?"),
            ("udp", both, "BindIPv6Only=ipv6-only"),
        ]:
            manager = self.manager(**{name: [passed]})
            manager.start()
            assert manager.process is not None
            self.assertEqual(manager.process.wait(SECONDS), 1)
            said = manager.output().strip().split("\n")
            self.assertEqual(len(said), 1, said)
            self.assertIn(why, said[0])

    def test_one_port_number_is_needed_for_udp(self) -> None:
        for options, passed in [(["--port", "1"], [datagrams()]), ([], [datagrams(), datagrams()])]:
            manager = self.manager(*options, udp=passed)
            manager.start()
            assert manager.process is not None
            self.assertEqual(manager.process.wait(SECONDS), 1)
            self.assertIn("the sockets named udp and --port need the same", manager.output())

    def test_a_reload_is_told(self) -> None:
        manager = self.manager("--port", "0")
        manager.start()
        manager.wait_until_ready()
        assert manager.process is not None
        manager.process.send_signal(signal.SIGHUP)
        manager.ear.wait("RELOADING=1")
        manager.ear.wait("READY=1")


def datagrams_like(other: socket.socket) -> socket.socket:
    """Return a socket with the same port number on another address."""
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.bind(("127.0.0.2", other.getsockname()[1]))
    return opened


class UnitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.analyze = need("systemd-analyze", "systemd")

    def test_the_services_are_hardened(self) -> None:
        for unit in UNITS.glob("*.service"):
            command = [self.analyze, "security", "--offline=true", "--threshold=20", str(unit)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
            self.assertEqual(done.returncode, 0, done.stdout[-300:] + done.stderr)

    def test_systemd_finds_no_fault_in_the_units(self) -> None:
        directory = Path(tempfile.mkdtemp(prefix="groupchat-test-units-"))
        self.addCleanup(shutil.rmtree, directory)
        for unit in UNITS.iterdir():
            text = re.sub(r"/opt/groupchat/bin/\S+", "/bin/true", unit.read_text())
            (directory / unit.name.replace("@", "@lobby")).write_text(text)
        done = subprocess.run(
            [self.analyze, "verify", *map(str, directory.iterdir())],
            env={**os.environ, "SYSTEMD_UNIT_PATH": f"{directory}:"},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_each_socket_has_a_name_that_the_daemon_knows(self) -> None:
        service = (UNITS / "groupchat@.service").read_text()
        for name in KINDS:
            unit = (UNITS / f"groupchat-{name}@.socket").read_text()
            self.assertIn(f"\nFileDescriptorName={name}\n", unit)
            self.assertIn(f" groupchat-{name}@%i.socket", service.replace("=", " "))
