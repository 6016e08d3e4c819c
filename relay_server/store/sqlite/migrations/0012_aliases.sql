-- Ids that senders were answered while this store was in PostgreSQL, whose webhook turned out to be
-- stored before.
CREATE TABLE aliases (
    id TEXT PRIMARY KEY,
    event TEXT NOT NULL REFERENCES events (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX aliases_by_event ON aliases (event);
