"""An upgrade from the wheel of the last release to that of this tree, in the middle of a conversation, and back."""

from __future__ import annotations

import atexit
import http.client
import json
import shutil
import sqlite3
import tempfile
from contextlib import closing
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SkipTest, TestCase

from groupchat.log.tables import VERSION
from tests.daemon import SECONDS, Daemon, DaemonTestCase, UDPMember
from tests.sessions import Session
from tests.slow import slow
from tests.test_page import BrowserTestCase
from tests.test_web_daemon import Script, Stream
from tests.wheels import Environment, build, released_tree, this_tree


class Browser(Script):
    """A browser, as far as the server sees one: a cookie instead of a key."""

    def __init__(self, port: int) -> None:
        super().__init__(port, key="")
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)) as connection:
            connection.request("GET", "/me", headers={"Sec-Fetch-Site": "same-origin"})
            cookie = connection.getresponse().headers["Set-Cookie"]
        self.headers = {"Cookie": cookie.partition(";")[0], "Sec-Fetch-Site": "same-origin"}


@cache
def wheels() -> tuple[Path, Path]:
    """Return the wheels of the last release and of this tree, which are built once."""
    directory = tempfile.TemporaryDirectory(prefix="groupchat-test-wheels-")
    atexit.register(directory.cleanup)
    here = Path(directory.name)
    for name, tree in (("old", released_tree), ("new", this_tree)):
        (here / name).mkdir()
        tree(here / name)
    return build(here / "old", here / "old-wheel"), build(here / "new", here / "new-wheel")


