-- Times are Unix milliseconds. Values that only the server reads are MessagePack.

CREATE TABLE channels (
    number INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again: an event's position holds it
    name TEXT NOT NULL UNIQUE,
    config BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    last_sequence INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Channels that were deleted, whose events are still being deleted.
CREATE TABLE purges (channel INTEGER PRIMARY KEY) STRICT;

CREATE TABLE tokens (
    name TEXT PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,  -- SHA-256 of the secret, which is kept nowhere
    scopes TEXT NOT NULL,         -- JSON list
    channels TEXT,                -- JSON list; NULL for every channel
    created_at INTEGER NOT NULL
) STRICT;

-- position = channel << 40 | sequence: a channel's events lie together, in order, without an index.
CREATE TABLE events (
    position INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,      -- grows with time (UUID version 7), so its index grows at its end
    received_at INTEGER NOT NULL,
    size INTEGER NOT NULL,
    conflict INTEGER NOT NULL,
    key TEXT NOT NULL,
    kind TEXT NOT NULL,
    sender_id TEXT,
    digest INTEGER,               -- of the body, where there is a sender's id; finds, proves nothing
    request BLOB NOT NULL,
    body BLOB NOT NULL
) STRICT;

CREATE INDEX events_by_sender_id ON events (position >> 40, sender_id, digest)
WHERE sender_id IS NOT NULL;

CREATE TABLE subscriptions (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    channel INTEGER NOT NULL REFERENCES channels (number),
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    start INTEGER NOT NULL,       -- events up to this sequence are not for it
    floor INTEGER NOT NULL,       -- events up to this sequence are settled
    epoch INTEGER NOT NULL DEFAULT 0,
    UNIQUE (channel, name)
) STRICT;

-- Deliveries above the floor that are not simply untouched, and the dead ones wherever they are.
CREATE TABLE deliveries (
    subscription INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    state INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    failing_since INTEGER,
    reason TEXT NOT NULL,
    PRIMARY KEY (subscription, sequence)
) STRICT, WITHOUT ROWID;

CREATE TABLE attempts (
    subscription INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    elapsed_ms INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    status INTEGER,
    text TEXT NOT NULL,
    PRIMARY KEY (subscription, sequence, attempt)
) STRICT, WITHOUT ROWID;
