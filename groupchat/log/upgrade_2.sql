-- From version 2 to 3: files that were shared, and lines by guests.

ALTER TABLE event ADD COLUMN size INTEGER;
