-- When each token let somebody in last, as far as its server has noted it.
CREATE TABLE token_uses (
    token TEXT PRIMARY KEY REFERENCES tokens (name) ON DELETE CASCADE,
    used_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The same of the secrets that sign webhooks, each by the beginning of a digest of what is kept of it.
CREATE TABLE secret_uses (
    channel INTEGER NOT NULL REFERENCES channels (number) ON DELETE CASCADE,
    secret TEXT NOT NULL,
    used_at INTEGER NOT NULL,
    PRIMARY KEY (channel, secret)
) STRICT, WITHOUT ROWID;
