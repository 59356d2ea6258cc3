-- The file of one group, version 3. `PRAGMA user_version` is the version, `PRAGMA application_id` says whose file it is.

CREATE TABLE entry (
    position INTEGER PRIMARY KEY,   -- 1, 2, 3 ...
    id TEXT NOT NULL UNIQUE         -- given by whoever appended it
) STRICT;

CREATE TABLE event (
    position INTEGER NOT NULL,      -- of its entry
    slot INTEGER NOT NULL,          -- its place in it: 0, 1, 2 ...
    kind TEXT NOT NULL,             -- joined, said, whispered, renamed, left, shared, told, seen
    at REAL NOT NULL,               -- seconds since the epoch
    member INTEGER,                 -- who did it; not of a seen, nor of a guest, who shared or told something
    name TEXT,                      -- the name shown at the time
    text TEXT,                      -- of a said, whispered or told: the text; of a renamed: the new name; of a shared: its file
    key TEXT,                       -- of a joined or renamed: what no two names share; of a guest, too; of a whispered: the name of its reader
    host TEXT,                      -- of a joined: where it comes from
    port INTEGER,                   -- of a joined: where its datagrams come from, if they do
    places BLOB,                    -- of a seen: for each place member, cursor, passed, minute; each of 8 bytes, little-endian
    client_id INTEGER,              -- the client's own number for what it asked, if it gave one
    reader INTEGER,                 -- of a whispered: the member that it is for
    secret TEXT,                    -- of a joined: the hash of the key with which its session can be resumed, if it can
    size INTEGER,                   -- of a shared: of the file, in bytes
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
