-- Events that people keep as examples: they are not deleted to make room, nor for their age.
CREATE TABLE pins (
    position INTEGER PRIMARY KEY REFERENCES events (position) ON DELETE CASCADE,
    channel INTEGER NOT NULL,     -- also of an edited event
    name TEXT NOT NULL,
    made_by TEXT NOT NULL,
    made_at INTEGER NOT NULL,
    UNIQUE (channel, name)
) STRICT;

-- Who changed or saw what.
CREATE TABLE audit (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    made_by TEXT NOT NULL,        -- a token; empty for somebody on the host
    address TEXT NOT NULL,
    action TEXT NOT NULL,
    what TEXT NOT NULL,
    asked TEXT NOT NULL           -- JSON object
) STRICT;

CREATE INDEX audit_by_time ON audit (at);