class WheelsTestCase(TestCase):
    """A test with both wheels, the older of which is installed."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="groupchat-test-environment-")
        self.addCleanup(directory.cleanup)
        self.old, self.new = wheels()
        self.environment = Environment(Path(directory.name))
        self.environment.install(self.old)


@slow
class UpgradeTests(WheelsTestCase, DaemonTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.directory = tempfile.TemporaryDirectory(prefix="groupchat-test-")
        self.addCleanup(self.directory.cleanup)
        self.file = Path(self.directory.name, "groupchat.sqlite")
        self.daemon = self.start_daemon("--port", "0", "--tcp", "0", "--web", "0")

    def start_daemon(self, *options: str) -> Daemon:
        more = ("--quic", "--files", "shared", "--interface", "127.0.0.1")
        daemon = Daemon(*options, *more, twistd=self.environment.twistd, directory=self.directory)
        self.addCleanup(daemon.stop)
        return daemon

    def restart(self) -> None:
        """Start what is installed now on the ports of the daemon that was stopped."""
        ports = {"--port": self.daemon.port, "--tcp": self.daemon.tcp[0], "--web": self.daemon.web[0]}
        self.daemon = self.start_daemon(*(str(word) for option in ports.items() for word in option))

    def format(self, file: Path) -> int:
        with closing(sqlite3.connect(file)) as connection:
            return int(connection.execute("PRAGMA user_version").fetchone()[0])

    def udp(self, name: str) -> UDPMember:
        member = self.member(self.daemon)
        member.ask(f"1 {name}")
        return member

    def upgrade(self) -> None:
        """Install the newer version while the older one runs, and restart."""
        self.environment.install(self.new)
        self.daemon.stop()
        self.restart()

    def test_a_conversation_goes_on_after_the_upgrade(self) -> None:
        alice, bob = self.udp("Alice"), self.udp("Bob")
        robot = Session(self.daemon.tcp[0], "Robot")
        self.addCleanup(robot.close)
        robot.connect()
        robot.ask("one")
        robot.settle()
        page = Browser(self.daemon.web[0])
        page.join("Page")
        page.say("two", 1)
        before = page.events()
        self.addCleanup(before.close)
        self.assertEqual(alice.ask("5").splitlines()[-3:], ["Robot: one", "Page has joined", "Page: two"])
        bob.ask("2 three")
        self.assertEqual(self.texts(before, "three")[-1:], ["three"])
        old_format = self.format(self.file)

        self.environment.install(self.new)  # while the older daemon runs
        bob.ask("2 four")
        robot.read_until(lambda: "Bob: four" in robot.lines())
        self.assertEqual(self.texts(before, "four"), ["four"])
        robot.ask("five")  # perhaps it is not answered before the stop
        self.daemon.stop()
        while robot.is_connected:
            robot.read()
        robot.ask("six")
        self.restart()
        self.assertEqual(self.format(self.file), VERSION)
        if old_format != VERSION:
            self.assertEqual(self.format(self.copy(old_format)), old_format)

        robot.connect()
        robot.settle()
        page.say("seven", 2)
        page.say("seven", 2)  # as a page does that got no answer
        after = page.events(before.last)
        self.addCleanup(after.close)
        self.assertEqual(self.texts(after, "seven"), ["five", "six", "seven"])
        said = ["Bob: three", "Bob: four", "Robot: five", "Robot: six", "Page: seven"]
        self.assertEqual(alice.ask("5").splitlines(), said)
        self.assertEqual(bob.ask("2 eight").splitlines()[-3:], said[-3:])
        robot.read_until(lambda: "Bob: eight" in robot.lines())
        self.assertEqual(robot.lines()[-4:], ["Bob: three", "Bob: four", "Page: seven", "Bob: eight"])

    def test_a_downgrade_needs_the_copy_of_the_older_file(self) -> None:
        alice, bob = self.udp("Alice"), self.udp("Bob")
        bob.ask("2 before")
        old_format = self.format(self.file)
        if old_format == VERSION:
            raise SkipTest("the last release uses the same format of the file")
        self.upgrade()
        bob.ask("2 after")
        self.daemon.stop()
        self.environment.install(self.old)
        refused = self.environment.run("-c", START.format(str(self.file)))
        self.assertEqual(refused.returncode, 1)
        self.assertIn("newer", refused.stdout + refused.stderr)
        shutil.copy(self.copy(old_format), self.file)
        self.restart()
        self.assertEqual(alice.ask("5"), "Bob has joined\nBob: before")

    def check_the_client_of(self, client: Environment) -> None:
        """Say a text over each transport, share a file, and fetch it."""
        alice = self.udp("Alice")
        places = [f"{scheme}://127.0.0.1:{self.daemon.port}" for scheme in ("udp", "quic")]
        heard = []
        for url in [*places, f"tcp://127.0.0.1:{self.daemon.tcp[0]}"]:
            trust = ["--trust-new"] if url.startswith("quic") else []
            said = client.run("-m", "groupchat", url, "--name", "Carol", *trust, given=f"over {url[:4]}\n")
            self.assertEqual(said.returncode, 0, said.stderr)
            heard += ["Carol has joined", f"Carol: over {url[:4]}", "Carol has left the group"]
        self.assertEqual(alice.ask("5").splitlines(), heard)
        files = Path(self.directory.name, "sent.txt"), Path(self.directory.name, "fetched.txt")
        files[0].write_text("content")
        for words in (
            ["send", places[1], str(files[0]), "--name", "Dora"],
            ["get", places[1], "sent.txt", str(files[1])],
        ):
            done = client.run("-m", "groupchat", *words, "--trust-new")
            self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(files[1].read_text(), "content")

    def test_an_older_client_works_with_a_newer_daemon(self) -> None:
        older = Environment(Path(self.directory.name, "older"))
        older.install(self.old)
        self.upgrade()
        self.check_the_client_of(older)

    def test_a_newer_client_works_with_an_older_daemon(self) -> None:
        newer = Environment(Path(self.directory.name, "newer"))
        newer.install(self.new)
        self.check_the_client_of(newer)

    def copy(self, version: int) -> Path:
        return self.file.with_name(f"{self.file.name}.v{version}")

    def texts(self, stream: Stream, last: str) -> list[str]:
        """Return the texts that a stream brings, up to the last of them."""
        found: list[str] = []
        while last not in found:
            found += [line["text"] for line in stream.lines(1) if line["kind"] == "said"]
        return found


START = """
import sys
from twisted.scripts.twistd import run
sys.argv[1:] = ["--nodaemon", "--pidfile=", "groupchat", "--port", "0", "--db", {!r}]
run()
"""


@slow
class PageUpgradeTests(WheelsTestCase, BrowserTestCase):
    def test_a_page_of_the_older_version_goes_on(self) -> None:
        upgrade = json.dumps(self.environment.installer(self.new))
        self.run_in_browser("upgrade.mjs", PYTHON=self.environment.python[0], PYTHONPATH="", UPGRADE=upgrade)
