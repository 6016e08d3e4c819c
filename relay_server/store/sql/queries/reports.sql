-- What people ask: how is it doing, and what became of an event.

-- name: channel_status
-- Three counters, and the time of the newest event.
SELECT c.name, c.events, c.bytes, c.dropped, (
    SELECT e.received_at FROM events e
    WHERE e.position BETWEEN c.number << @BITS AND c.number << @BITS | @MASK
    ORDER BY e.position DESC LIMIT 1)
FROM counted c ORDER BY c.name;

-- name: subscription_status
-- :only is a JSON list of numbers; NULL for all. What waits is counted by what does not, which is
-- little: the marks above the floor that say `settled`, and the spans that a filter left out.
SELECT s.number, c.name, s.name, s.created_at, s.config, s.left_at,
    @GREATEST(0, c.last_sequence - s.floor - (
        SELECT count(*) FROM deliveries d
        WHERE d.subscription = s.number AND d.sequence > s.floor AND d.state >= @DELIVERED
    ) - (
        SELECT coalesce(sum(k.last - @GREATEST(k.first - 1, s.floor)), 0) FROM skips k
        WHERE k.subscription = s.number AND k.last > s.floor)),
    (SELECT e.received_at FROM events e
     WHERE e.position > s.channel << @BITS | s.floor AND e.position <= s.channel << @BITS | @MASK
        AND NOT EXISTS (
            SELECT 1 FROM deliveries d
            WHERE d.subscription = s.number AND d.sequence = (e.position & @MASK)
                AND d.state >= @DELIVERED)
        AND NOT coalesce((
            SELECT k.first FROM skips k
            WHERE k.subscription = s.number AND k.last >= (e.position & @MASK)
            ORDER BY k.last LIMIT 1) <= (e.position & @MASK), FALSE)
     ORDER BY e.position LIMIT 1),
    (SELECT count(*) FROM deliveries d WHERE d.subscription = s.number AND d.state = @DEAD),
    (SELECT count(*) FROM deliveries d
     WHERE d.subscription = s.number AND d.sequence > s.floor AND d.state = @WAITING
        AND d.due_at > 0),
    (SELECT min(d.due_at) FROM deliveries d
     WHERE d.subscription = s.number AND d.sequence > s.floor AND d.state = @WAITING
        AND d.due_at > 0)
FROM subscriptions s JOIN counted c ON c.number = s.channel
WHERE s.number IN (
    SELECT value FROM @EACH(:only)
    UNION ALL SELECT number FROM subscriptions WHERE :only IS NULL)
ORDER BY c.name, s.name;

-- name: received_at
-- Of the first event after a position.
SELECT position, received_at FROM events WHERE position > :after AND position <= :last
ORDER BY position LIMIT 1;

-- name: came
-- As `subscription_status`, of what is after a sequence, without what waits for its next attempt.
SELECT
    @GREATEST(0, c.last_sequence - a.after - (
        SELECT count(*) FROM deliveries d
        WHERE d.subscription = s.number AND d.sequence > a.after
            AND (d.state >= @DELIVERED OR d.state = @WAITING AND d.due_at > 0)
    ) - (
        SELECT coalesce(sum(k.last - @GREATEST(k.first - 1, a.after)), 0) FROM skips k
        WHERE k.subscription = s.number AND k.last > a.after)),
    (SELECT e.received_at FROM events e
     WHERE e.position > s.channel << @BITS | a.after AND e.position <= s.channel << @BITS | @MASK
        AND NOT EXISTS (
            SELECT 1 FROM deliveries d
            WHERE d.subscription = s.number AND d.sequence = (e.position & @MASK)
                AND (d.state >= @DELIVERED OR d.state = @WAITING AND d.due_at > 0))
        AND NOT coalesce((
            SELECT k.first FROM skips k
            WHERE k.subscription = s.number AND k.last >= (e.position & @MASK)
            ORDER BY k.last LIMIT 1) <= (e.position & @MASK), FALSE)
     ORDER BY e.position LIMIT 1)
