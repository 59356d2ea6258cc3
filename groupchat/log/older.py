"""Files of older versions, read as if they were of this one, without changing them.

Temporary views take the place of the tables, for one connection. The checksums, which older files do not have, are
those of what is found: so damage is noticed only if it is no possible value, or damage to the structure.
"""

from __future__ import annotations

import sqlite3

from groupchat.log.tables import COLUMNS, position_checksum, row_checksum, snapshot_checksum, with_checksum

_SINCE = {"client_id": 2, "reader": 2, "secret": 2, "size": 3}
"""The version that brought a column of `event`."""

_CHECKSUMS = 4
"""The version that brought checksums."""

_VIEWS = """
CREATE TEMP VIEW event AS SELECT {columns} FROM main.event;
CREATE TEMP VIEW entry AS SELECT position, id, ifnull((
    SELECT sum(row_checksum(id, {event})) FROM temp.event WHERE position = whole.position AND kind <> 'seen'
), 0) AS checksum FROM main.entry AS whole;
CREATE TEMP VIEW snapshot AS
    SELECT one, position, version, state, snapshot_checksum(position, version, state) AS checksum FROM main.snapshot;
CREATE TEMP VIEW beginning AS SELECT one, position, position_checksum(position) AS checksum FROM main.beginning;
"""


def add_functions(connection: sqlite3.Connection) -> None:
    """Let SQL compute checksums."""
    for function in (position_checksum, snapshot_checksum, with_checksum):
        connection.create_function(function.__name__, -1, function)
    connection.create_function("row_checksum", -1, lambda entry_id, *row: row_checksum(entry_id, row))


def present(connection: sqlite3.Connection, version: int) -> None:
    """Let a connection see a file of this version as one of the newest."""
    if version >= _CHECKSUMS:
        return
    add_functions(connection)
    found = {name: name if version >= _SINCE.get(name, 1) else f"NULL AS {name}" for name in COLUMNS.split(", ")}
    found["places"] = "iif(kind = 'seen', with_checksum(position, slot, at, places), places) AS places"
    for statement in _VIEWS.format(columns=", ".join(found.values()), event=COLUMNS).split(";")[:-1]:
        connection.execute(statement)
