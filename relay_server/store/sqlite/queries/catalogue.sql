-- Channels, tokens, and subscriptions as they are set.

-- name: load_channels
SELECT number, name, config, created_at, last_sequence, bytes FROM channels;

-- name: create_channel
INSERT INTO channels (name, config, created_at) VALUES (:name, :config, :now) RETURNING number;

-- name: set_channel
UPDATE channels SET config = :config WHERE number = :number;

-- name: delete_channel
DELETE FROM channels WHERE number = :channel;

-- name: forget_channel_readers
INSERT INTO forgotten (reader) SELECT number FROM subscriptions WHERE channel = :channel
UNION ALL SELECT -number FROM replays WHERE channel = :channel;

-- name: delete_channel_subscriptions
DELETE FROM subscriptions WHERE channel = :channel;

-- name: delete_channel_replays
DELETE FROM replays WHERE channel = :channel;

-- name: begin_purge
INSERT INTO purges (channel) VALUES (:channel);

-- name: find_channel
SELECT number, name, config, created_at, last_sequence, bytes FROM channels WHERE name = :name;

-- name: load_tokens
SELECT name, digest, scopes, channels, created_at FROM tokens;

-- name: create_token
INSERT INTO tokens (name, digest, scopes, channels, created_at)
VALUES (:name, :digest, :scopes, :channels, :now) ON CONFLICT (name) DO NOTHING RETURNING 1;

-- name: revoke_token
DELETE FROM tokens WHERE name = :name RETURNING 1;

-- name: find_subscription
SELECT s.number, c.name, s.name, s.created_at, s.config
FROM subscriptions s JOIN channels c ON c.number = s.channel
WHERE c.name = :channel AND s.name = :name;

-- name: subscription
SELECT s.number, c.name, s.name, s.created_at, s.config
FROM subscriptions s JOIN channels c ON c.number = s.channel WHERE s.number = :subscription;

-- name: subscriptions
-- Of every channel for NULL.
SELECT s.number, c.name, s.name, s.created_at, s.config
FROM subscriptions s JOIN channels c ON c.number = s.channel
WHERE :channel IS NULL OR c.name = :channel ORDER BY c.name, s.name;

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
