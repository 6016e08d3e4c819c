-- CRC-32 of body and request: what the disk gives back is checked. NULL where an older version
-- stored it, which cannot be.
ALTER TABLE events ADD COLUMN checksum INTEGER;

-- Id of the first event of the same request, where its sender sent it again later.
ALTER TABLE events ADD COLUMN repeat_of TEXT;

-- From now on `digest` is of body, method and target (`arrivals.py`). What older versions wrote
-- is the body's CRC-32 alone, which can be told apart: writing all of it anew would take minutes.

CREATE INDEX replays_by_channel ON replays (channel);
