-- From version 1 to 2: whispers, sessions that can be resumed, and clients' own ids.

ALTER TABLE event ADD COLUMN client_id INTEGER;
ALTER TABLE event ADD COLUMN reader INTEGER;
ALTER TABLE event ADD COLUMN secret TEXT;
