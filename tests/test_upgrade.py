"""Files of older formats, as daemons left them, are upgraded."""

from __future__ import annotations

import json
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.internet.task import Clock

from groupchat.admin.restore import restore
from groupchat.core.commands import Say, SayAsGuest, Share
from groupchat.core.errors import CannotOpen
from groupchat.core.group import MANY
from groupchat.log.database import Database
from groupchat.log.tables import VERSION
from tests.connections import Connection
from tests.durable import DurableNode
from tests.test_admin import run
from tests.test_restart import ILLEGAL, Directory

if TYPE_CHECKING:
    Suite = Directory
else:
    Suite = object

FIRST_STATE = (
    '{"first":1,"head":7,"members":[[11,"Al","al",["10.0.0.1",1],5,0,1,1700000000.0],'
    '[22,"Zoë 🦊","zoë 🦊",["fe80::1%2",2],4,0,1,1700000000.0],'
    '[44,"Bob","bob",["10.0.0.1",4],7,0,0,1700000001.0]],"refused":[[8,1]]}'
)
FIRST_PLACES = (
    "0B00000000000000080000000000000002000000000000001655B00100000000"
    "2C00000000000000080000000000000000000000000000001655B00100000000"
    "1600000000000000090000000000000002000000000000001655B00100000000"
)
FIRST_VERSION = f"""
CREATE TABLE beginning (one INTEGER PRIMARY KEY CHECK (one = 1), position INTEGER NOT NULL) STRICT;
INSERT INTO beginning VALUES (1, 1);
CREATE TABLE entry (position INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE) STRICT;
INSERT INTO entry VALUES (1, 'e-1'), (2, 'e-2'), (3, 'e-3'), (4, 'e-4'), (5, 'e-5'), (6, 'e-6'), (7, 'e-7'), (8, 'e-8'),
    (9, 'e-9'), (10, 'e-10'), (11, 'e-11'), (12, 'e-12'), (13, 'e-13');
CREATE TABLE event (
    position INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    kind TEXT NOT NULL,
    at REAL NOT NULL,
    member INTEGER,
    name TEXT,
    text TEXT,
    key TEXT,
    host TEXT,
    port INTEGER,
    places BLOB,
    PRIMARY KEY (position, slot)
) STRICT, WITHOUT ROWID;
INSERT INTO event VALUES
    (1, 0, 'joined', 1700000000.0, 11, 'Alice', NULL, 'alice', '10.0.0.1', 1, NULL),
    (2, 0, 'joined', 1700000000.0, 22, 'Zoë 🦊', NULL, 'zoë 🦊', 'fe80::1%2', 2, NULL),
    (3, 0, 'joined', 1700000000.0, 33, 'Eve', NULL, 'eve', '::1', 3, NULL),
    (4, 0, 'said', 1700000000.0, 22, 'Zoë 🦊', 'one', NULL, NULL, NULL, NULL),
    (5, 0, 'renamed', 1700000000.0, 11, 'Alice', 'Al', 'al', NULL, NULL, NULL),
    (7, 0, 'left', 1700000001.0, 33, 'Eve', NULL, NULL, NULL, NULL, NULL),
    (8, 0, 'joined', 1700000001.0, 44, 'Bob', NULL, 'bob', '10.0.0.1', 4, NULL),
    (8, 1, 'joined', 1700000001.0, 55, 'BOB', NULL, 'bob', '10.0.0.1', 5, NULL),
    (9, 0, 'said', 1700000060.0, 11, 'Al', 'after the snapshot', NULL, NULL, NULL, NULL),
    (10, 0, 'renamed', 1700000060.0, 22, 'Zoë 🦊', 'Zoë', 'zoë', NULL, NULL, NULL),
    (11, 0, 'seen', 0, NULL, NULL, NULL, NULL, NULL, NULL, x'{FIRST_PLACES}'),
    (12, 0, 'said', 1700000061.0, 44, 'Bob', 'last', NULL, NULL, NULL, NULL),
    (13, 0, 'said', 1700000061.0, 44, 'Bob', 'mine', NULL, NULL, NULL, NULL);
CREATE TABLE snapshot (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    position INTEGER NOT NULL,
    version INTEGER NOT NULL,
    state BLOB NOT NULL
) STRICT;
INSERT INTO snapshot VALUES (1, 8, 1, CAST('{FIRST_STATE}' AS BLOB));
PRAGMA application_id = 1735552885;
PRAGMA user_version = 1;
"""
"""A file of the first release, without the comments."""

