-- From version 4 to 5: more kinds of events, which older versions do not know, and a table. Nothing that is there changes.

-- One row after something was erased, until the file was rewritten without what is left of it in free space.
CREATE TABLE purge (one INTEGER PRIMARY KEY CHECK (one = 1)) STRICT;
