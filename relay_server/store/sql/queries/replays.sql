-- Replays. What became of their deliveries is kept like a subscription's, under minus the number.

-- name: create_replay
INSERT INTO replays
    (subscription, channel, selection, rate_per_s, start, until, floor, created_at, made_by)
VALUES (:subscription, :channel, :selection, :rate_per_s, :start, :until, :start, :now, :made_by)
RETURNING number;

-- name: count_running
SELECT count(*) FROM replays
WHERE subscription = :subscription AND state = @RUNNING AND (channel < 0) = :edited;

-- name: replays
-- The newest, or one; of every subscription for NULL, without those of edited events then.
SELECT number, subscription, selection, rate_per_s, start, until, floor, state, created_at,
    made_by, ended_at, (
        SELECT count(*) FROM attempts a
        WHERE a.subscription = -r.number AND a.status BETWEEN 200 AND 299), channel < 0
FROM replays r
WHERE number BETWEEN coalesce(:only, 0) AND coalesce(:only, @MASK)
    AND (subscription = :subscription OR :subscription IS NULL AND (channel > 0 OR number = :only))
    AND (NOT :running OR state = @RUNNING)
ORDER BY number DESC LIMIT :limit;

-- name: end_replay
UPDATE replays SET state = :state, ended_at = :now WHERE number = :number AND state = @RUNNING;

-- name: ended_replays
SELECT number FROM replays
WHERE channel IN (:channel, -:channel) AND state <> @RUNNING AND ended_at < :ended_before LIMIT :limit;

-- name: delete_replay
DELETE FROM replays WHERE number = :number;
