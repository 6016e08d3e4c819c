-- name: load_channels
SELECT number, name, config, created_at, last_sequence, bytes FROM channels;

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

-- name: forget_channel_readers
INSERT INTO forgotten (reader) SELECT number FROM subscriptions WHERE channel = ?1
UNION ALL SELECT -number FROM replays WHERE channel = ?1;

-- name: delete_channel_subscriptions
DELETE FROM subscriptions WHERE channel = ?;

-- name: delete_channel_replays
DELETE FROM replays WHERE channel = ?;

-- name: find_channel
SELECT number, name, config, created_at, last_sequence, bytes FROM channels WHERE name = ?;

-- name: take_sequences
UPDATE channels
SET last_sequence = last_sequence + ?1, events = events + ?1, bytes = bytes + ?2
WHERE number = ?3 RETURNING last_sequence;

-- name: load_tokens
SELECT name, digest, scopes, channels, created_at FROM tokens;

-- name: find_token
SELECT 1 FROM tokens WHERE name = ?;

-- name: create_token
INSERT INTO tokens (name, digest, scopes, channels, created_at) VALUES (?, ?, ?, ?, ?);

-- name: revoke_token
DELETE FROM tokens WHERE name = ?;

-- name: forget_subscription_readers
INSERT INTO forgotten (reader) SELECT number FROM subscriptions WHERE number = ?1
UNION ALL SELECT -number FROM replays WHERE subscription = ?1;

-- name: delete_subscription
DELETE FROM subscriptions WHERE number = ?;

-- name: delete_subscription_replays
DELETE FROM replays WHERE subscription = ?;

-- name: find_subscription
SELECT s.number, c.name, s.name, s.created_at, s.config
FROM subscriptions s JOIN channels c ON c.number = s.channel WHERE c.name = ? AND s.name = ?;

-- name: subscription
SELECT s.number, c.name, s.name, s.created_at, s.config
FROM subscriptions s JOIN channels c ON c.number = s.channel WHERE s.number = ?;

-- name: subscriptions
SELECT s.number, c.name, s.name, s.created_at, s.config
FROM subscriptions s JOIN channels c ON c.number = s.channel
WHERE ?1 IS NULL OR c.name = ?1 ORDER BY c.name, s.name;

-- name: count_subscriptions
SELECT count(*) FROM subscriptions WHERE channel = ?;

-- name: change_subscription
UPDATE subscriptions SET config = ? WHERE number = ?;

-- name: before_first_event
-- After what was deleted, or at the end if nothing is left.
SELECT coalesce((SELECT (position & 1099511627775) - 1 FROM events
                 WHERE position BETWEEN ?2 AND ?3 ORDER BY position LIMIT 1), last_sequence)
FROM channels WHERE number = ?1;

-- name: sequence_before
-- The last event received before a time: a new subscription begins after it.
SELECT max(position) FROM events WHERE position BETWEEN ? AND ? AND received_at < ?;

-- name: create_subscription
INSERT INTO subscriptions (channel, name, created_at, start, floor, config)
VALUES (?, ?, ?, ?, ?, ?) RETURNING number;

-- name: list_subscriptions
SELECT s.number, c.name, s.name, s.created_at, s.config, s.channel, s.floor, c.last_sequence
FROM subscriptions s JOIN channels c ON c.number = s.channel ORDER BY c.name, s.name;

-- name: subscriptions_of_channel
SELECT number, name, start, floor FROM subscriptions WHERE channel = ? ORDER BY name;

-- name: replays_of_event
-- Only those that came to it.
SELECT r.number, s.name FROM replays r JOIN subscriptions s ON s.number = r.subscription
WHERE r.channel = ?1 AND (
    EXISTS (SELECT 1 FROM attempts WHERE subscription = -r.number AND sequence = ?2)
    OR EXISTS (SELECT 1 FROM deliveries WHERE subscription = -r.number AND sequence = ?2))
ORDER BY r.number;

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

-- name: claim_replay
UPDATE replays SET epoch = epoch + 1 WHERE number = ? AND state = 1 RETURNING epoch, floor;

-- name: epoch
SELECT epoch FROM subscriptions WHERE number = ?;

