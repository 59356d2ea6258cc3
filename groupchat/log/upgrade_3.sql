-- From version 3 to 4: checksums. The functions are those of tables.py.

ALTER TABLE entry ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE snapshot ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE beginning ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;

UPDATE entry SET checksum = ifnull((
    SELECT sum(row_checksum(
        id, position, slot, kind, at, member, name, text, client_id, key, host, port, places, reader, secret, size
    ))
    FROM event WHERE position = entry.position AND kind <> 'seen'
), 0);
UPDATE event SET places = with_checksum(position, slot, at, places) WHERE kind = 'seen';
UPDATE snapshot SET checksum = snapshot_checksum(position, version, state);
UPDATE beginning SET checksum = position_checksum(position);
