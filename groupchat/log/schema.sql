-- The file of one group, version 1. `PRAGMA user_version` is the version, `PRAGMA application_id` says whose file it is.

CREATE TABLE entry (
    position INTEGER PRIMARY KEY,   -- 1, 2, 3 ...
    id TEXT NOT NULL UNIQUE         -- given by whoever appended it
) STRICT;

CREATE TABLE event (
    position INTEGER NOT NULL,      -- of its entry
    slot INTEGER NOT NULL,          -- its place in it: 0, 1, 2 ...
    kind TEXT NOT NULL,             -- joined, said, renamed, left, seen
    at REAL NOT NULL,               -- seconds since the epoch
    member INTEGER,                 -- who did it; not of a seen
    name TEXT,                      -- the name shown at the time
    text TEXT,                      -- of a said: the text; of a renamed: the new name
    key TEXT,                       -- of a joined or renamed: what no two names share
    host TEXT,                      -- of a joined: where its datagrams come from, if it has an address
    port INTEGER,
    places BLOB,                    -- of a seen: for each place member, cursor, passed, minute; each of 8 bytes, little-endian
    PRIMARY KEY (position, slot)
) STRICT, WITHOUT ROWID;

-- One row: what the entries up to `position` come to, in the format `version` of whoever saved it.
CREATE TABLE snapshot (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    position INTEGER NOT NULL,
    version INTEGER NOT NULL,
    state BLOB NOT NULL
) STRICT;

-- One row: entries before `position` are no longer here.
CREATE TABLE beginning (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    position INTEGER NOT NULL
) STRICT;

INSERT INTO beginning (one, position) VALUES (1, 1);
