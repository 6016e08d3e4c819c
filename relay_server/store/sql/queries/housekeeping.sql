-- Deleting what nobody needs any more. Events that may go are those of the view `deletable`, but for
-- pinned ones: nothing deletes these, not even want of room.

-- name: removable
-- The next events, whether each is old enough, and whether it may be deleted.
SELECT w.position, w.old,
    w.old AND EXISTS (SELECT 1 FROM deletable d WHERE d.position = w.position)
        AND NOT EXISTS (SELECT 1 FROM pins p WHERE p.position = w.position)
FROM (SELECT position, :received_before IS NULL OR received_at < :received_before AS old
      FROM events WHERE position > :after AND position <= :last
      ORDER BY position LIMIT :limit) AS w ORDER BY w.position;

-- name: still_deletable
-- :positions is a JSON list.
SELECT e.position, e.size + length(e.request)
FROM @EACH(:positions) AS wanted JOIN events e ON e.position = wanted.value
WHERE e.position IN (SELECT position FROM deletable WHERE position = e.position)
    AND NOT EXISTS (SELECT 1 FROM pins p WHERE p.position = e.position);

-- name: whole_bodies
-- The next events that are old enough and have a body, and whether everybody has had it.
SELECT w.position, w.size, w.request,
    EXISTS (SELECT 1 FROM deletable d WHERE d.position = w.position)
        AND NOT EXISTS (SELECT 1 FROM pins p WHERE p.position = w.position)
FROM (SELECT position, size, request FROM events
      WHERE position > :after AND position <= :last AND size > 0
          AND received_at < :received_before
      ORDER BY position LIMIT :limit) AS w ORDER BY w.position;

-- name: drop_body
-- Nothing finds it by its digest any more: that would tell who guesses a body whether it was this.
UPDATE events SET body = :body, size = 0, sealed = @UNKEPT, digest = NULL, checksum = :checksum
WHERE position = :position;

-- name: drop_answers
-- What targets answered may repeat what they were sent; steps of a hand-off, below 0, are kept.
UPDATE attempts SET text = '', headers = '' WHERE attempt > 0 AND status IS NOT NULL
    AND (text <> '' OR headers <> '')
    AND sequence IN (SELECT value FROM @EACH(:sequences))
    AND subscription IN (
        SELECT number FROM subscriptions WHERE channel = :channel
        UNION ALL
        SELECT -r.number FROM replays r JOIN subscriptions s ON s.number = r.subscription
        WHERE s.channel = :channel);

-- name: oldest
SELECT e.position, e.size + length(e.request),
    EXISTS (SELECT 1 FROM deletable d WHERE d.position = e.position)
FROM events e WHERE e.position > :first AND e.position <= :last
    AND NOT EXISTS (SELECT 1 FROM pins p WHERE p.position = e.position)
ORDER BY e.position LIMIT :limit;

-- name: pinned_and_missed
-- How many of them somebody still needs, up to a position: readers go on behind it.
SELECT count(*) FROM pins p WHERE p.position BETWEEN :first AND :last
    AND NOT EXISTS (SELECT 1 FROM deletable d WHERE d.position = p.position);

-- name: delete_events
-- :positions is a JSON list.
DELETE FROM events WHERE position IN (SELECT value FROM @EACH(:positions));

-- name: delete_attempts
-- Those of replays go with their replay: there may be very many that have ended.
DELETE FROM attempts
WHERE subscription IN (SELECT number FROM subscriptions WHERE channel = :channel)
    AND sequence IN (SELECT value FROM @EACH(:sequences));

-- name: delete_deliveries
-- Marks above a floor stay: what waits is counted by them.
DELETE FROM deliveries WHERE (subscription, sequence) IN (
    SELECT s.number, wanted.value FROM subscriptions s, @EACH(:sequences) AS wanted
    WHERE s.channel = :channel AND wanted.value <= s.floor);

-- name: settle_discarded
-- Above a floor a mark outlives its event, and says no more than that it is settled.
UPDATE deliveries SET state = @DELIVERED
WHERE state = @DISCARDED AND (subscription, sequence) IN (
    SELECT s.number, wanted.value FROM subscriptions s, @EACH(:sequences) AS wanted
    WHERE s.channel = :channel);

-- name: count_removed
UPDATE channels
SET events = events - :events, bytes = bytes - :bytes, dropped = dropped + :dropped
WHERE number = :channel;

-- name: pass_dropped
-- What was dropped will never come: go on behind it.
UPDATE subscriptions SET floor = @GREATEST(floor, :floor) WHERE channel = :channel;

-- name: forget_passed_marks
DELETE FROM deliveries
WHERE state NOT IN (@DEAD, @DISCARDED) AND (subscription, sequence) IN (
    SELECT d.subscription, d.sequence FROM subscriptions s JOIN deliveries d
    ON d.subscription = s.number AND d.sequence <= s.floor WHERE s.channel = :channel);

-- name: dead_before
SELECT d.subscription, d.sequence FROM subscriptions s JOIN deliveries d ON d.subscription = s.number
WHERE s.channel = :channel AND d.state = @DEAD AND d.changed_at < :ended_before LIMIT :limit;

-- name: purges
SELECT channel FROM purges;

-- name: channel_positions
SELECT position FROM events WHERE position BETWEEN :first AND :last LIMIT :limit;

-- name: channel_span
-- How many events there are, if none between them is gone. Each half is one look into the index.
SELECT coalesce((SELECT max(position) FROM events WHERE position BETWEEN :first AND :last)
    - (SELECT min(position) FROM events WHERE position BETWEEN :first AND :last) + 1, 0);

-- name: end_purge
DELETE FROM purges WHERE channel = :channel;

-- name: forget_reader
INSERT INTO forgotten (reader) VALUES (:reader);

-- name: forgotten
SELECT reader FROM forgotten LIMIT 1;

-- name: sweep_attempts
DELETE FROM attempts WHERE (subscription, sequence, attempt) IN (
    SELECT subscription, sequence, attempt FROM attempts WHERE subscription = :reader LIMIT :limit)
RETURNING 1;

-- name: sweep_deliveries
DELETE FROM deliveries WHERE (subscription, sequence) IN (
    SELECT subscription, sequence FROM deliveries WHERE subscription = :reader LIMIT :limit)
RETURNING 1;

-- name: remember_no_more
DELETE FROM forgotten WHERE reader = :reader;