-- name: epoch_of_replay
-- None where it has ended: then nobody is to take it up.
SELECT epoch FROM replays WHERE number = ? AND state = 1;

-- name: marks_above
SELECT sequence, state, attempt, failures, due_at, failing_since, reason, changed_at FROM deliveries
WHERE subscription = ? AND sequence > ? ORDER BY sequence;

-- name: advance
-- Nothing when another holds a newer claim.
UPDATE subscriptions SET floor = max(floor, ?) WHERE number = ? AND epoch = ? RETURNING floor;

-- name: advance_replay
UPDATE replays SET floor = max(floor, ?) WHERE number = ? AND epoch = ? AND state = 1
RETURNING floor;

-- name: mark
INSERT INTO deliveries
    (subscription, sequence, state, attempt, failures, due_at, failing_since, reason, changed_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET state = excluded.state, attempt = excluded.attempt,
    failures = excluded.failures, due_at = excluded.due_at,
    failing_since = excluded.failing_since, reason = excluded.reason,
    changed_at = excluded.changed_at;

-- name: forget_marks
-- 4 and 5 are MarkState.DEAD and DISCARDED: these stay listed below the floor. Others are only
-- looked for where the floor just passed: there may be very many dead ones below.
DELETE FROM deliveries
WHERE subscription = ? AND sequence > ? AND sequence <= ? AND state NOT IN (4, 5);

-- name: nth_passed_mark
-- The first of those that `forget_marks` is to delete which is too many.
SELECT sequence FROM deliveries
WHERE subscription = ? AND sequence > ? AND sequence <= ? AND state NOT IN (4, 5)
ORDER BY sequence LIMIT 1 OFFSET ?;

-- name: forget_dead_of_gone
-- An event may have been dropped while its last attempt was under way. ?1 is a subscription or a
-- replay, ?2 a JSON list of sequences.
DELETE FROM deliveries
WHERE state = 4 AND sequence IN (SELECT value FROM json_each(?2))
    AND subscription IN (?1, (SELECT subscription FROM replays WHERE number = -?1))
    AND NOT EXISTS (
        SELECT 1 FROM events WHERE position = deliveries.sequence + 1099511627776 * (
            SELECT channel FROM subscriptions WHERE number = deliveries.subscription
            UNION ALL SELECT channel FROM replays WHERE number = -deliveries.subscription));

-- name: redeem
-- What a replay delivered is not dead any more. ?2 is a JSON list of sequences.
UPDATE deliveries SET state = 3, reason = ''
WHERE subscription = (SELECT subscription FROM replays WHERE number = ?1) AND state IN (4, 5)
    AND sequence IN (SELECT value FROM json_each(?2));

-- name: forget_redeemed
-- Below the floor there is nothing more to say of it.
DELETE FROM deliveries
WHERE sequence IN (SELECT value FROM json_each(?2)) AND state = 3
    AND (subscription, sequence) IN (
        SELECT s.number, wanted.value
        FROM replays r JOIN subscriptions s ON s.number = r.subscription, json_each(?2) AS wanted
        WHERE r.number = ?1 AND wanted.value <= s.floor);

-- name: dead_by_replay
-- What a replay gave up is dead for its subscription, unless that is still on its way to it.
INSERT INTO deliveries
    (subscription, sequence, state, attempt, failures, due_at, failing_since, reason, changed_at)
SELECT s.number, ?2, 4, ?3, ?4, 0, NULL, ?5, ?6
FROM replays r JOIN subscriptions s ON s.number = r.subscription
WHERE r.number = ?1 AND (s.floor >= ?2 OR EXISTS (
    SELECT 1 FROM deliveries d
    WHERE d.subscription = s.number AND d.sequence = ?2 AND d.state IN (3, 4, 5)))
ON CONFLICT DO UPDATE SET state = 4, reason = excluded.reason, changed_at = excluded.changed_at;

-- name: attempt
INSERT OR REPLACE INTO attempts
    (subscription, sequence, attempt, started_at, elapsed_ms, outcome, status, text)
VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: channel_status
SELECT c.events, c.bytes, c.dropped, (
    SELECT received_at FROM events WHERE position BETWEEN ?2 AND ?3 ORDER BY position DESC LIMIT 1)
FROM channels c WHERE c.number = ?1;

-- name: settled_above
-- From 3 on states are settled.
SELECT count(*) FROM deliveries WHERE subscription = ? AND sequence > ? AND state >= 3;

-- name: dead
SELECT count(*) FROM deliveries WHERE subscription = ? AND state = 4;

-- name: oldest_waiting
SELECT e.received_at FROM events e
WHERE e.position > ?1 AND e.position <= ?2 AND NOT EXISTS (
    SELECT 1 FROM deliveries d
    WHERE d.subscription = ?3 AND d.sequence = e.position - ?4 AND d.state >= 3)
ORDER BY e.position LIMIT 1;

-- name: mark_of
SELECT state, reason, due_at FROM deliveries WHERE subscription = ? AND sequence = ?;

-- name: attempts_of
SELECT sequence, attempt, started_at, elapsed_ms, outcome, status, text FROM attempts
WHERE subscription = ? AND sequence = ? ORDER BY attempt;

-- name: removable
-- The next events, whether each is old enough, and whether it may be deleted.
SELECT w.position, w.old,
    w.old AND EXISTS (SELECT 1 FROM deletable d WHERE d.position = w.position)
FROM (SELECT position, ?4 IS NULL OR received_at < ?4 AS old
      FROM events WHERE position > ?1 AND position <= ?2
      ORDER BY position LIMIT ?3) AS w ORDER BY w.position;

-- name: still_deletable
-- ?1 is a JSON list of positions.
SELECT e.position, e.size + length(e.request)
FROM json_each(?1) AS wanted JOIN events e ON e.position = wanted.value
WHERE e.position IN (SELECT position FROM deletable WHERE position = e.position);

-- name: oldest
SELECT e.position, e.size + length(e.request),
    EXISTS (SELECT 1 FROM deletable d WHERE d.position = e.position)
FROM events e WHERE e.position > ? AND e.position <= ? ORDER BY e.position LIMIT ?;

-- name: delete_events
DELETE FROM events WHERE position IN (SELECT value FROM json_each(?));

-- name: delete_attempts
-- Those of replays go with their replay: there may be very many that have ended.
DELETE FROM attempts WHERE subscription IN (SELECT number FROM subscriptions WHERE channel = ?1)
    AND sequence IN (SELECT value FROM json_each(?2));

-- name: delete_deliveries
-- Marks above a floor stay: what waits is counted by them.
DELETE FROM deliveries WHERE (subscription, sequence) IN (
    SELECT s.number, wanted.value FROM subscriptions s, json_each(?2) AS wanted
    WHERE s.channel = ?1 AND wanted.value <= s.floor);

-- name: count_removed
UPDATE channels SET events = events - ?, bytes = bytes - ?, dropped = dropped + ? WHERE number = ?;

-- name: pass_dropped
-- What was dropped will never come: go on behind it.
UPDATE subscriptions SET floor = max(floor, ?) WHERE channel = ?;

-- name: forget_passed_marks
DELETE FROM deliveries WHERE state NOT IN (4, 5) AND (subscription, sequence) IN (
    SELECT d.subscription, d.sequence FROM subscriptions s JOIN deliveries d
    ON d.subscription = s.number AND d.sequence <= s.floor WHERE s.channel = ?);

-- name: settle_discarded
-- Above a floor a mark outlives its event, and says no more than that it is settled.
UPDATE deliveries SET state = 3 WHERE state = 5 AND (subscription, sequence) IN (
    SELECT s.number, wanted.value FROM subscriptions s, json_each(?2) AS wanted
    WHERE s.channel = ?1);

-- name: dead_before
SELECT d.subscription, d.sequence FROM subscriptions s JOIN deliveries d ON d.subscription = s.number
WHERE s.channel = ? AND d.state = 4 AND d.changed_at < ? LIMIT ?;

-- name: discard
UPDATE deliveries SET state = 5, changed_at = ?1
WHERE subscription = ?2 AND state = 4 AND sequence IN (SELECT value FROM json_each(?3))
RETURNING sequence;

-- name: list_dead
SELECT d.sequence, d.reason, d.attempt, d.changed_at,
    e.position, e.id, e.received_at, e.kind, e.key, e.request, e.size, e.conflict
FROM deliveries d JOIN events e ON e.position = ?1 + d.sequence
WHERE d.subscription = ?2 AND d.sequence > ?3 AND d.state = 4 ORDER BY d.sequence LIMIT ?4;

-- name: channel_of_subscription
SELECT channel FROM subscriptions WHERE number = ?;

-- name: first_dead
SELECT min(sequence) FROM deliveries WHERE subscription = ? AND state = 4;

-- name: last_sequence
SELECT last_sequence FROM channels WHERE number = ?;

-- name: create_replay
INSERT INTO replays
    (subscription, channel, selection, rate_per_s, start, until, floor, created_at, made_by)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING number;

-- name: count_running
SELECT count(*) FROM replays WHERE subscription = ? AND state = 1;

-- name: replay
SELECT number, subscription, selection, rate_per_s, start, until, floor, state, created_at,
    made_by, ended_at, (
        SELECT count(*) FROM attempts a
        WHERE a.subscription = -r.number AND a.status BETWEEN 200 AND 299)
FROM replays r WHERE number = ?;

-- name: replays
SELECT number, subscription, selection, rate_per_s, start, until, floor, state, created_at,
    made_by, ended_at, (
        SELECT count(*) FROM attempts a
        WHERE a.subscription = -r.number AND a.status BETWEEN 200 AND 299)
FROM replays r WHERE (?1 IS NULL OR subscription = ?1) AND (NOT ?2 OR state = 1)
ORDER BY number DESC LIMIT ?3;

-- name: end_replay
UPDATE replays SET state = ?, ended_at = ? WHERE number = ? AND state = 1;

-- name: delete_marks
DELETE FROM deliveries WHERE subscription = ?;

-- name: ended_replays
SELECT number FROM replays WHERE channel = ? AND state <> 1 AND ended_at < ? LIMIT ?;

-- name: delete_replay
DELETE FROM replays WHERE number = ?;

-- name: window_end
-- How far a look at so many events goes.
SELECT max(position), count(*) FROM (
    SELECT position FROM events WHERE position > ? AND position <= ? ORDER BY position LIMIT ?);

-- name: select_events
-- ?7 is a JSON list of sequences; ?8 to ?10 are one text in three spellings. The key as
-- `rules.means_key` has it: a conversation of whichever account.
SELECT position, key, size FROM events
WHERE position > ?1 AND position <= ?2
    AND (?3 IS NULL OR received_at >= ?3) AND (?4 IS NULL OR received_at < ?4)
    AND (?5 IS NULL OR kind = ?5) 
    AND (?6 IS NULL OR key = ?6 OR NOT instr(?6, '/') AND ltrim(key, '0123456789') = '/' || ?6)
    AND (?7 IS NULL OR (position & 1099511627775) IN (SELECT value FROM json_each(?7)))
    AND (?8 IS NULL OR instr(body, ?8) OR instr(body, ?9) OR instr(body, ?10))
    AND (?11 IS NULL OR EXISTS (
        SELECT 1 FROM deliveries d
        WHERE d.subscription = ?11 AND d.sequence = (position & 1099511627775) AND d.state = 4))
ORDER BY position LIMIT ?12;

-- name: forget_reader
INSERT INTO forgotten (reader) VALUES (?);

-- name: forgotten
SELECT reader FROM forgotten LIMIT 1;

-- name: sweep_attempts
DELETE FROM attempts WHERE (subscription, sequence, attempt) IN (
    SELECT subscription, sequence, attempt FROM attempts WHERE subscription = ? LIMIT ?)
RETURNING 1;

-- name: sweep_deliveries
DELETE FROM deliveries WHERE (subscription, sequence) IN (
    SELECT subscription, sequence FROM deliveries WHERE subscription = ? LIMIT ?)
RETURNING 1;

-- name: remember_no_more
DELETE FROM forgotten WHERE reader = ?;

-- name: channel_positions
SELECT position FROM events WHERE position BETWEEN ? AND ? LIMIT ?;
