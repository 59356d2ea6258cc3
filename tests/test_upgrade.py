"""A file of the second format is upgraded. test_restart.py has a file of the first."""

from __future__ import annotations

import sqlite3

from twisted.internet.task import Clock

from groupchat.core.commands import Say, SayAsGuest, Share
from groupchat.log.tables import VERSION
from tests.connections import Connection
from tests.durable import DurableNode
from tests.test_restart import Directory

SECOND_VERSION = """
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
PRAGMA application_id = 1735552885;
PRAGMA user_version = 2;
"""
"""The tables without their comments, and the rows with shorter entry ids."""

SECOND_STATE = (
    '{"first":1,"head":6,"members":[[11,"Alice","alice","10.0.0.1",1,null,1,1700000000.0,6,1,-1,1700000000.0,0,0],'
    '[22,"Zoë 🦊","zoë 🦊","fe80::1%2",2,null,2,1700000000.0,2,0,-1,1700000000.0,0,0],'
    '[33,"Robot","robot","10.0.0.9",null,"0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f",3,'
    '1700000000.0,3,0,1,1700000000.0,7,7]],"refused":[],"whispered":2}'
)


class UpgradeTests(Directory):
    """A file with cursor records, a snapshot after entry 7, and entries after it."""

    def setUp(self) -> None:
        super().setUp()
        connection = sqlite3.connect(self.path)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(SECOND_VERSION)
        connection.execute("INSERT INTO snapshot VALUES (1, 7, 2, ?)", (SECOND_STATE.encode(),))
        connection.commit()
        connection.close()
        self.clock = Clock()
        self.clock.advance(1_700_000_070)

    def version(self, name: str) -> int:
        connection = sqlite3.connect(self.directory / name)
        found: int = connection.execute("PRAGMA user_version").fetchone()[0]
        connection.close()
        return found

    def see(self, node: DurableNode) -> None:
        """See that names, cursors and lines are as before."""
        group = node.service.group
        self.assertEqual(
            [(m.name, m.address, m.cursor, group.behind(m)) for m in group.members.values()],
            [
                ("Alice", ("10.0.0.1", 1), 9, 0),
                ("Zoë 🦊", ("fe80::1%2", 2), 8, 1),
                ("Robert", None, 3, 2),
            ],
        )
        self.assertEqual(
            bytes(group.history.read(0, group.history.head, 1 << 30)[0]).decode().split("\n"),
            [
                "Alice has joined",
                "Zoë 🦊 has joined",
                "Robot has joined",
                "Robot: one",
                "Robot (private): psst",
                "Robot (private): psst too",
                "Robot changed his name to Robert",
                "Zoë 🦊: after the snapshot",
                "Alice: last",
            ],
        )

    def test_the_file_is_copied_upgraded_and_used(self) -> None:
        node = self.node(clock=self.clock)
        self.see(node)
        self.assertEqual((self.version("group.sqlite.v2"), self.version("group.sqlite")), (2, VERSION))
        self.assertEqual([path.name for path in self.directory.glob("*.v*")], ["group.sqlite.v2"])
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

    def test_the_state_is_the_same_without_the_snapshot(self) -> None:
        connection = sqlite3.connect(self.path)
        connection.execute("DELETE FROM snapshot")
        connection.commit()
        connection.close()
        self.see(self.node(clock=self.clock))
