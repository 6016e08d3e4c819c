-- What lets somebody have a token made, once. Of its secret, and of the token's, there are digests.
CREATE TABLE invitations (
    digest BLOB PRIMARY KEY,
    name TEXT NOT NULL,           -- the token's
    channels TEXT NOT NULL,       -- JSON list of names
    made_by TEXT NOT NULL,        -- a token; empty for somebody on the host
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