FROM subscriptions s JOIN counted c ON c.number = s.channel CROSS JOIN (SELECT :after AS after) a
WHERE s.number = :number;

-- name: place_of
-- Of a subscription: its channel, its floor, and that channel's last sequence.
SELECT s.channel, s.floor, c.last_sequence
FROM subscriptions s JOIN counted c ON c.number = s.channel WHERE s.number = :number;

-- name: marks_of_replays
-- :replays is a JSON list of numbers. What is below the floor are dead ones alone.
SELECT r.number,
    count(*) FILTER (WHERE d.sequence > r.floor AND d.state >= @DELIVERED),
    count(*) FILTER (WHERE d.sequence > r.floor AND d.state < @DELIVERED),
    max(d.sequence),
    count(*) FILTER (WHERE d.state = @DEAD),
    count(*) FILTER (WHERE d.state = @WAITING AND d.due_at > 0),
    min(d.due_at) FILTER (WHERE d.state = @WAITING AND d.due_at > 0)
FROM @EACH(:replays) AS replay JOIN replays r ON r.number = replay.value
    JOIN deliveries d ON d.subscription = -r.number
GROUP BY r.number;

-- name: attempts_of_replays
-- As `marks_of_replays`.
SELECT replay.value, count(DISTINCT a.sequence), max(a.sequence),
    count(*) FILTER (WHERE a.started_at + a.elapsed_ms >= :since)
FROM @EACH(:replays) AS replay JOIN attempts a ON a.subscription = -replay.value
GROUP BY replay.value;

-- name: readers_of_channel
-- Its subscriptions, and its replays under their subscription's name, which are for whatever they
-- came to.
SELECT number, name, start, floor, config FROM subscriptions WHERE channel = :channel
UNION ALL
SELECT -r.number, s.name, NULL, NULL, NULL
FROM replays r JOIN subscriptions s ON s.number = r.subscription WHERE r.channel = :channel
ORDER BY 2;

-- name: marks_of_events
-- :readers and :sequences are JSON lists. The `+` has a page of events found by its bounds, and not
-- one by one for each reader.
SELECT d.subscription, d.sequence, d.state, d.reason, d.due_at
FROM @EACH(:readers) AS reader JOIN deliveries d ON d.subscription = reader.value
WHERE d.sequence BETWEEN :lowest AND :highest
    AND +d.sequence IN (SELECT value FROM @EACH(:sequences));

-- name: steps
-- Of hand-offs: attempts below 0, of a subscription. Asked once, for all that its events have.
SELECT e.key, a.sequence, a.attempt, a.started_at, a.elapsed_ms, a.outcome, a.status, a.text
FROM subscriptions s JOIN attempts a ON a.subscription = s.number
    JOIN events e ON e.position = s.channel << @BITS | a.sequence
WHERE s.number = :subscription AND a.attempt < 0 ORDER BY a.sequence, a.attempt DESC;

-- name: attempts_of_events
-- As `marks_of_events`.
SELECT a.subscription,
    a.sequence, a.attempt, a.started_at, a.elapsed_ms, a.outcome, a.status, a.text, a.size,
    a.headers
FROM @EACH(:readers) AS reader JOIN attempts a ON a.subscription = reader.value
WHERE a.sequence BETWEEN :lowest AND :highest
    AND +a.sequence IN (SELECT value FROM @EACH(:sequences))
ORDER BY a.subscription, a.sequence, a.attempt;

-- name: marks_of
SELECT sequence, state FROM deliveries WHERE subscription = :reader LIMIT :limit;

-- name: tried
-- Of a subscription above its floor; what a replay tried says how that went also once it ended.
SELECT DISTINCT sequence FROM attempts
WHERE subscription = :reader AND sequence > :after LIMIT :limit;
