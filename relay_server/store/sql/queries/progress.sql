-- How far each reader is. A reader is a subscription, or a replay under minus its number.

-- name: claim
-- Its last column: whether whoever shares it elsewhere is handed on to it.
UPDATE subscriptions SET epoch = epoch + 1, left_at = NULL WHERE number = :number
RETURNING epoch, floor, FALSE;

-- name: leave
UPDATE subscriptions SET left_at = :now WHERE number = :number AND epoch = :epoch;

-- name: leave_all
UPDATE subscriptions SET left_at = :now WHERE left_at IS NULL AND epoch > 0;

-- name: claim_replay
UPDATE replays SET epoch = epoch + 1 WHERE number = :number AND state = @RUNNING
RETURNING epoch, floor, FALSE;

-- name: standing
SELECT epoch, floor FROM subscriptions WHERE number = :number;

-- name: epoch
-- And whether it is shared, where others may: with several servers.
SELECT epoch, FALSE FROM subscriptions WHERE number = :number;

-- name: epoch_of_replay
-- None where it has ended: then nobody is to take it up.
SELECT epoch, FALSE FROM replays WHERE number = :number AND state = @RUNNING;

-- name: marks_above
SELECT sequence, state, attempt, failures, due_at, failing_since, reason, changed_at FROM deliveries
WHERE subscription = :reader AND sequence > :floor ORDER BY sequence;

-- name: advance
-- Nothing when another holds a newer claim.
UPDATE subscriptions SET floor = @GREATEST(floor, :floor) WHERE number = :number AND epoch = :epoch
RETURNING floor;

-- name: advance_replay
UPDATE replays SET floor = @GREATEST(floor, :floor)
WHERE number = :number AND epoch = :epoch AND state = @RUNNING RETURNING floor;

