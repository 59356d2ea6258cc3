-- The file of one group, version 5. `PRAGMA user_version` is the version, and `PRAGMA application_id` marks it as ours.

CREATE TABLE entry (
    position INTEGER PRIMARY KEY,   -- 1, 2, 3 ...
    id TEXT NOT NULL UNIQUE,        -- given by the node that appended it
    checksum INTEGER NOT NULL       -- of the id and of its events, but for those that are a seen: see tables.py
) STRICT;

CREATE TABLE event (
    position INTEGER NOT NULL,      -- the position of its entry
    slot INTEGER NOT NULL,          -- its index in the entry: 0, 1, 2 ...
    kind TEXT NOT NULL,             -- joined, said, whispered, renamed, left, shared, told, seen, raised
    at REAL NOT NULL,               -- seconds since the epoch
    member INTEGER,                 -- the member's id; NULL for a seen or raised, and for a guest who shared or told something
    name TEXT,                      -- the name shown at the time
    text TEXT,                      -- said, whispered, told: the text; renamed: the new name; shared: the name of the file
    key TEXT,                       -- joined, renamed, and of a guest: the unique key of the name; whispered: the name of the reader
    host TEXT,                      -- joined: the host of the member
    port INTEGER,                   -- joined: the port of the member's datagrams, if it sends any
    places BLOB,                    -- seen: of each place member, cursor and skipped in 8 bytes each, minute and minutes in 4 each, little-endian; then a checksum, 4 bytes
    client_id INTEGER,              -- the client's own id of its command, if it gave one
    reader INTEGER,                 -- whispered: the id of the member that it is for
    secret TEXT,                    -- joined: the hash of the key with which the session can be resumed, if it can
    size INTEGER,                   -- shared: the size of the file, in bytes; raised: the number that all later ones are above; left: until when its name is reserved
    PRIMARY KEY (position, slot)
) STRICT, WITHOUT ROWID;

-- One row: the state after the entries up to `position`, in the format `version`.
CREATE TABLE snapshot (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    position INTEGER NOT NULL,
    version INTEGER NOT NULL,
    state BLOB NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;

-- One row: entries before `position` were deleted.
CREATE TABLE beginning (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    position INTEGER NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;

-- One row after something was erased, until the file was rewritten without what is left of it in free space.
CREATE TABLE purge (one INTEGER PRIMARY KEY CHECK (one = 1)) STRICT;

INSERT INTO beginning VALUES (1, 1, position_checksum(1));
