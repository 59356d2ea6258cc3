"""The configuration file, and settings that change while the daemon runs: over the control socket and by SIGHUP."""

from __future__ import annotations

import json
import shutil
import signal
import ssl
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase, TestCase

from groupchat.daemon.config_file import MAX_SIZE
from groupchat.daemon.options import GROUPS, NEEDS_RESTART, Options
from tests.certificates import make_certificate
from tests.daemon import SECONDS, Daemon, LineMember, UDPMember
from tests.test_admin import ADMIN, Result, run

ILLEGAL = "Illegal message"
INSIDE = 403
"""The status for who has the password, and has not joined."""


class FileCase(SynchronousTestCase):
    """A test with a configuration file."""

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="groupchat-settings-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.file = self.directory / "groupchat.toml"

    def parsed(self, content: str | bytes, *arguments: str, **chosen: str) -> Options:
        self.file.write_bytes(content.encode() if isinstance(content, str) else content)
        options = Options()
        options.parse(["--config", str(self.file), *arguments], chosen)
        return options

    def wrong(self, content: str | bytes, *arguments: str) -> str:
        """Return what is wrong with a file, which is one line."""
        why = str(self.assertRaises(UsageError, self.parsed, content, *arguments))
        self.assertNotIn("\n", why)
        self.assertLess(len(why), 300)
        return why.removeprefix(f"{self.file}")


