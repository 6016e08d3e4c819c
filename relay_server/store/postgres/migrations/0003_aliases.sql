-- Ids that senders were answered from a spool, whose webhook turned out to be stored before.
CREATE TABLE aliases (
    id text PRIMARY KEY,
    event text NOT NULL REFERENCES events (id) ON DELETE CASCADE
);
CREATE INDEX aliases_by_event ON aliases (event);