SECOND_STATE = (
    '{"first":1,"head":6,"members":[[11,"Alice","alice","10.0.0.1",1,null,1,1700000000.0,6,1,-1,1700000000.0,0,0],'
    '[22,"Zoë 🦊","zoë 🦊","fe80::1%2",2,null,2,1700000000.0,2,0,-1,1700000000.0,0,0],'
    '[33,"Robot","robot","10.0.0.9",null,"0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f",3,'
    '1700000000.0,3,0,1,1700000000.0,7,7]],"refused":[],"whispered":2}'
)
SECOND_VERSION = f"""
CREATE TABLE beginning (one INTEGER PRIMARY KEY CHECK (one = 1), position INTEGER NOT NULL) STRICT;
INSERT INTO beginning VALUES (1, 1);
CREATE TABLE entry (position INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE) STRICT;
INSERT INTO entry VALUES (1, 'e-1'), (2, 'e-2'), (3, 'e-3'), (4, 'e-4'), (5, 'e-5'), (6, 'e-6'), (7, 'e-7'), (8, 'e-8'),
    (9, 'e-9'), (10, 'e-10'), (11, 'e-11'), (12, 'e-12');
CREATE TABLE event (
    position INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    kind TEXT NOT NULL,
    at REAL NOT NULL,
    member INTEGER,
    name TEXT,
    text TEXT,
    key TEXT,
    host TEXT,
    port INTEGER,
    places BLOB,
    client_id INTEGER,
    reader INTEGER,
    secret TEXT,
    PRIMARY KEY (position, slot)
) STRICT, WITHOUT ROWID;
INSERT INTO event VALUES
    (1, 0, 'joined', 1700000000.0, 11, 'Alice', NULL, 'alice', '10.0.0.1', 1, NULL, NULL, NULL, NULL),
    (2, 0, 'joined', 1700000000.0, 22, 'Zoë 🦊', NULL, 'zoë 🦊', 'fe80::1%2', 2, NULL, NULL, NULL, NULL),
    (3, 0, 'joined', 1700000000.0, 33, 'Robot', NULL, 'robot', '10.0.0.9', NULL, NULL, NULL, NULL,
        '0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f'),
    (4, 0, 'said', 1700000000.0, 33, 'Robot', 'one', NULL, NULL, NULL, NULL, 5, NULL, NULL),
    (5, 0, 'whispered', 1700000000.0, 33, 'Robot', 'psst', 'Alice', NULL, NULL, NULL, 6, 11, NULL),
    (6, 0, 'whispered', 1700000000.0, 33, 'Robot', 'psst too', 'Zoë 🦊', NULL, NULL, NULL, 7, 22, NULL),
    (8, 0, 'renamed', 1700000001.0, 33, 'Robot', 'Robert', 'robert', NULL, NULL, NULL, 8, NULL, NULL),
    (9, 0, 'said', 1700000001.0, 22, 'Zoë 🦊', 'after the snapshot', NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (10, 0, 'seen', 1700000061.0, NULL, NULL, NULL, NULL, NULL, NULL,
        x'1600000000000000080000000000000002000000000000001555B00100000000', NULL, NULL, NULL),
    (11, 0, 'said', 1700000062.0, 11, 'Alice', 'last', NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (12, 0, 'seen', 1700000063.0, NULL, NULL, NULL, NULL, NULL, NULL,
        x'0B00000000000000090000000000000002000000000000001655B00100000000', NULL, NULL, NULL);
CREATE TABLE snapshot (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    position INTEGER NOT NULL,
    version INTEGER NOT NULL,
    state BLOB NOT NULL
) STRICT;
INSERT INTO snapshot VALUES (1, 7, 2, CAST('{SECOND_STATE}' AS BLOB));
PRAGMA application_id = 1735552885;
PRAGMA user_version = 2;
"""
"""A file of the second format, without the comments and with shorter entry ids."""