class FileTests(FileCase):
    def test_every_option_has_its_own_name(self) -> None:
        values: dict[str, Any] = {
            "port": 1,
            "interface": "127.0.0.1",
            "tcp": [12345, "tcp:2"],
            "web": "8080",
            "quic": True,
            "log-json": True,
            "certificate": "key.pem",
            "web-host": ["a.example", "b.example"],
            "allow-udp": ["10.0.0.0/8", "::1/128"],
            "trust-proxy": "127.0.0.1/32",
            "reserved-names": ["root", "Boss"],
            "name": "friends",
            "db": "a file",
            "durability": "normal",
            "control": "socket",
            "control-group": "wheel",
            "files": "shared",
        }
        numbers = Options()
        numbers.parse([], {})
        values |= {name: 7 for name, value in numbers.items() if type(value) is int and name not in values}
        values["max-reply"] = 100
        options = self.parsed("".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items()))
        found = {**options, "tcp": [12345, "tcp:2"], "web": "8080", "allow-udp": ["10.0.0.0/8", "::1/128"]}
        found["reserved-names"] = ["root", "Boss"]
        self.assertEqual({name: found[name] for name in values}, {**values, "quic": 1, "log-json": 1})
        self.assertEqual(options["tcp"], ["12345", "tcp:2"])
        self.assertEqual([str(network) for network in options["udp-networks"]], ["10.0.0.0/8", "::1/128"])
        self.assertEqual(options["reserved"], ("root", "boss"))
        listed = {option.name for options in GROUPS.values() for option in options}
        self.assertEqual(listed - set(values), {"password-file", "operator-file", "config"})

    def test_the_command_line_wins(self) -> None:
        content = 'rate = 7\nname = "friends"\ntcp = [1, 2]\nport = 3\n'
        for arguments in (["--rate", "8", "--tcp=4", "-p5"], ["--rat=8", "--tcp", "4", "--port=5"]):
            options = self.parsed(content, *arguments)
            found = [options[name] for name in ("rate", "name", "tcp", "port")]
            self.assertEqual(found, [8, "friends", ["4"], 5])
            self.assertEqual(options.sources["rate"], "command line")
            self.assertEqual(options.sources["name"], f"{self.file}, line 2")
            self.assertNotIn("hold", options.sources)

    def test_older_names_on_the_command_line_win_as_well(self) -> None:
        self.assertEqual(self.parsed("keep-lines = 7\n", "--keep", "8")["keep-lines"], 8)

    def test_what_is_set_wins_over_both(self) -> None:
        options = self.parsed('rate = 7\nweb-host = ["a"]\n', "--rate", "8", **{"rate": "9", "web-host": "b,c"})
        self.assertEqual((options["rate"], options["web-host"]), (9, ["b", "c"]))

    def test_unknown_keys_and_wrong_types_name_the_line(self) -> None:
        for content, line, words in [
            ("rat = 1\n", 1, "there is no setting 'rat'"),
            ("config = 'x'\n", 1, "there is no setting 'config'"),
            ("# rate = 1\n\nrate = '1'\n", 3, "rate must be a whole number."),
            ("rate = true\n", 1, "rate must be a whole number."),
            ("rate = 1.5\n", 1, "rate must be a whole number."),
            ("quic = 1\n", 1, "quic must be true or false."),
            ("name = 1\n", 1, "name must be a string."),
            ("name = 'a'\ntcp = [\n 1,\n true\n]\n", 2, "tcp must be a port, a string, or an array of these."),
            ("[rate]\nx = 1\n", 1, "rate must be a whole number."),
            ("hold = 1\n\n[group]\nname = 'a'\n", 3, "there is no setting 'group'"),
            ("web-host = [1]\n", 1, "web-host must be a string, or an array of strings."),
            ("allow-udp = [['10.0.0.0/8']]\n", 1, "allow-udp must be a string, or an array"),
            ('db = "a\\u0000b"\n', 1, "db has a control character in it."),
            ('db = "a\\nb"\n', 1, "db has a control character in it."),
        ]:
            self.assertIn(f", line {line}: {words}", self.wrong(content))

    def test_wrong_values_name_the_line(self) -> None:
        for content, line, words in [
            ("\nrate = -1\n", 2, "rate must be a whole number from 0 to"),
            ("tcp = 70000\n", 1, "tcp must be a whole number from 0 to 65535"),
            ("name = 'a'\ndurability = 'some'\n", 2, "durability must be full or normal"),
            ("allow-udp = ['10.0.0.0/8', 'x']\n", 1, "allow-udp must be networks"),
            ("tcp = 0\npassword-file = '/nonexistent'\n", 2, "password-file /nonexistent cannot be read"),
            ("\n\npassword-file = 'x'\n", 3, "password-file needs --tcp"),
            ("web-host = 'a:b'\n", 1, "web-host must be the name of a host"),
        ]:
            self.assertIn(f", line {line}: {words}", self.wrong(content))

    def test_wrong_toml_names_the_line(self) -> None:
        for content, line in [
            (b"rate = 1\nrate = 2\n", 2),
            (b"rate 1\n", 1),
            (b"\n\n= 1", 3),
            (b"a = [1,", 1),
            (b"\nname = 'x\n", 2),
            (b"name = 'a'\nrate = \xff\n", 2),
            (b"\nrate = " + b"9" * 5000, 2),
            (b"\nrate = 0x" + b"f" * 5000, 2),
            (b"\nrate = " + b"[" * 5000, 2),
            (b"rate = 1979-13-40\n", 1),
        ]:
            self.assertIn(f", line {line}: ", self.wrong(content))

    def test_other_files_are_refused(self) -> None:
        for path, words in [
            (self.directory, "Is a directory"),
            ("/dev/zero", "is no regular file"),
            ("/no", "No such"),
        ]:
            why = self.assertRaises(UsageError, Options().parse, ["--config", str(path)], {})
            self.assertIn(words, str(why))
        self.assertIn("has more than", self.wrong("#" * (MAX_SIZE + 1)))

    def test_the_process_says_it_in_one_line(self) -> None:
        self.file.write_text("rat = 1\n")
        why = self.assertRaises(SystemExit, Options().parseOptions, ["--config", str(self.file)]).code
        self.assertEqual(
            why,
            f"twistd groupchat: {self.file}, line 1: there is no setting 'rat'. "
            "(twistd groupchat --help lists the options)",
        )

    def test_a_file_that_may_no_longer_be_read_stays_as_it_was(self) -> None:
        secret = self.directory / "secret"
        secret.write_text("sesame\n")
        before = self.parsed("tcp = 0\n", "--password-file", str(secret))
        again, other = Options(before), Options(before)
        with patch("groupchat.daemon.options._password", side_effect=PermissionError(13, "Permission denied")):
            again.parse(before.arguments, {})
            self.assertRaises(UsageError, other.parse, before.arguments, {"password-file": "other"})
        self.assertEqual((again["password"], again.unreadable), (b"sesame", ["password-file"]))

    def test_paths_of_a_reload_count_from_the_first_directory(self) -> None:
        before = self.parsed("tcp = 0\n")
        options = Options(before)
        self.assertEqual(options.path("key.pem"), Path.cwd() / "key.pem")
        where = "ssl:0:privateKey=key.pem:certKey=/etc/cert.pem:extraCertChain=b\\:c.pem"
        options.directory = "/a:b"
        expected = "ssl:0:privateKey=/a\\:b/key.pem:certKey=/etc/cert.pem:extraCertChain=/a\\:b/b\\:c.pem"
        self.assertEqual(options.endpoint(where), expected)


