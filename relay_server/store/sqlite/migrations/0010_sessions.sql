-- Who is logged in to the dashboard, in which browser. A session ends with its token.
CREATE TABLE sessions (
    digest BLOB PRIMARY KEY,      -- SHA-256 of the cookie's secret, which is kept nowhere
    token TEXT REFERENCES tokens (name) ON DELETE CASCADE,  -- NULL: somebody on the host
    made_at INTEGER NOT NULL,
    used_at INTEGER NOT NULL,
    address TEXT NOT NULL,
    agent TEXT NOT NULL           -- what the browser calls itself
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_by_token ON sessions (token);