THIRD_STATE = (
    '{"first":1,"head":9,"members":[[3425762082116488021,"Alice","alice","10.0.0.1",1,null,1,1700000000.0,8,0,-1,'
    "1700000000.0,0,0],"
    '[2596482601624962617,"Zoë 🦊","zoë 🦊","10.0.0.1",2,null,2,1700000000.0,2,0,0,1700000000.0,0,0],'
    '[5269256534883673020,"Robot","robot","10.0.0.9",null,'
    '"0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f",3,1700000000.0,3,0,2,1700000000.0,6,3],'
    '[1439854634426739329,"Bob","bob","10.0.0.1",4,null,9,1700000061.0,9,1,0,1700000061.0,0,0]],"refused":[[9,'
    '1]],"whispered":1}'
)
THIRD_VERSION = f"""
CREATE TABLE beginning (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    position INTEGER NOT NULL
) STRICT;
INSERT INTO beginning VALUES (1, 1);
CREATE TABLE entry (
    position INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE
) STRICT;
INSERT INTO entry VALUES (1, 'e-1'), (2, 'e-2'), (3, 'e-3'), (4, 'e-4'), (5, 'e-5'), (6, 'e-6'), (7, 'e-7'), (8, 'e-8'),
    (9, 'e-9'), (10, 'e-10'), (11, 'e-11'), (12, 'e-12'), (13, 'e-13'), (14, 'e-14'), (15, 'e-15'), (16, 'e-16');
CREATE TABLE event (
    position INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    kind TEXT NOT NULL,
    at REAL NOT NULL,
    member INTEGER,
    name TEXT,
    text TEXT,
    key TEXT,
    host TEXT,
    port INTEGER,
    places BLOB,
    client_id INTEGER,
    reader INTEGER,
    secret TEXT,
    size INTEGER,
    PRIMARY KEY (position, slot)
) STRICT, WITHOUT ROWID;
INSERT INTO event VALUES
    (1, 0, 'joined', 1700000000.0, 3425762082116488021, 'Alice', NULL, 'alice', '10.0.0.1', 1, NULL, NULL, NULL, NULL,
        NULL),
    (2, 0, 'joined', 1700000000.0, 2596482601624962617, 'Zoë 🦊', NULL, 'zoë 🦊', '10.0.0.1', 2, NULL, NULL, NULL, NULL,
        NULL),
    (3, 0, 'joined', 1700000000.0, 5269256534883673020, 'Robot', NULL, 'robot', '10.0.0.9', NULL, NULL, NULL, NULL,
        '0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f', NULL),
    (4, 0, 'said', 1700000000.0, 5269256534883673020, 'Robot', 'one', NULL, NULL, NULL, NULL, 5, NULL, NULL, NULL),
    (4, 1, 'whispered', 1700000000.0, 5269256534883673020, 'Robot', 'psst', 'Alice', NULL, NULL, NULL, 6,
        3425762082116488021, NULL, NULL),
    (5, 0, 'shared', 1700000000.0, 5269256534883673020, 'Robot', 'Ein Lied, ¡olé!.flac', NULL, NULL, NULL, NULL, NULL,
        NULL, NULL, 2100000),
    (6, 0, 'told', 1700000000.0, NULL, 'Door', 'ding: dong', 'door', NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (7, 0, 'shared', 1700000000.0, NULL, 'Door', 'x', 'door', NULL, NULL, NULL, NULL, NULL, NULL, 5),
    (9, 0, 'joined', 1700000061.0, 1439854634426739329, 'Bob', NULL, 'bob', '10.0.0.1', 4, NULL, NULL, NULL, NULL,
        NULL),
    (9, 1, 'joined', 1700000061.0, 6896874966559964178, 'BOB', NULL, 'bob', '10.0.0.1', 5, NULL, NULL, NULL, NULL,
        NULL),
    (10, 0, 'said', 1700000061.0, 2596482601624962617, 'Zoë 🦊', 'after the snapshot', NULL, NULL, NULL, NULL, NULL,
        NULL, NULL, NULL),
    (11, 0, 'renamed', 1700000061.0, 2596482601624962617, 'Zoë 🦊', 'Zoë', 'zoë', NULL, NULL, NULL, NULL, NULL, NULL,
        NULL),
    (12, 0, 'renamed', 1700000061.0, 5269256534883673020, 'Robot', 'Robert', 'robert', NULL, NULL, NULL, 7, NULL,
        NULL, NULL),
    (13, 0, 'left', 1700000061.0, 1439854634426739329, 'Bob', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (14, 0, 'seen', 1700000062.0, NULL, NULL, NULL, NULL, NULL, NULL,
        X'3986565F2B8F08240B0000000000000003000000000000001655B00100000000', NULL, NULL, NULL, NULL),
    (15, 0, 'seen', 1700000063.0, NULL, NULL, NULL, NULL, NULL, NULL,
        X'554B8E9576C08A2F0D0000000000000000000000000000001655B00100000000', NULL, NULL, NULL, NULL),
    (16, 0, 'said', 1700000063.0, 3425762082116488021, 'Alice', 'last', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE snapshot (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    position INTEGER NOT NULL,
    version INTEGER NOT NULL,
    state BLOB NOT NULL
) STRICT;
INSERT INTO snapshot VALUES (1, 9, 2, CAST('{THIRD_STATE}' AS BLOB));
PRAGMA application_id = 1735552885;
PRAGMA user_version = 3;
"""
"""A file of the third format, as a killed daemon left it: without the comments and with shorter entry ids."""


