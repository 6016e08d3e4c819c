-- name: load_channels
SELECT number, name, config, created_at, last_sequence FROM channels;

-- name: create_channel
INSERT INTO channels (name, config, created_at) VALUES (?, ?, ?) RETURNING number;

-- name: set_channel
UPDATE channels SET config = ? WHERE number = ?;

-- name: delete_channel
DELETE FROM channels WHERE number = ?;

-- name: begin_purge
INSERT INTO purges (channel) VALUES (?);

-- name: end_purge
DELETE FROM purges WHERE channel = ?;

-- name: purges
SELECT channel FROM purges;

-- name: delete_channel_subscriptions
DELETE FROM subscriptions WHERE channel = ?;

-- name: delete_channel_attempts
DELETE FROM attempts WHERE subscription IN (SELECT number FROM subscriptions WHERE channel = ?);

-- name: delete_channel_deliveries
DELETE FROM deliveries WHERE subscription IN (SELECT number FROM subscriptions WHERE channel = ?);

-- name: find_channel
SELECT number, name, config, created_at, last_sequence FROM channels WHERE name = ?;

-- name: take_sequences
UPDATE channels SET last_sequence = last_sequence + ? WHERE number = ? RETURNING last_sequence;

-- name: load_tokens
SELECT name, digest, scopes, channels, created_at FROM tokens;

-- name: find_token
SELECT 1 FROM tokens WHERE name = ?;

-- name: create_token
INSERT INTO tokens (name, digest, scopes, channels, created_at) VALUES (?, ?, ?, ?, ?);

-- name: revoke_token
DELETE FROM tokens WHERE name = ?;

-- name: delete_subscription_attempts
DELETE FROM attempts WHERE subscription = ?;

-- name: delete_subscription_deliveries
DELETE FROM deliveries WHERE subscription = ?;

-- name: delete_subscription
DELETE FROM subscriptions WHERE number = ?;

-- name: find_subscription
SELECT number, created_at FROM subscriptions WHERE channel = ? AND name = ?;

-- name: sequence_before
-- The last event received before a time: a new subscription begins after it.
SELECT max(position) FROM events WHERE position BETWEEN ? AND ? AND received_at < ?;

-- name: create_subscription
INSERT INTO subscriptions (channel, name, created_at, start, floor) VALUES (?, ?, ?, ?, ?)
RETURNING number;

-- name: list_subscriptions
SELECT s.number, s.channel, s.name, s.created_at, s.floor
FROM subscriptions s JOIN channels c ON c.number = s.channel ORDER BY c.name, s.name;

-- name: subscriptions_of_event
SELECT number, name, floor FROM subscriptions WHERE channel = ? AND start < ? ORDER BY name;