class SettingsCase(TestCase):
    """A test with a daemon that has a configuration file, `content` at first."""

    content = "rate = 7\n"
    options: tuple[str, ...] = ("--tcp", "0")

    def setUp(self) -> None:
        own = tempfile.TemporaryDirectory(prefix="groupchat-settings-")
        self.addCleanup(own.cleanup)
        self.directory = Path(own.name)
        self.file = self.directory / "groupchat.toml"
        self.file.write_text(self.content)
        self.prepare()
        self.daemon = Daemon("--config", "groupchat.toml", *self.options, directory=own)
        self.addCleanup(self.daemon.stop)

    def prepare(self) -> None:
        """Make what the daemon needs."""

    def admin(self, *arguments: str | Path, status: int = 0) -> Result:
        result = run("--db", self.directory / "groupchat.sqlite", *arguments)
        self.assertEqual(result.returncode, status, result)
        return result

    def refused(self, *arguments: str | Path) -> str:
        """Return why a command is refused."""
        return self.admin(*arguments, status=1).stderr.splitlines()[-1].removeprefix("groupchat-admin: ")

    def said(self, *arguments: str | Path) -> list[str]:
        """Return what a command prints."""
        return self.admin(*arguments).stdout.splitlines()

    def config(self) -> dict[str, tuple[str, str]]:
        """Return the values in force, and where they come from."""
        items = [json.loads(line) for line in self.said("config", "--json")]
        return {item["name"]: (item["value"], item["source"]) for item in items}

    def reload(self, content: str) -> list[str]:
        self.file.write_text(content)
        return self.said("reload")

    def audited(self, did: str) -> list[dict[str, Any]]:
        records = map(json.loads, self.said("audit", "--json"))
        return [record for record in records if record["did"] == did]

    def polling(self, name: str) -> UDPMember:
        member = UDPMember(self.daemon.port)
        self.addCleanup(member.close)
        self.assertNotEqual(member.ask(f"1 {name}"), ILLEGAL)
        return member

    def wait(self, done: Callable[[], bool]) -> None:
        until = time.monotonic() + SECONDS
        while not done():
            self.assertLess(time.monotonic(), until, self.daemon.output)
            time.sleep(0.02)


