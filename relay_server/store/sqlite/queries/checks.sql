-- What must be so between the tables; each finds what is not.

-- name: events_beyond
-- Further than its channel's row may be behind them.
SELECT name, last_sequence, (
    SELECT max(position) FROM events
    WHERE position BETWEEN number << @BITS AND (number << @BITS) + @MASK) - (number << @BITS) AS newest
FROM channels WHERE newest > last_sequence + @UNCOUNTED;

-- name: floors_beyond
SELECT c.name, s.name, max(s.start, s.floor) AS at, c.last_sequence
FROM subscriptions s JOIN counted c ON c.number = s.channel WHERE at > c.last_sequence;

-- name: events_of_nobody
-- Jumps from channel to channel, so that a large table is not read through.
WITH RECURSIVE found (channel) AS (
    SELECT min(position) >> @BITS FROM events
    UNION ALL
    SELECT (SELECT min(position) >> @BITS FROM events WHERE position >= (found.channel + 1) << @BITS)
    FROM found WHERE found.channel IS NOT NULL)
SELECT channel FROM found
WHERE channel IS NOT NULL AND abs(channel) NOT IN (SELECT number FROM channels)
    AND channel NOT IN (SELECT channel FROM purges);

-- name: count_all
SELECT (SELECT count(*) FROM channels), (SELECT count(*) FROM events),
    (SELECT max(received_at) FROM events);