-- name: mark
-- Values without names: `run_rows` repeats them for as many rows as there are.
INSERT INTO deliveries
    (subscription, sequence, state, attempt, failures, due_at, failing_since, reason, changed_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (subscription, sequence) DO UPDATE SET state = excluded.state, attempt = excluded.attempt,
    failures = excluded.failures, due_at = excluded.due_at,
    failing_since = excluded.failing_since, reason = excluded.reason,
    changed_at = excluded.changed_at;

-- name: attempt
-- As `mark`.
INSERT INTO attempts
    (subscription, sequence, attempt, started_at, elapsed_ms, outcome, status, text, size, headers)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (subscription, sequence, attempt) DO UPDATE SET started_at = excluded.started_at,
    elapsed_ms = excluded.elapsed_ms, outcome = excluded.outcome, status = excluded.status,
    text = excluded.text, size = excluded.size, headers = excluded.headers;

-- name: forget_marks
-- What is dead or discarded stays listed below the floor. Others are only looked for where the
-- floor just passed: there may be very many dead ones below.
DELETE FROM deliveries
WHERE subscription = :reader AND sequence > :before AND sequence <= :floor
    AND state NOT IN (@DEAD, @DISCARDED);

-- name: forget_dead_of_gone
-- An event may have been dropped while its last attempt was under way. :sequences is a JSON list.
DELETE FROM deliveries
WHERE state = @DEAD AND sequence IN (SELECT value FROM @EACH(:sequences))
    AND subscription IN (:reader, (SELECT subscription FROM replays WHERE number = -:reader))
    AND NOT EXISTS (
        SELECT 1 FROM events WHERE position = deliveries.sequence + (@MASK + 1) * (
            SELECT channel FROM subscriptions WHERE number = deliveries.subscription
            UNION ALL SELECT channel FROM replays WHERE number = -deliveries.subscription));

-- name: redeem
-- What a replay delivered is not dead any more. :sequences is a JSON list. Here and below: those of
-- edited events are of another stream, and say nothing of the channel's.
UPDATE deliveries SET state = @DELIVERED, reason = ''
WHERE subscription = (SELECT subscription FROM replays WHERE number = :replay AND channel > 0)
    AND state IN (@DEAD, @DISCARDED)
    AND sequence IN (SELECT value FROM @EACH(:sequences));

-- name: forget_redeemed
-- Below the floor there is nothing more to say of it.
DELETE FROM deliveries
WHERE sequence IN (SELECT value FROM @EACH(:sequences)) AND state = @DELIVERED
    AND (subscription, sequence) IN (
        SELECT s.number, wanted.value
        FROM replays r JOIN subscriptions s ON s.number = r.subscription,
            @EACH(:sequences) AS wanted
        WHERE r.number = :replay AND r.channel > 0 AND wanted.value <= s.floor);

-- name: dead_by_replay
-- What a replay gave up is dead for its subscription, unless that is still on its way to it, or the
-- event is gone: then it stays as it was settled.
INSERT INTO deliveries
    (subscription, sequence, state, attempt, failures, due_at, failing_since, reason, changed_at)
SELECT s.number, :sequence, @DEAD, :attempt, :failures, 0, NULL, :reason, :changed_at
FROM replays r JOIN subscriptions s ON s.number = r.subscription
WHERE r.number = :replay AND r.channel > 0
    AND EXISTS (SELECT 1 FROM events e WHERE e.position = r.channel << @BITS | :sequence)
    AND (s.floor >= :sequence OR EXISTS (
    SELECT 1 FROM deliveries d
    WHERE d.subscription = s.number AND d.sequence = :sequence AND d.state >= @DELIVERED)
    OR coalesce((
        SELECT k.first FROM skips k WHERE k.subscription = s.number AND k.last >= :sequence
        ORDER BY k.last LIMIT 1) <= :sequence, FALSE))
ON CONFLICT (subscription, sequence) DO UPDATE
SET state = @DEAD, reason = excluded.reason, changed_at = excluded.changed_at
RETURNING subscription;

-- name: forget_given_up
-- What a target took is not dead, whoever gave it up meanwhile. :sequences is a JSON list.
DELETE FROM deliveries
WHERE subscription = :reader AND state IN (@DEAD, @DISCARDED)
    AND sequence IN (SELECT value FROM @EACH(:sequences));

-- name: give_up
-- What was tried, and is not settled. :sequences is a JSON list.
UPDATE deliveries SET state = @DEAD, due_at = 0, reason = :reason, changed_at = :now
WHERE subscription = :subscription AND state < @DELIVERED
    AND sequence IN (SELECT value FROM @EACH(:sequences))
RETURNING sequence, state, attempt, failures, due_at, failing_since, reason, changed_at;

-- name: discard
-- :sequences is a JSON list.
UPDATE deliveries SET state = @DISCARDED, changed_at = :now
WHERE subscription = :subscription AND state = @DEAD
    AND sequence IN (SELECT value FROM @EACH(:sequences))
RETURNING sequence, state, attempt, failures, due_at, failing_since, reason, changed_at;

-- name: list_dead
SELECT d.sequence, d.reason, d.attempt, d.changed_at,
    e.position, e.id, e.received_at, e.kind, e.key, e.request, e.size, e.conflict
FROM subscriptions s JOIN deliveries d ON d.subscription = s.number
    JOIN events e ON e.position = s.channel << @BITS | d.sequence
WHERE s.number = :subscription AND d.sequence > :after AND d.state = @DEAD
    AND (:reason IS NULL OR d.reason = :reason)
ORDER BY d.sequence LIMIT :limit;

-- name: dead_reasons
SELECT reason, count(*), min(changed_at), max(changed_at) FROM deliveries
WHERE subscription = :subscription AND state = @DEAD AND (:reason IS NULL OR reason = :reason)
GROUP BY reason ORDER BY count(*) DESC, reason LIMIT :limit OFFSET :first;

-- name: retry_reasons
-- Of what `subscription_status` counts as tried again.
SELECT d.reason, count(*), min(coalesce(d.failing_since, d.changed_at))
FROM subscriptions s JOIN deliveries d ON d.subscription = s.number AND d.sequence > s.floor
WHERE s.number = :subscription AND d.state = @WAITING AND d.due_at > 0
GROUP BY d.reason ORDER BY count(*) DESC, d.reason LIMIT :limit;

-- name: first_dead
SELECT min(sequence) FROM deliveries WHERE subscription = :subscription AND state = @DEAD;

-- name: delete_marks
DELETE FROM deliveries WHERE subscription = :reader;