class ReloadTests(SettingsCase):
    def test_config_says_where_each_value_comes_from(self) -> None:
        self.admin("set", "hold=10")
        self.admin("set", "keep-lines=500")
        found = self.config()
        for name, value, source in [
            ("rate", "7", f"{self.file.name}, line 1"),
            ("tcp", "0", "command line"),
            ("release", "60", "default"),
            ("hold", "10", "set"),
            ("keep-lines", "500", "fact"),
            ("post", "everybody", "default"),
            ("quic", "false", "default"),
        ]:
            self.assertEqual((found[name][0], found[name][1].split("/")[-1]), (value, source), name)
        self.assertIn("rate", self.admin("config").stdout)

    def test_a_reload_says_what_changed_and_what_needs_a_restart(self) -> None:
        self.assertEqual(self.said("reload"), ["Nothing is new."])
        said = self.reload('rate = 9\nhold = 11\ndurability = "normal"\n')
        self.assertEqual(
            said,
            [
                "durability needs a restart: it would be normal, and is full.",
                "rate is 9 now; it was 7.",
                "hold is 11 now; it was 300.",
            ],
        )
        self.assertEqual(self.config()["durability"], ("full", "default"))
        self.assertEqual(self.said("reload"), said[:1])
        self.assertEqual([record["changed"] for record in self.audited("reload")], [[], ["rate", "hold"], []])

    def test_a_bad_file_changes_nothing_and_the_answer_says_why(self) -> None:
        before = self.config()
        for content, words in [
            ("rate = 1\nhold = -1\n", "line 2: hold must be a whole number"),
            ("rate = 1\nx = 1\n", "line 2: there is no setting 'x'"),
            ("rate = 1\npassword-file = '/nonexistent'\n", "line 2: password-file /nonexistent cannot be read"),
            ("rate = 1\nquic = true\ncertificate = 1\n", "line 3: certificate must be a string"),
        ]:
            self.file.write_text(content)
            why = self.refused("reload")
            self.assertIn(words, why)
            self.assertTrue(why.startswith("Nothing is changed: "))
            self.assertEqual(self.config(), before)
        self.file.unlink()
        self.assertIn("No such file", self.refused("reload"))
        self.assertEqual(self.config(), before)

    def test_sighup_reloads_and_the_log_says_what_came_of_it(self) -> None:
        self.file.write_text("rate = 9\n")
        self.daemon.process.send_signal(signal.SIGHUP)
        self.wait(lambda: "Reloaded: rate is 9 now; it was 7." in self.daemon.output)
        self.file.write_text("rate = 9\nx = 1\n")
        self.daemon.process.send_signal(signal.SIGHUP)
        self.wait(lambda: "line 2: there is no setting 'x'" in self.daemon.output)
        self.assertIn("The settings stay as they are", self.daemon.output)
        self.assertEqual(self.config()["rate"][0], "9")
        self.assertNotIn("Traceback", self.daemon.output)

    def test_sigusr1_reloads_nothing(self) -> None:
        self.file.write_text("rate = 9\n")
        self.daemon.process.send_signal(signal.SIGUSR1)
        self.wait(lambda: "no log file to reopen" in self.daemon.output)
        self.assertEqual(self.config()["rate"][0], "7")

    def test_a_value_in_the_file_does_not_change_the_command_line(self) -> None:
        self.assertEqual(self.reload("rate = 7\ntcp = [1, 2]\n"), ["Nothing is new."])


