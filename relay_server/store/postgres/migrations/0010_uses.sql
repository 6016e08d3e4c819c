-- When each token let somebody in last, as far as its server has noted it.
CREATE TABLE token_uses (
    token text PRIMARY KEY REFERENCES tokens (name) ON DELETE CASCADE,
    used_at bigint NOT NULL
);

-- The same of the secrets that sign webhooks, each by the beginning of a digest of what is kept of it.
CREATE TABLE secret_uses (
    channel bigint NOT NULL REFERENCES channels (number) ON DELETE CASCADE,
    secret text NOT NULL,
    used_at bigint NOT NULL,
    PRIMARY KEY (channel, secret)
);
