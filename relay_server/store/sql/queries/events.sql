-- Webhooks: stored, found again, read in order. `:first` and `:last` bound a channel's positions.

-- name: append
-- Values without names: `run_rows` repeats them for as many rows as there are.
INSERT INTO events
    (position, id, received_at, size, conflict, key, kind, sender_id, digest, request, body,
    checksum, repeat_of, sealed)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: last_sequence
SELECT last_sequence FROM counted WHERE number = :channel;

-- name: before_first_event
-- After what was deleted, or at the end if nothing is left.
SELECT coalesce((SELECT (position & @MASK) - 1 FROM events
                 WHERE position BETWEEN :first AND :last ORDER BY position LIMIT 1), last_sequence)
FROM counted WHERE number = :channel;

-- name: sequence_before
-- The last event received before a time: a new subscription begins after it.
SELECT max(position) FROM events WHERE position BETWEEN :first AND :last AND received_at < :time;

-- name: outlines
SELECT position, key, size FROM events WHERE position > :after AND position <= :last
ORDER BY position LIMIT :limit;

-- name: fetch
-- :positions is a JSON list.
SELECT e.position, e.id, e.received_at, e.conflict, e.key, e.kind, e.repeat_of, e.checksum,
    e.request, e.body, e.sealed
FROM @EACH(:positions) AS wanted JOIN events e ON e.position = wanted.value
ORDER BY wanted.key;

-- name: event_ids
-- :positions is a JSON list.
SELECT position, id FROM events WHERE position IN (SELECT value FROM @EACH(:positions));

-- name: summaries
-- As `fetch`.
SELECT e.position, e.id, e.received_at, e.kind, e.key, e.request, e.size, e.conflict
FROM @EACH(:positions) AS wanted JOIN events e ON e.position = wanted.value
ORDER BY wanted.key;

-- name: positions_of
-- :ids is a JSON list.
SELECT position FROM events
WHERE id IN (SELECT value FROM @WORDS(:ids)) AND position BETWEEN :first AND :last;

-- name: find_event
-- By the id that its sender was answered, too.
SELECT position FROM events WHERE id = :id
UNION ALL
SELECT e.position FROM aliases a JOIN events e ON e.id = a.event WHERE a.id = :id
LIMIT 1;

-- name: ids_ending
SELECT id FROM (
    SELECT id FROM events WHERE position BETWEEN :first AND :last
    ORDER BY position DESC LIMIT :looked_at) AS newest
WHERE substr(id, length(id) - length(:end) + 1) = :end LIMIT 10;

-- name: list_events
SELECT position, id, received_at, kind, key, request, size, conflict FROM events
WHERE position >= :first AND position < :before ORDER BY position DESC LIMIT :limit;

-- name: window_end
-- How far a look at so many events goes.
SELECT max(position), count(*) FROM (
    SELECT position FROM events WHERE position > :after AND position <= :last
    ORDER BY position LIMIT :limit) AS next_ones;

-- name: select_events
-- :sequences is a JSON list. :of_any_account is the end of keys that begin with a number.
SELECT position, key, size FROM events
WHERE position > :after AND position <= :last
    AND (:received_from IS NULL OR received_at >= :received_from)
    AND (:received_before IS NULL OR received_at < :received_before)
    AND (:kind IS NULL OR kind = :kind)
    AND (:key IS NULL OR key = :key OR ltrim(key, '0123456789') = :of_any_account)
    AND (:sequences IS NULL OR (position & @MASK) IN (SELECT value FROM @EACH(:sequences)))
    AND (:dead_for IS NULL OR EXISTS (
        SELECT 1 FROM deliveries d
        WHERE d.subscription = :dead_for AND d.sequence = (position & @MASK) AND d.state = @DEAD
            AND (:reason IS NULL OR d.reason = :reason)))
ORDER BY position LIMIT :limit;