class SetTests(SettingsCase):
    def test_a_value_holds_until_the_restart_and_over_reloads(self) -> None:
        self.assertEqual(self.said("set", "rate=10"), ["rate is 10 now; it was 7."])
        self.assertEqual(self.reload("rate = 9\n"), ["Nothing is new."])
        self.assertEqual(self.config()["rate"], ("10", "set"))
        self.assertEqual(self.said("set", "rate="), ["rate is 9 now; it was 10."])
        self.admin("set", "rate=10")
        self.daemon.kill()
        again = self.daemon.again("--config", "groupchat.toml")
        self.addCleanup(again.stop)
        self.assertEqual(self.config()["rate"][0], "9")
        self.assertEqual([(r["name"], r["text"]) for r in self.audited("set")][:2], [("rate", "10"), ("rate", "")])

    def test_a_rate_holds_for_members_that_are_there(self) -> None:
        bob = self.polling("Bob")
        self.admin("set", "rate=0")
        self.assertNotIn(ILLEGAL, [bob.ask(f"2 {number}") for number in range(150)])
        self.admin("set", "rate=1")
        self.assertIn(ILLEGAL, [bob.ask(f"2 {number}") for number in range(150)])

    def test_networks_hold_for_members_that_are_there(self) -> None:
        bob = self.polling("Bob")
        self.admin("set", "allow-udp=10.0.0.0/8")
        self.assertEqual(bob.ask("2 hi"), ILLEGAL)
        self.admin("set", "allow-udp=127.0.0.0/8")
        self.assertEqual(bob.ask("2 hi"), "")

    def test_a_longest_reply_holds_at_once(self) -> None:
        bob, alice = self.polling("Bob"), self.polling("Alice")
        bob.ask("5")
        for number in range(4):
            alice.ask(f"2 text {number}")
        self.admin("set", "max-reply=20")
        self.assertEqual(bob.ask("5"), "Alice: text 0")

    def test_facts_hold_after_a_restart(self) -> None:
        self.admin("set", "max-members=1")
        self.polling("Bob")
        self.daemon.kill()
        self.daemon = self.daemon.again("--max-members", "100", "--tcp", "0")
        self.addCleanup(self.daemon.stop)
        self.assertEqual(self.config()["max-members"], ("1", "fact"))
        member = LineMember(self.daemon.tcp[0])
        self.addCleanup(member.close)
        member.send("Alice")
        member.receive_until("The group is full.")
        self.admin("set", "max-members=")
        member.join("Alice")

    def test_a_reload_says_that_a_fact_wins(self) -> None:
        self.admin("set", "keep-lines=500")
        said = self.reload("rate = 7\nkeep-lines = 9\n")
        self.assertEqual(said, ["keep-lines is 500 as a fact of the group, which wins over 9."])
        self.admin("set", "keep-lines=")
        self.assertEqual(self.config()["keep-lines"][0], "9")

    def test_what_cannot_be_set_is_refused_with_the_reason(self) -> None:
        for setting, words in [
            ("rate=x", "rate must be a whole number from 0 to 1000000000, not 'x'"),
            ("colour=red", "There is no setting colour"),
            ("max-reply=1", "max-reply must be a whole number from 15"),
            ("keep-lines=0", "keep-lines must be a whole number from 1"),
            ("password-file=/nonexistent", "password-file /nonexistent cannot be read"),
            ("web-host=a:b", "web-host must be the name of a host"),
            *((f"{name}=1", f"{name} cannot change while the daemon runs") for name in sorted(NEEDS_RESTART)),
        ]:
            self.assertIn(words, self.refused("set", setting))
        self.assertEqual(self.audited("set"), [])
        self.assertEqual(self.said("reload"), ["Nothing is new."])

    def test_without_a_daemon_only_facts_can_be_set(self) -> None:
        self.daemon.kill()
        self.assertIn("No daemon listens", self.refused("reload"))
        file = self.directory / "groupchat.sqlite"
        for arguments, status, words in [
            (("set", "keep-days=7"), 0, ""),
            (("set", "rate=1"), 1, "Only a running daemon has rate"),
            (("config",), 0, "keep-days  7      fact"),
        ]:
            result = run("--db", file, *arguments, command=list(ADMIN))
            self.assertEqual(result.returncode, status, result)
            self.assertIn(words, result.stdout + result.stderr)


class PasswordTests(SettingsCase):
    options = ("--tcp", "0", "--web", "0", "--password-file", "secret", "--operator-file", "operators")

    def prepare(self) -> None:
        self.write("secret", "sesame")
        self.write("operators", "chief")

    def write(self, name: str, content: str) -> None:
        (self.directory / name).write_text(f"{content}\n")
        (self.directory / name).chmod(0o600)

    def is_right(self, password: str) -> bool:
        member = LineMember(self.daemon.tcp[0])
        self.addCleanup(member.close)
        member.receive_until("What is the password?")
        member.send(password)
        return "your name" in member.receive_until("?")[-1]

    def http(self, password: str) -> int:
        request = Request(f"http://127.0.0.1:{self.daemon.web[0]}/members")
        request.add_header("Authorization", f"Basic {b64encode(f':{password}'.encode()).decode()}")
        try:
            with urlopen(request, timeout=SECONDS) as answer:
                return int(answer.status)
        except HTTPError as error:
            error.close()
            return error.code

    def test_a_new_password_holds_for_those_who_come(self) -> None:
        self.assertEqual([self.http("sesame"), self.http("new")], [INSIDE, 401])
        self.assertTrue(self.is_right("sesame"))
        self.write("secret", "new")
        self.assertEqual(self.said("reload"), ["password-file: what is in the file is new."])
        self.assertEqual([self.http("sesame"), self.http("new")], [401, INSIDE])
        self.assertTrue(self.is_right("new"))
        self.assertFalse(self.is_right("sesame"))

    def test_members_stay_when_the_password_changes(self) -> None:
        member = LineMember(self.daemon.tcp[0])
        self.addCleanup(member.close)
        member.send("sesame")
        member.join("Alice")
        self.write("secret", "new")
        self.admin("reload")
        member.send("/users")
        self.assertIn("Alice", member.receive_until("Alice")[-1])

    def test_new_operators_are_known_at_once(self) -> None:
        member = LineMember(self.daemon.tcp[0])
        self.addCleanup(member.close)
        member.send("sesame")
        member.join("Alice")
        self.write("operators", "boss")
        self.assertEqual(self.said("reload"), ["operator-file: what is in the file is new."])
        member.send("/operator boss")
        member.receive_until("operator")
        self.wait(lambda: any("operator" in line for line in self.said("who")[1:]))

    def test_an_empty_password_file_changes_nothing(self) -> None:
        self.write("secret", "")
        self.assertIn("must have one line in it", self.refused("reload"))
        self.assertEqual(self.http("sesame"), INSIDE)


