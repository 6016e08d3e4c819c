-- Channels, tokens, and subscriptions as they are set.

-- name: channels
-- That of a name; all for NULL.
SELECT number, name, config, created_at, last_sequence, bytes FROM counted
WHERE :name IS NULL OR name = :name;

-- name: create_channel
INSERT INTO channels (name, config, created_at) VALUES (:name, :config, :now) RETURNING number;

-- name: set_channel
UPDATE channels SET config = :config WHERE number = :number;

-- name: delete_channel
DELETE FROM channels WHERE number = :channel;

-- name: forget_channel_readers
INSERT INTO forgotten (reader) SELECT number FROM subscriptions WHERE channel = :channel
UNION ALL SELECT -number FROM replays WHERE channel IN (:channel, -:channel);

-- name: delete_channel_subscriptions
DELETE FROM subscriptions WHERE channel = :channel;

-- name: delete_channel_replays
DELETE FROM replays WHERE channel IN (:channel, -:channel);

-- name: begin_purge
-- Of its events, and of edited ones, if there are any.
INSERT INTO purges (channel) SELECT :channel
UNION ALL SELECT -:channel WHERE EXISTS (SELECT 1 FROM edited WHERE position >> @BITS = -:channel);

-- name: load_tokens
SELECT name, digest, scopes, channels, created_at FROM tokens;

-- name: create_token
INSERT INTO tokens (name, digest, scopes, channels, created_at)
VALUES (:name, :digest, :scopes, :channels, :now) ON CONFLICT (name) DO NOTHING RETURNING 1;

-- name: revoke_token
DELETE FROM tokens WHERE name = :name RETURNING 1;

-- name: subscriptions
-- Those of a channel, a name or a number; NULL for any.
SELECT s.number, c.name, s.name, s.created_at, s.config, s.left_at
FROM subscriptions s JOIN channels c ON c.number = s.channel
WHERE (:channel IS NULL OR c.name = :channel) AND (:name IS NULL OR s.name = :name)
    AND (:number IS NULL OR s.number = :number)
ORDER BY c.name, s.name;

-- name: count_subscriptions
SELECT count(*) FROM subscriptions WHERE channel = :channel;

-- name: create_subscription
INSERT INTO subscriptions (channel, name, created_at, start, floor, config)
VALUES (:channel, :name, :now, :start, :start, :config) RETURNING number;

-- name: change_subscription
UPDATE subscriptions SET config = :config WHERE number = :subscription;

-- name: forget_subscription_readers
INSERT INTO forgotten (reader) SELECT number FROM subscriptions WHERE number = :subscription
UNION ALL SELECT -number FROM replays WHERE subscription = :subscription;

-- name: delete_subscription
DELETE FROM subscriptions WHERE number = :subscription;

-- name: delete_subscription_replays
DELETE FROM replays WHERE subscription = :subscription;