-- name: same_sender_ids
-- ?1 is a JSON list of [channel, sender's id, digest of the body]. A row for each that is known: the
-- first event of that body, if any. A sender with one id for everything costs no more with each.
SELECT wanted.key, e.position, e.id, e.body
FROM json_each(?1) AS wanted LEFT JOIN events e ON e.position = (
    SELECT min(position) FROM events
    WHERE position >> 40 = wanted.value ->> 0 AND sender_id = wanted.value ->> 1
        AND digest = wanted.value ->> 2)
WHERE EXISTS (
    SELECT 1 FROM events
    WHERE position >> 40 = wanted.value ->> 0 AND sender_id = wanted.value ->> 1);

-- name: append
INSERT INTO events
    (position, id, received_at, size, conflict, key, kind, sender_id, digest, request, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: outlines
SELECT position, key, size FROM events WHERE position > ? AND position <= ?
ORDER BY position LIMIT ?;

-- name: fetch
-- ?1 is a JSON list of positions.
SELECT e.position, e.id, e.received_at, e.conflict, e.key, e.kind, e.request, e.body
FROM json_each(?) AS wanted JOIN events e ON e.position = wanted.value ORDER BY wanted.key;

-- name: find_event
SELECT position FROM events WHERE id = ?;

-- name: list_events
SELECT position, id, received_at, kind, key, request, size, conflict FROM events
WHERE position >= ? AND position < ? ORDER BY position DESC LIMIT ?;

-- name: claim
UPDATE subscriptions SET epoch = epoch + 1 WHERE number = ? RETURNING epoch, floor;

-- name: marks_above
SELECT sequence, state, attempt, failures, due_at, failing_since, reason FROM deliveries
WHERE subscription = ? AND sequence > ? ORDER BY sequence;

-- name: advance
-- Writes nothing when another holds a newer claim.
UPDATE subscriptions SET floor = max(floor, ?) WHERE number = ? AND epoch = ? RETURNING floor;

-- name: mark
INSERT INTO deliveries
    (subscription, sequence, state, attempt, failures, due_at, failing_since, reason)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET state = excluded.state, attempt = excluded.attempt,
    failures = excluded.failures, due_at = excluded.due_at,
    failing_since = excluded.failing_since, reason = excluded.reason;

-- name: forget_marks
-- 4 is MarkState.DEAD: dead deliveries stay listed below the floor.
DELETE FROM deliveries WHERE subscription = ? AND sequence <= ? AND state <> 4;

-- name: attempt
INSERT OR REPLACE INTO attempts
    (subscription, sequence, attempt, started_at, elapsed_ms, outcome, status, text)
VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: channel_status
SELECT count(*), max(position) FROM events WHERE position BETWEEN ? AND ?;

-- name: received_at
SELECT received_at FROM events WHERE position = ?;

-- name: settled_above
-- 3 and 4 are the settled states.
SELECT count(*) FROM deliveries WHERE subscription = ? AND sequence > ? AND state IN (3, 4);

-- name: dead
SELECT count(*) FROM deliveries WHERE subscription = ? AND state = 4;

-- name: events_above
SELECT count(*) FROM events WHERE position > ? AND position <= ?;

-- name: oldest_waiting
SELECT e.received_at FROM events e
WHERE e.position > ?1 AND e.position <= ?2 AND NOT EXISTS (
    SELECT 1 FROM deliveries d
    WHERE d.subscription = ?3 AND d.sequence = e.position - ?4 AND d.state IN (3, 4))
ORDER BY e.position LIMIT 1;

-- name: mark_of
SELECT state, reason, due_at FROM deliveries WHERE subscription = ? AND sequence = ?;

-- name: attempts_of
SELECT sequence, attempt, started_at, elapsed_ms, outcome, status, text FROM attempts
WHERE subscription = ? AND sequence = ? ORDER BY attempt;

-- name: settled_by_all
-- Up to here every subscription has everything; NULL without subscriptions.
SELECT min(floor) FROM subscriptions WHERE channel = ?;

-- name: trimmable
-- Dead deliveries keep their event, so that it can be replayed. Only the oldest of the others are
-- looked at: where these are young, so are the rest.
SELECT position FROM (
    SELECT e.position, e.received_at FROM events e
    WHERE e.position > ?1 AND e.position <= ?2 AND NOT EXISTS (
        SELECT 1 FROM deliveries d JOIN subscriptions s ON s.number = d.subscription
        WHERE s.channel = ?4 AND d.sequence = e.position - ?1 AND d.state = 4)
    ORDER BY e.position LIMIT ?5)
WHERE received_at < ?3 ORDER BY position;

-- name: delete_events
DELETE FROM events WHERE position IN (SELECT value FROM json_each(?));

-- name: delete_attempts
DELETE FROM attempts WHERE subscription IN (SELECT number FROM subscriptions WHERE channel = ?)
    AND sequence IN (SELECT value FROM json_each(?));

-- name: delete_deliveries
DELETE FROM deliveries WHERE subscription IN (SELECT number FROM subscriptions WHERE channel = ?)
    AND sequence IN (SELECT value FROM json_each(?));

-- name: channel_positions
SELECT position FROM events WHERE position BETWEEN ? AND ? LIMIT ?;