class HostTests(SettingsCase):
    options = ("--web", "0")

    def status(self) -> int:
        request = Request(f"http://127.0.0.1:{self.daemon.web[0]}/members", headers={"Host": "chat.example.org"})
        try:
            with urlopen(request, timeout=SECONDS) as answer:
                return int(answer.status)
        except HTTPError as error:
            error.close()
            return error.code

    def test_a_name_of_the_server_is_known_at_once(self) -> None:
        self.assertEqual(self.status(), 421)
        self.reload('web-host = "chat.example.org"\n')
        self.assertEqual(self.status(), INSIDE)
        self.reload("")
        self.assertEqual(self.status(), 421)


class CertificateTests(SettingsCase):
    options = (
        *("--tcp", "ssl:0:privateKey=key.pem:certKey=cert.pem:interface=127.0.0.1"),
        *("--web", "ssl:0:privateKey=key.pem:certKey=cert.pem:interface=127.0.0.1"),
        *("--quic", "--certificate", "both.pem"),
    )

    def prepare(self) -> None:
        make_certificate(self.directory)
        content = [(self.directory / name).read_bytes() for name in ("key.pem", "cert.pem")]
        (self.directory / "both.pem").write_bytes(b"".join(content))
        (self.directory / "both.pem").chmod(0o600)

    def shown(self) -> list[str]:
        """Return the certificates that are shown over TLS, and over QUIC."""
        from cryptography.hazmat.primitives.serialization import Encoding

        from tests.quic_peer import QuicPeer

        peer = QuicPeer(self.daemon.port).connect()
        self.addCleanup(peer.socket.close)
        tls: Any = peer.core.tls
        ports = [self.daemon.tcp[0], self.daemon.web[0]]
        over_tls = [ssl.get_server_certificate(("127.0.0.1", port), timeout=SECONDS) for port in ports]
        return [*over_tls, tls._peer_certificate.public_bytes(Encoding.PEM).decode()]

    def own(self) -> list[str]:
        return [(self.directory / "cert.pem").read_text()] * 3

    def test_new_certificates_are_shown_and_connections_stay(self) -> None:
        member = LineMember(self.daemon.tcp[0], trust=str(self.directory / "cert.pem"))
        self.addCleanup(member.close)
        member.join("Alice")
        self.assertEqual(self.shown(), self.own())
        self.prepare()
        said = self.said("reload")
        self.assertEqual(said, [f"{name}: what is in the file is new." for name in ("tcp", "web", "certificate")])
        self.assertEqual(self.shown(), self.own())
        member.send("/users")
        self.assertIn("Alice", member.receive_until("Alice")[-1])
        self.assertEqual(self.said("reload"), ["Nothing is new."])

    def test_a_key_of_another_certificate_changes_nothing(self) -> None:
        own = self.own()
        other = self.directory / "other"
        other.mkdir()
        key, _ = make_certificate(other)
        shutil.copy(key, self.directory / "key.pem")
        self.file.write_text("rate = 9\n")
        self.assertIn("do not match", self.refused("reload"))
        (self.directory / "key.pem").unlink()
        self.assertIn("No such file", self.refused("reload"))
        self.assertEqual(self.config()["rate"][0], "7")
        self.assertEqual(self.shown(), own)
