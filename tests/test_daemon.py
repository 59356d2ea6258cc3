"""`twistd groupchat` as an operator runs it: options, refusals, in the background, and from an installed wheel."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

from twisted.internet.defer import Deferred, succeed
from twisted.python import usage
from twisted.trial.unittest import TestCase

from groupchat import __version__
from groupchat.core.limits import EVERYWHERE
from groupchat.daemon.doors import Door, ways_in
from groupchat.daemon.options import GROUPS, RENAMED, Options
from groupchat.daemon.process import InOrder
from groupchat.tap import makeService
from tests.daemon import TWISTD, Daemon, UDPMember
from tests.programs import need, unavailable
from tests.slow import slow

ROOT = Path(__file__).parent.parent


def twistd(*arguments: str, twistd: list[str] = TWISTD) -> subprocess.CompletedProcess[str]:
    """Run a `twistd` that ends by itself."""
    with tempfile.TemporaryDirectory() as directory:
        command = [*twistd, *arguments]
        return subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=60, check=False)


class OptionsTests(TestCase):
    def test_defaults(self) -> None:
        options = Options()
        options.parseOptions([])
        self.assertEqual(
            {name: value for name, value in options.items() if name != "version"},
            {
                "config": None,
                "port": 12345,
                "interface": None,
                "tcp": [],
                "web": [],
                "web-host": [],
                "trust-proxy": None,
                "proxies": (),
                "quic": 0,
                "log-json": 0,
                "certificate": None,
                "control": None,
                "control-group": None,
                "files": None,
                "max-file-size": 1_000,
                "files-quota": 10_000,
                "member-quota": 2_000,
                "keep-free": 500,
                "password-file": None,
                "password": None,
                "operator-file": None,
                "operators": (),
                "reserved-names": "admin,server,operator,all,everyone",
                "reserved": ("admin", "server", "operator", "all", "everyone"),
                "reserve": 30,
                "allow-udp": None,
                "udp-networks": EVERYWHERE,
                "name": "lobby",
                "max-reply": 65_507,
                "max-members": 10_000,
                "max-per-host": 1_000,
                "max-connections": 10_000,
                "rate": 5,
                "join-rate": 1,
                "hold": 300,
                "timeout": 60,
                "release": 60,
                "idle-days": 30,
                "keep-lines": 100_000,
                "keep-days": 30,
                "db": "groupchat.sqlite",
                "durability": "full",
            },
        )

    def test_a_bad_value_is_refused_in_one_line(self) -> None:
        for arguments in [
            ["--port", "65536"],
            ["--port", "-1"],
            ["--port", "http"],
            ["--port", "1e3"],
            ["--port", "\u0661\u0662"],
            ["--port", ""],
            ["--port"],
            ["--max-reply", "5"],
            ["--reserve", "-1"],
            ["--reserved-names", "admin,a:b"],
            ["--max-reply", "14"],
            ["--max-reply", "65508"],
            ["--max-members", "0"],
            ["--max-per-host", "-5"],
            ["--keep-lines", "0"],
            ["--keep-lines", "1_000"],
            ["--keep-days", "forever"],
            ["--release", "1.5"],
            ["--idle-days", "thirty"],
            ["--tcp"],
            ["--tcp", "65536"],
            ["--tcp", "0", "--tcp", "123456789"],
            ["--rate", "-1"],
            ["--rate", "fast"],
            ["--hold", "-1"],
            ["--hold", "5m"],
            ["--timeout", "0"],
            ["--max-connections", "0"],
            ["--max-connections", "1e4"],
            ["--allow-udp", "nonsense"],
            ["--allow-udp", ""],
            ["--allow-udp", "10.0.0.0/8,"],
            ["--allow-udp", "10.0.0.1/8"],
            ["--allow-udp", "10.0.0.0/33"],
            ["--password-file", "/no/such/file", "--tcp", "0"],
            ["--password-file", "/", "--tcp", "0"],
            ["--password-file"],
            ["--operator-file", "/no/such/file", "--tcp", "0"],
            ["--operator-file", "/", "--tcp", "0"],
            ["--interface", "localhost"],
            ["--interface", "1.2.3"],
            ["--interface", "fe80::1%lo"],
            ["--durability", "sometimes"],
            ["--db", ""],
            ["--name", ""],
            ["--name", "a\nb"],
            ["--name", "x" * 65],
            ["--files", "shared"],
            ["--certificate", "chat.pem"],
            ["--files", "", "--quic"],
            ["--max-file-size", "0"],
            ["--files-quota", "1G"],
            ["--keep-free", "-1"],
            ["--no-such-option"],
            ["argument"],
        ]:
            exit_status = self.assertRaises(SystemExit, Options().parseOptions, arguments).code
            self.assertIsInstance(exit_status, str, arguments)
            self.assertRegex(str(exit_status), r"\Atwistd groupchat: .+\(twistd groupchat --help lists the options\)\Z")

    def test_the_least_and_the_most_are_allowed(self) -> None:
        for name, value in [
            ("port", "0"),
            ("port", "65535"),
            ("max-reply", "15"),
            ("max-per-host", "0"),
            ("max-connections", "1"),
            ("rate", "0"),
            ("hold", "0"),
            ("timeout", "1"),
            ("keep-lines", "1"),
        ]:
            self.assertEqual(self.parsed(f"--{name}", value)[name], int(value))

    def parsed(self, *arguments: str) -> Options:
        options = Options()
        options.parseOptions(arguments)
        return options

    def test_lines_on_several_ports(self) -> None:
        self.assertEqual(self.parsed("--tcp", "0", "--tcp", "tcp:65535")["tcp"], ["0", "tcp:65535"])
        self.assertEqual(self.parsed()["tcp"], [], "what one was given is not another's")

    def password(self, content: bytes) -> str:
        handle, path = tempfile.mkstemp(prefix="groupchat-password-")
        self.addCleanup(os.unlink, path)
        os.write(handle, content)
        os.close(handle)
        return path

    def test_a_password_is_the_one_line_of_its_file(self) -> None:
        for content, password in [
            (b"secret", b"secret"),
            (b"secret\n", b"secret"),
            (b" two words \r\n", b" two words "),
            (b"\xef\xbb\xbfsecret\r\n", b"secret"),
            ("pässwörd\n".encode(), "pässwörd".encode()),
            (b"x" * 256, b"x" * 256),
        ]:
            options = self.parsed("--tcp", "0", "--password-file", self.password(content))
            self.assertEqual(options["password"], password)

    def test_a_password_file_without_one_line_is_refused(self) -> None:
        for content in [b"", b"\n", b"\r\n", b"one\ntwo\n", b"one\n\n", b"\none", b"x" * 257]:
            arguments = ["--tcp", "0", "--password-file", self.password(content)]
            why = str(self.assertRaises(SystemExit, Options().parseOptions, arguments).code)
            self.assertRegex(why, r"\Atwistd groupchat: --password-file .+ must have one line in it.+\Z", content)

    def test_a_password_that_nothing_asks_for_is_refused(self) -> None:
        arguments = ["--password-file", self.password(b"secret\n")]
        self.assertIn("--tcp", str(self.assertRaises(SystemExit, Options().parseOptions, arguments).code))

    def test_passwords_of_operators(self) -> None:
        for content, passwords in [
            (b"secret\n", (b":secret",)),
            (b"\xef\xbb\xbf one \r\n\n\nTwo Words\r\n", (b":one", b":Two Words")),
            (b"Alice : open\nBOB:a:b\n:c:d", (b"alice:open", b"bob:a:b", b":c:d")),
        ]:
            options = self.parsed("--tcp", "0", "--operator-file", self.password(content))
            self.assertEqual(options["operators"], passwords)
        self.assertEqual(self.parsed()["operators"], ())

    def test_a_bad_file_of_operators_is_refused_with_its_line(self) -> None:
        for content, why in [
            (b"\n", "has no password in it"),
            (b"one\nOFF\n", "line 2: a password has 1 to 256 bytes, and is not `off`"),
            (b"Alice:\n", "line 1: a password"),
            (b"x" * 257, "line 1: a password"),
            (b"one\n\n/x:two\n", "line 3: what is before the first : must be the name of a member"),
            (b"\xff:two\n", "line 1: what is before"),
        ]:
            arguments = ["--tcp", "0", "--operator-file", self.password(content)]
            self.assertIn(why, str(self.assertRaises(SystemExit, Options().parseOptions, arguments).code))
        arguments = ["--operator-file", self.password(b"secret\n")]
        self.assertIn("--tcp", str(self.assertRaises(SystemExit, Options().parseOptions, arguments).code))

    def test_networks_whose_datagrams_are_accepted(self) -> None:
        password = ["--tcp", "0", "--password-file", self.password(b"secret\n")]
        self.assertEqual(self.parsed()["udp-networks"], EVERYWHERE)
        self.assertEqual(self.parsed(*password)["udp-networks"], ())
        for arguments in ([], password):
            networks = self.parsed(*arguments, "--allow-udp", "10.0.0.0/8, ::1/128,192.0.2.1")["udp-networks"]
            self.assertEqual([str(network) for network in networks], ["10.0.0.0/8", "::1/128", "192.0.2.1/32"])

    def test_the_process_refuses_it_in_one_line_too(self) -> None:
        result = twistd("--nodaemon", "groupchat", "--port", "70000")
        self.assertEqual(result.returncode, 1)
        self.assertEqual(
            result.stderr.splitlines(),
            [
                "twistd groupchat: --port must be a whole number from 0 to 65535, not '70000'. "
                "(twistd groupchat --help lists the options)"
            ],
        )

    def test_version_and_help(self) -> None:
        self.assertEqual(twistd("groupchat", "--version").stdout, f"groupchat {__version__}\n")
        shown = twistd("groupchat", "--help").stdout
        for title, options in GROUPS.items():
            self.assertIn(f"\n{title}:\n", shown)
            for option in options:
                self.assertRegex(shown, rf" --{option.name}\b")
        for name in RENAMED:
            self.assertNotRegex(shown, rf"--{name}[ \n]")

    def test_older_names_of_options_are_accepted(self) -> None:
        for older, name in RENAMED.items():
            value = "10.0.0.0/8" if name in ("allow-udp", "trust-proxy") else "7"
            for arguments in ([f"--{older}", value], [f"--{older}={value}"]):
                self.assertEqual(str(self.parsed(*arguments)[name]), value, older)


class PortInUseTests(TestCase):
    def occupied(self, host: str) -> int:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        holder = socket.socket(family, socket.SOCK_DGRAM)
        self.addCleanup(holder.close)
        holder.bind((host, 0))
        return int(holder.getsockname()[1])

    def test_a_udp_port_in_use_is_refused_in_one_line(self) -> None:
        port = self.occupied("0.0.0.0")
        result = twistd("--nodaemon", "groupchat", "--port", str(port))
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        self.assertRegex(
            result.stderr,
            rf"\Atwistd groupchat: cannot listen on UDP 0\.0\.0\.0:{port}: Address already in use\. .+\n\Z",
        )

    def test_it_is_refused_before_the_fork(self) -> None:
        port = self.occupied("127.0.0.1")
        result = twistd("groupchat", "--port", str(port), "--interface", "127.0.0.1")
        self.assertEqual((result.returncode, len(result.stderr.splitlines())), (1, 1))

    def test_a_tcp_port_in_use_is_refused(self) -> None:
        with socket.create_server(("0.0.0.0", 0)) as holder:
            port = holder.getsockname()[1]
            for interface in ([], ["--interface", "127.0.0.1"]):
                result = twistd("--nodaemon", "groupchat", "--port", "0", "--tcp", str(port), *interface)
                self.assertEqual((result.returncode, result.stdout), (1, ""))
                self.assertRegex(
                    result.stderr,
                    rf"\Atwistd groupchat: cannot listen on TCP port {port}: Address already in use.+\n\Z",
                )

    def test_an_address_of_another_machine_is_refused(self) -> None:
        result = twistd("--nodaemon", "groupchat", "--interface", "192.0.2.1")
        self.assertEqual((result.returncode, len(result.stderr.splitlines())), (1, 1))
        self.assertIn("192.0.2.1:12345", result.stderr)


class EndpointTests(TestCase):
    def test_a_bad_endpoint_is_refused_in_one_line(self) -> None:
        for where in [
            "http",
            "",
            "-1",
            "tcp:",
            "tcp:http",
            "nonsense:1",
            "ssl:0:privateKey=/no/such/key.pem:certKey=/no/such/certificate.pem",
        ]:
            options = Options()
            options.parseOptions(["--port", "0", "--tcp", where])
            why = str(self.assertRaises(SystemExit, makeService, options).code)
            self.assertRegex(why, rf"\Atwistd groupchat: --tcp {re.escape(where)}: [^\n]+\Z")

    def test_the_process_refuses_it_in_one_line_too(self) -> None:
        for where, words in [("70000", "whole number from 0 to 65535"), ("nonsense:1", "Unknown endpoint type")]:
            result = twistd("--nodaemon", "groupchat", "--port", "0", "--tcp", where)
            self.assertEqual((result.returncode, result.stdout, len(result.stderr.splitlines())), (1, "", 1), result)
            self.assertIn(words, result.stderr)


class BackgroundTests(TestCase):
    def test_a_daemon_with_pid_file_and_log_file(self) -> None:
        nc = need("nc", "netcat-openbsd")
        directory = Path(tempfile.mkdtemp(prefix="groupchat-daemon-"))
        self.addCleanup(shutil.rmtree, directory)
        started = subprocess.run(
            [*TWISTD, "groupchat", "--port", "0", "--interface", "127.0.0.1"],
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual((started.returncode, started.stdout, started.stderr), (0, "", ""))
        pid = (directory / "twistd.pid").read_text()
        log = self.waited_for(directory / "twistd.log", "is open on UDP port")
        self.addCleanup(self.end, int(pid))
        port = log.split("is open on UDP port ")[1].split()[0]
        for request, reply in [("1 Alice", ""), ("5", "Illegal message")]:
            # -w ends netcat after a second of silence; each netcat has a port of its own.
            said = subprocess.run(
                [nc, "-u", "-w", "1", "127.0.0.1", port],
                input=request + "\n",
                capture_output=True,
                text=True,
                timeout=30,
                check=True,
            )
            self.assertEqual(said.stdout, reply)
        os.kill(int(pid), signal.SIGTERM)
        log = self.waited_for(directory / "twistd.log", "Server Shut Down.")
        self.assertIn("2 datagrams in, 1 replies, 1 refused, 0 dropped", log)
        self.assertIn("lobby closes: 1 members, 1 lines", log)
        self.assertNotIn("Traceback", log)
        self.assertFalse((directory / "twistd.pid").exists())

    def waited_for(self, path: Path, text: str) -> str:
        """Wait until a file contains `text`, and return its content."""
        content = ""
        for _ in range(200):
            content = path.read_text() if path.exists() else ""
            if text in content:
                return content
            time.sleep(0.05)
        raise AssertionError(f"{text!r} is not in {path}: {content}")

    def end(self, pid: int) -> None:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return


class ServiceTests(TestCase):
    def test_the_services_that_options_start(self) -> None:
        options = Options()
        options.parseOptions(["--port", "0", "--name", "friends"])
        children = [type(child).__name__ for child in makeService(options)]  # type: ignore[attr-defined]
        self.assertEqual(children, ["LastProblem", "GroupService", "ControlService", "UDPService", "Systemd"])
        options = Options()
        options.parseOptions(["--port", "0", "--tcp", "0", "--tcp", "tcp:0", "--max-connections", "1"])
        children = [type(child).__name__ for child in makeService(options)]  # type: ignore[attr-defined]
        self.assertEqual(children[-3:], ["UDPService", "StreamService", "Systemd"])

    def test_arguments_that_are_no_options_are_refused(self) -> None:
        self.assertRaises(usage.UsageError, Options().parseArgs, "x")

    def test_services_start_in_order_and_stop_in_reverse(self) -> None:
        order: list[str] = []

        class Part(InOrder):
            def __init__(self, name: str) -> None:
                super().__init__([], lambda: None)
                self.name = name

            def startService(self) -> Deferred[None]:
                order.append(f"start {self.name}")
                return succeed(None)

            def stopService(self) -> Deferred[None]:
                order.append(f"stop {self.name}")
                return succeed(None)

        whole = InOrder([Part("log"), Part("port")], lambda: None, lambda: order.append("all run"))
        whole.startService()
        whole.stopService()
        self.assertEqual(order, ["start log", "start port", "all run", "stop port", "stop log"])

    def test_a_service_that_cannot_start_ends_the_daemon(self) -> None:
        failed: list[bool] = []

        class Broken(InOrder):
            def startService(self) -> Deferred[None]:
                raise OSError("no")

        started: list[bool] = []

        class Next(InOrder):
            def startService(self) -> Deferred[None]:
                started.append(True)
                return succeed(None)

        whole = InOrder([Broken([], lambda: None), Next([], lambda: None)], lambda: failed.append(True))
        whole.startService()
        self.assertEqual((failed, started), ([True], []))
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_an_exception_in_apply_ends_the_daemon_with_status_1(self) -> None:
        script = (
            "import sys; from groupchat.core.group import Group; Group.apply = lambda self, event: 1 / 0\n"
            "from twisted.scripts.twistd import run; run()"
        )
        daemon = Daemon(twistd=[sys.executable, "-c", script])
        self.addCleanup(daemon.stop)
        member = UDPMember(daemon.port)
        self.addCleanup(member.close)
        member.send("1 Alice")
        self.assertEqual(daemon.process.wait(20), 1)
        self.assertIn("ZeroDivisionError", daemon.stop())


class WaysInTests(TestCase):
    def test_each_door_is_a_command_to_copy(self) -> None:
        doors = [
            Door("https", "192.0.2.7", 443),
            Door("tcp", "::1", 12345),
            Door("tls", "192.0.2.7", 12346),
            Door("quic", "192.0.2.7", 1),
            Door("udp", "192.0.2.7", 1),
        ]
        self.patch(sys, "argv", ["/nowhere/twistd"])
        self.assertEqual(
            ways_in("friends", doors).splitlines(),
            [
                "friends is open. Ways to join:",
                "  browser  https://192.0.2.7:443",
                "  HTTP     curl -d 'hello' 'https://192.0.2.7:443/messages?name=NAME'",
                "  client   groupchat tcp://[::1]:12345 --name NAME",
                "  telnet   telnet ::1 12345    or: nc -N ::1 12345",
                "  TLS      groupchat tls://192.0.2.7:12346 --name NAME",
                "  QUIC     groupchat quic://192.0.2.7:1 --name NAME",
                "  UDP      socat - UDP-DATAGRAM:192.0.2.7:1    then type: 1 NAME",
            ],
        )

    def test_the_client_is_named_as_it_can_be_typed(self) -> None:
        directory = Path(tempfile.mkdtemp(prefix="groupchat-client-")).resolve()
        self.addCleanup(shutil.rmtree, directory)
        (directory / "bin").mkdir()
        (directory / "bin" / "groupchat").touch()
        self.patch(sys, "argv", [str(directory / "bin" / "twistd")])
        self.addCleanup(os.chdir, Path.cwd())
        os.chdir(directory)
        self.assertIn(" bin/groupchat tcp://", ways_in("friends", [Door("tcp", "192.0.2.7", 1)]))
        os.chdir(directory / "bin")
        self.assertIn(" ./groupchat tcp://", ways_in("friends", [Door("tcp", "192.0.2.7", 1)]))

    def test_every_address_becomes_one_that_others_can_reach(self) -> None:
        line = ways_in("friends", [Door("tcp", "", 7)]).splitlines()[1]
        host = re.search(r"tcp://(\S+):7 ", line)
        assert host is not None
        self.assertNotIn(host[1], ("", "0.0.0.0", "::", "HOST"))


@slow  # it downloads what the wheel needs
class WheelTests(TestCase):
    def test_daemon_and_client_from_an_installed_wheel(self) -> None:
        directory = Path(tempfile.mkdtemp(prefix="groupchat-wheel-"))
        self.addCleanup(shutil.rmtree, directory)
        built = self.run_pip([sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", str(directory), str(ROOT)])
        if built.returncode:
            unavailable(f"pip could not build the wheel, which takes setuptools from a package index: {built.stderr}")
        venv.create(directory / "venv", with_pip=True)
        binaries = directory / "venv" / "bin"
        (wheel,) = directory.glob("groupchat-*.whl")
        installed = self.run_pip([str(binaries / "python"), "-m", "pip", "install", str(wheel)])
        if installed.returncode:
            unavailable(f"pip could not install what the wheel needs: {installed.stderr}")
        daemon = Daemon(twistd=[str(binaries / "twistd")])
        self.addCleanup(daemon.stop)
        client = subprocess.run(
            [str(binaries / "groupchat"), "127.0.0.1", str(daemon.port)],
            input="1 Alice\n2 hi\n4\n",
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual((client.returncode, client.stdout), (0, "close\n"), client.stderr)

    def run_pip(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