FOURTH_STATE = (
    '{"first":1,"head":7,"members":[[2462464376937768974,"Alice","alice","10.0.0.1",1,null,1,1700000000.0,7,0,-1,'
    "1700000000.0,0,0,28333333,1],"
    '[523855243668966480,"Zoë 🦊","zoë 🦊","10.0.0.1",2,null,2,1700000000.0,2,0,0,1700000000.0,0,0,28333333,1],'
    '[4117992200045110064,"Robot","robot","10.0.0.9",null,'
    '"0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f",3,1700000000.0,3,0,2,1700000000.0,6,3,28333333,'
    '1]],"refused":[],"whispered":1}'
)
FOURTH_PLACES = (
    "504C9D90911B4507090000000000000003000000000000001655B00102000000"
    "0EE86DDB4D6E2C220A0000000000000001000000000000001655B00102000000D7C33F9E"
)
FOURTH_VERSION = f"""
CREATE TABLE beginning (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    position INTEGER NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;
INSERT INTO beginning VALUES (1, 1, 2212294583);
CREATE TABLE entry (
    position INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    checksum INTEGER NOT NULL
) STRICT;
INSERT INTO entry VALUES
    (1, '77ccde45f6af6676-1', 1159680364), (2, '77ccde45f6af6676-2', 3088122303),
    (3, '77ccde45f6af6676-3', 1191302573), (4, '77ccde45f6af6676-4', 5144268952),
    (5, '77ccde45f6af6676-5', 3057252352), (6, '77ccde45f6af6676-6', 840387365),
    (7, '77ccde45f6af6676-7', 0), (8, '77ccde45f6af6676-8', 2653203366),
    (9, '77ccde45f6af6676-9', 968313864), (10, '77ccde45f6af6676-10', 1621635508), (11, '77ccde45f6af6676-11', 0);
CREATE TABLE event (
    position INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    kind TEXT NOT NULL,
    at REAL NOT NULL,
    member INTEGER,
    name TEXT,
    text TEXT,
    key TEXT,
    host TEXT,
    port INTEGER,
    places BLOB,
    client_id INTEGER,
    reader INTEGER,
    secret TEXT,
    size INTEGER,
    PRIMARY KEY (position, slot)
) STRICT, WITHOUT ROWID;
INSERT INTO event VALUES
    (1, 0, 'joined', 1700000000.0, 2462464376937768974, 'Alice', NULL, 'alice', '10.0.0.1', 1, NULL, NULL, NULL, NULL,
        NULL),
    (2, 0, 'joined', 1700000000.0, 523855243668966480, 'Zoë 🦊', NULL, 'zoë 🦊', '10.0.0.1', 2, NULL, NULL, NULL, NULL,
        NULL),
    (3, 0, 'joined', 1700000000.0, 4117992200045110064, 'Robot', NULL, 'robot', '10.0.0.9', NULL, NULL, NULL, NULL,
        '0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f', NULL),
    (4, 0, 'said', 1700000000.0, 4117992200045110064, 'Robot', 'one', NULL, NULL, NULL, NULL, 5, NULL, NULL, NULL),
    (4, 1, 'whispered', 1700000000.0, 4117992200045110064, 'Robot', 'psst', 'Alice', NULL, NULL, NULL, 6,
        2462464376937768974, NULL, NULL),
    (5, 0, 'shared', 1700000000.0, 4117992200045110064, 'Robot', 'x.flac', NULL, NULL, NULL, NULL, NULL, NULL, NULL,
        2100000),
    (6, 0, 'told', 1700000000.0, NULL, 'Door', 'ding: dong', 'door', NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (8, 0, 'said', 1700000061.0, 523855243668966480, 'Zoë 🦊', 'after the snapshot', NULL, NULL, NULL, NULL, NULL, NULL,
        NULL, NULL),
    (9, 0, 'renamed', 1700000061.0, 523855243668966480, 'Zoë 🦊', 'Zoë', 'zoë', NULL, NULL, NULL, NULL, NULL, NULL,
        NULL),
    (10, 0, 'said', 1700000061.0, 2462464376937768974, 'Alice', 'last', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (11, 0, 'seen', 1700000062.0, NULL, NULL, NULL, NULL, NULL, NULL,
        x'{FOURTH_PLACES}', NULL, NULL, NULL, NULL);
CREATE TABLE snapshot (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    position INTEGER NOT NULL,
    version INTEGER NOT NULL,
    state BLOB NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;
INSERT INTO snapshot VALUES (1, 7, 3, CAST('{FOURTH_STATE}' AS BLOB), 2695941737);
PRAGMA application_id = 1735552885;
PRAGMA user_version = 4;
"""
"""A file of the fourth format, as a killed daemon left it, without the comments."""


