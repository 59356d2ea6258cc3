-- From version 2 to 3: shared files, and lines by guests.

ALTER TABLE event ADD COLUMN size INTEGER;
