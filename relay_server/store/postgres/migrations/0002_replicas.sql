-- The version of channels, tokens and subscriptions: whatever changes any of them raises it.
CREATE TABLE catalogue (version bigint NOT NULL);
INSERT INTO catalogue VALUES (1);

-- Servers that have this store open, by a name that each makes for itself.
CREATE TABLE replicas (
    name text PRIMARY KEY,
    seen_at timestamptz NOT NULL
) WITH (fillfactor = 50);

-- Which of them claimed a subscription last.
ALTER TABLE subscriptions ADD COLUMN owner text;