class UpgradeContract(Suite):
    """The tests of every upgrade. Each file has a cursor record, a snapshot, and entries after both."""

    script: str
    members: list[tuple[int, str, tuple[str, int] | None, int, int]]
    """The id, the name, the address, the cursor and the number of waiting lines of each."""
    lines: list[str]
    recorded: set[str]
    """The names of those with a cursor record that is in the file."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.clock.advance(1_700_000_070)
        self.execute("PRAGMA journal_mode=WAL")
        self.execute(self.script)
        self.copy = self.directory / f"group.sqlite.v{self.version(self.path)[0]}"

    def execute(self, script: str) -> None:
        connection = sqlite3.connect(self.path)
        connection.executescript(script)
        connection.close()

    def version(self, path: Path) -> tuple[int, int]:
        """Return the version of a file, and the number of events in it."""
        connection = sqlite3.connect(path)
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        count = connection.execute("SELECT count(*) FROM event").fetchone()[0]
        connection.close()
        return version, count

    def see(self, node: DurableNode) -> None:
        """See that names, cursors and lines are as before."""
        group = node.service.group
        found = [(m.id, m.name, m.address, m.cursor, group.behind(m)) for m in group.members.values()]
        self.assertEqual(found, self.members)
        self.assertEqual((group.history.first, group.history.head), (1, len(self.lines)))
        self.assertEqual(bytes(group.history.read(0, len(self.lines), 1 << 30)[0]).decode().split("\n"), self.lines)

    def test_the_file_is_copied_and_upgraded(self) -> None:
        version, count = self.version(self.path)
        self.see(self.node(clock=self.clock))
        self.assertEqual((self.version(self.copy), self.version(self.path)), ((version, count), (VERSION, count)))
        self.assertEqual(stat.S_IMODE(self.copy.stat().st_mode), 0o600)
        self.assertEqual(list(self.directory.glob("*.v*")), [self.copy])

    def test_it_is_read_as_it_is(self) -> None:
        before = self.path.read_bytes()
        version, _ = self.version(self.path)
        checked = run("check", self.path)
        self.assertEqual((checked.returncode, checked.stderr), (0, ""))
        self.assertRegex(checked.stdout, rf"\Aformat +{version}\n|\nformat +{version}\n")
        shown = run("history", self.path, "--json").stdout.splitlines()
        self.assertEqual([json.loads(line)["line"] for line in shown], self.lines)
        self.assertEqual(len(run("members", self.path).stdout.splitlines()), 1 + len(self.members))
        self.assertEqual(self.path.read_bytes(), before)

    def test_repair_writes_it_in_the_format_of_today(self) -> None:
        to = self.directory / "new.sqlite"
        before = self.path.read_bytes()
        result = run("repair", self.path, to)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertEqual(result.stdout.splitlines()[0], "Nothing is lost.")
        self.assertEqual(self.path.read_bytes(), before)
        self.assertEqual(self.version(to)[0], VERSION)
        self.see(self.node(to, clock=self.clock))

    def test_repair_saves_what_is_sound_of_it(self) -> None:
        version, _ = self.version(self.path)
        for damage, lost in [
            ("UPDATE event SET kind = 'nonsense' WHERE position = 4 AND slot = 0", "Entry 4 is lost: "),
            ("UPDATE event SET text = CAST(x'ff00fe' AS TEXT) WHERE position = 4 AND slot = 0", "Entry 4 is lost: "),
            ("DELETE FROM entry WHERE position = 4", "Entry 4 is lost: "),
            ("UPDATE event SET places = x'00' WHERE kind = 'seen'", "the positions of members are lost"),
        ]:
            before = self.path.read_bytes()
            self.execute(f"{damage};")
            to = self.directory / "new.sqlite"
            result = run("repair", self.path, to)
            self.assertEqual((result.returncode, result.stderr), (0, ""), damage)
            self.assertIn(lost, result.stdout.splitlines()[0], damage)
            self.assertEqual(run("check", to).stderr, "", (version, damage))
            to.unlink()
            self.path.write_bytes(before)

    def test_the_state_is_the_same_without_the_snapshot(self) -> None:
        self.execute("DELETE FROM snapshot")
        self.see(self.node(clock=self.clock))


class UncountedContract(UpgradeContract):
    """The tests of the upgrades from formats that did not count the minutes in which a member was heard."""

    def test_members_count_as_heard_in_many_minutes(self) -> None:
        node = self.node(clock=self.clock)
        self.assertEqual({member.minutes for member in node.service.group.members.values()}, {MANY})
        self.execute("DELETE FROM snapshot")
        again = self.after_a_kill(node)
        recorded = {member.name for member in again.service.group.members.values() if member.minutes == MANY}
        self.assertTrue(recorded >= self.recorded, recorded)


class FirstUpgradeTests(UncountedContract, Directory):
    script = FIRST_VERSION
    members = [
        (11, "Al", ("10.0.0.1", 1), 8, 3),
        (22, "Zoë", ("fe80::1%2", 2), 9, 2),
        (44, "Bob", ("10.0.0.1", 4), 8, 1),
    ]
    recorded = {"Al", "Zoë", "Bob"}
    lines = [
        "Alice has joined",
        "Zoë 🦊 has joined",
        "Eve has joined",
        "Zoë 🦊: one",
        "Alice changed his name to Al",
        "Eve has left the group",
        "Bob has joined",
        "Al: after the snapshot",
        "Zoë 🦊 changed his name to Zoë",
        "Bob: last",
        "Bob: mine",
    ]

    def test_members_go_on(self) -> None:
        node = self.node(clock=self.clock)
        self.assertEqual(node.ask(1, "5"), "Zoë 🦊 changed his name to Zoë\nBob: last\nBob: mine")
        self.assertEqual(node.ask(2, "2 still me", host="fe80::1%2"), "Bob: last\nBob: mine")
        self.assertEqual(node.ask(4, "5"), "Zoë 🦊 changed his name to Zoë\nZoë: still me")
        self.assertEqual(node.ask(9, "1 BOB"), ILLEGAL)
        self.assertEqual(node.ask(9, "1 Eve"), "Bob, Zoë, Al")

    def test_a_second_start_makes_no_other_copy(self) -> None:
        node = self.node(clock=self.clock)
        copy = self.copy.stat()
        again = self.after_a_kill(node)
        self.see(again)
        node.stop()
        self.see(self.node(clock=self.clock))
        self.assertEqual(self.copy.stat().st_mtime_ns, copy.st_mtime_ns)

    def test_an_unfinished_upgrade_is_repeated(self) -> None:
        for left in (self.copy, Path(f"{self.copy}.part")):
            left.write_bytes(b"half a copy")
        self.see(self.node(clock=self.clock))
        self.assertEqual((self.version(self.copy), self.version(self.path)), ((1, 13), (VERSION, 13)))

    def test_nothing_is_upgraded_without_a_copy(self) -> None:
        Path(f"{self.copy}.part").mkdir()
        with self.assertRaisesRegex(CannotOpen, "group.sqlite cannot be used: .*part"):
            Database(self.path)
        self.assertEqual(self.version(self.path), (1, 13))


class SecondUpgradeTests(UncountedContract, Directory):
    script = SECOND_VERSION
    members = [
        (11, "Alice", ("10.0.0.1", 1), 9, 0),
        (22, "Zoë 🦊", ("fe80::1%2", 2), 8, 1),
        (33, "Robert", None, 3, 2),
    ]
    recorded = {"Alice", "Zoë 🦊"}
    lines = [
        "Alice has joined",
        "Zoë 🦊 has joined",
        "Robot has joined",
        "Robot: one",
        "Robot (private): psst",
        "Robot (private): psst too",
        "Robot changed his name to Robert",
        "Zoë 🦊: after the snapshot",
        "Alice: last",
    ]

    def test_members_go_on(self) -> None:
        node = self.node(clock=self.clock)
        robot, fresh = Connection(node.service), Connection(node.service)
        robot.resume("0f" * 32)
        robot.ask(Say("again", 5), Say("new", 9))
        fresh.ask(Share("x", 5, member=robot.member.id), SayAsGuest("Door", "ding"))
        node.settle()
        node.settle()
        self.assertEqual((robot.words(), fresh.words()), (["answered"] * 2, ["answered"] * 2))
        new = "Robert: new\nRobert shared x (5 B)\nDoor: ding"
        self.assertEqual(node.ask(1, "5"), new)
        self.assertEqual(node.ask(2, "5", host="fe80::1%2"), f"Alice: last\n{new}")
        again = self.after_a_kill(node)
        self.assertEqual(
            [bytes(line).decode() for _, line in again.service.group.history.last(3, 0, 1000)], new.split("\n")
        )


class ThirdUpgradeTests(UncountedContract, Directory):
    script = THIRD_VERSION
    members = [
        (3425762082116488021, "Alice", ("10.0.0.1", 1), 13, 0),
        (2596482601624962617, "Zoë", ("10.0.0.1", 2), 11, 3),
        (5269256534883673020, "Robert", None, 3, 7),
    ]
    recorded = {"Alice", "Zoë"}
    lines = [
        "Alice has joined",
        "Zoë 🦊 has joined",
        "Robot has joined",
        "Robot: one",
        "Robot (private): psst",
        "Robot shared Ein Lied, ¡olé!.flac (2.1 MB)",
        "Door: ding: dong",
        "Door shared x (5 B)",
        "Bob has joined",
        "Zoë 🦊: after the snapshot",
        "Zoë 🦊 changed his name to Zoë",
        "Robot changed his name to Robert",
        "Bob has left the group",
        "Alice: last",
    ]

    def test_what_an_upgrade_adds_shows_later_damage(self) -> None:
        Database(self.path).close()
        for statement, words in [
            ("UPDATE event SET text = 'ping: dong' WHERE position = 6", "entry 6 is damaged"),
            ("UPDATE event SET places = zeroblob(36) WHERE position = 14", "entry 14 is damaged"),
            ("UPDATE snapshot SET position = 8", "the snapshot is damaged"),
            ("UPDATE beginning SET position = 2", "the record of the first entry is damaged"),
        ]:
            whole = self.path.read_bytes()
            self.execute(statement)
            with self.assertRaisesRegex(CannotOpen, f"group.sqlite is damaged: {words}. .* repair .*group.sqlite NEW"):
                self.look()
            self.path.write_bytes(whole)

    def look(self) -> None:
        with closing(Database(self.path)) as database:
            database.load_snapshot()
            database.read(0, 100)


class FourthUpgradeTests(UpgradeContract, Directory):
    script = FOURTH_VERSION
    members = [
        (2462464376937768974, "Alice", ("10.0.0.1", 1), 10, 0),
        (523855243668966480, "Zoë", ("10.0.0.1", 2), 9, 1),
        (4117992200045110064, "Robot", None, 3, 4),
    ]
    recorded = {"Alice", "Zoë"}
    lines = [
        "Alice has joined",
        "Zoë 🦊 has joined",
        "Robot has joined",
        "Robot: one",
        "Robot (private): psst",
        "Robot shared x.flac (2.1 MB)",
        "Door: ding: dong",
        "Zoë 🦊: after the snapshot",
        "Zoë 🦊 changed his name to Zoë",
        "Alice: last",
    ]

    def test_minutes_are_kept(self) -> None:
        members = self.node(clock=self.clock).service.group.members.values()
        self.assertEqual([member.minutes for member in members], [2, 2, 1])

    def test_an_upgraded_file_can_be_restored_over(self) -> None:
        self.node(clock=self.clock).stop()
        names = {path.name for path in self.directory.iterdir()}
        restore(self.copy, self.path)
        self.assertEqual({path.name for path in self.directory.iterdir()} - names, {"group.sqlite.replaced-1"})
        node = self.node(clock=self.clock)
        self.see(node)
        self.assertEqual(node.service.group.numbering.of(len(self.lines) + 1), 1_000_001)
        self.assertEqual(node.ask(1, "2 new"), "")
        self.assertEqual(node.ask(2, "5"), "Alice: last\nAlice: new")
