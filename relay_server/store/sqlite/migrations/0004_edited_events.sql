-- Events that somebody made of others, each for one subscription alone. They are rows of `events` in
-- a stream of their own, that of minus their channel: what reads a channel never comes there.
CREATE TABLE edited (
    position INTEGER PRIMARY KEY REFERENCES events (position) ON DELETE CASCADE,
    subscription INTEGER NOT NULL,
    replay INTEGER NOT NULL,      -- that brings it there
    edited_from TEXT NOT NULL,    -- id of an event, which may be gone
    made_by TEXT NOT NULL,
    idempotency_key TEXT,
    asked BLOB NOT NULL           -- digest of what was asked under that key
) STRICT;

CREATE UNIQUE INDEX edited_by_idempotency_key ON edited (made_by, idempotency_key)
WHERE idempotency_key IS NOT NULL;
