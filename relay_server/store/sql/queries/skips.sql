-- What filters left out. A span is found by its end: the one around a sequence, if there is one, is
-- the first that does not end before it.

-- name: readers_that_skip
SELECT DISTINCT subscription FROM skips;

-- name: forget_unsettled
-- What was under way or waited, and is not meant any more.
DELETE FROM deliveries
WHERE subscription = :reader AND sequence BETWEEN :first AND :last AND state < @DELIVERED;

-- name: forget_left_out
-- What is left out waits no more: its reader had it under way. :sequences is a JSON list.
DELETE FROM deliveries
WHERE subscription = :reader AND state < @DELIVERED
    AND sequence IN (SELECT value FROM @EACH(:sequences))
    AND coalesce((
        SELECT k.first FROM skips k
        WHERE k.subscription = :reader AND k.last >= deliveries.sequence
        ORDER BY k.last LIMIT 1) <= deliveries.sequence, FALSE);

-- name: waiting_between
-- How many sequences after :floor, up to :last, are neither settled nor left out.
SELECT :last - :floor - (
    SELECT count(*) FROM deliveries
    WHERE subscription = :reader AND sequence > :floor AND sequence <= :last
        AND state >= @DELIVERED
) - (
    SELECT coalesce(sum(@LEAST(last, :last) - @GREATEST(first - 1, :floor)), 0) FROM skips
    WHERE subscription = :reader AND last > :floor AND first <= :last);

-- name: settled_between
SELECT sequence FROM deliveries
WHERE subscription = :reader AND sequence BETWEEN :first AND :last AND state >= @DELIVERED
ORDER BY sequence;

-- name: take_touched_skips
-- To be made one with a new one: of those that begin before its end, one may end behind it.
DELETE FROM skips
WHERE subscription = :reader AND first <= :last + 1 AND last BETWEEN :first - 1 AND coalesce((
    SELECT min(k.last) FROM skips k WHERE k.subscription = :reader AND k.last > :last), :last)
RETURNING first, last;

-- name: take_skip_around
DELETE FROM skips
WHERE subscription = :reader AND first <= :sequence AND last = (
    SELECT min(k.last) FROM skips k WHERE k.subscription = :reader AND k.last >= :sequence)
RETURNING first, last;

-- name: skip
-- Values without names: `run_rows` repeats them for as many rows as there are.
INSERT INTO skips (subscription, first, last) VALUES (?, ?, ?);

-- name: forget_skips
DELETE FROM skips WHERE subscription = :reader AND last <= :floor;

-- name: forget_passed_skips
DELETE FROM skips WHERE (subscription, last) IN (
    SELECT k.subscription, k.last FROM subscriptions s JOIN skips k
    ON k.subscription = s.number AND k.last <= s.floor WHERE s.channel = :channel);

-- name: sweep_skips
DELETE FROM skips WHERE (subscription, last) IN (
    SELECT subscription, last FROM skips WHERE subscription = :reader LIMIT :limit)
RETURNING 1;

-- name: not_skipped
-- As `outlines`, without what a subscription's filters left out.
SELECT position, key, size FROM events
WHERE position > :after AND position <= :last AND NOT coalesce((
    SELECT k.first FROM skips k
    WHERE k.subscription = :subscription AND k.last >= (position & @MASK)
    ORDER BY k.last LIMIT 1) <= (position & @MASK), FALSE)
ORDER BY position LIMIT :limit;

-- name: skips_around
-- Those of readers (a JSON list) that hold something from one sequence to another.
SELECT k.subscription, k.first, k.last
FROM @EACH(:readers) AS reader JOIN skips k ON k.subscription = reader.value
WHERE k.first <= :highest AND k.last BETWEEN :lowest AND coalesce((
    SELECT min(x.last) FROM skips x
    WHERE x.subscription = reader.value AND x.last > :highest), :highest)
ORDER BY k.subscription, k.last;
