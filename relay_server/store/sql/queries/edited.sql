-- Edited events. `:first` and `:last` bound their stream's positions.

-- name: create_edited
INSERT INTO edited
    (position, subscription, replay, edited_from, made_by, idempotency_key, asked)
VALUES (:position, :subscription, :replay, :edited_from, :made_by, :idempotency_key, :asked);

-- name: edited_under_key
SELECT position, asked FROM edited
WHERE made_by = :made_by AND idempotency_key = :idempotency_key;

-- name: edited_stream
-- How many there are, their bytes, and the last one.
SELECT count(*), coalesce(sum(size + length(request)), 0), coalesce(max(position), :first)
FROM events WHERE position > :first AND position <= :last;

-- name: list_edited
-- The newest first; of a subscription, or for NULL of any.
SELECT d.subscription, d.replay, d.edited_from, d.made_by,
    e.position, e.id, e.received_at, e.kind, e.key, e.request, e.size, e.conflict
FROM edited d JOIN events e ON e.position = d.position
WHERE d.position > :first AND d.position < :before
    AND (:subscription IS NULL OR d.subscription = :subscription)
ORDER BY d.position DESC LIMIT :limit;

-- name: readers_of_edited
-- :positions is a JSON list. The replay of each under its subscription's name, and whether it runs.
SELECT d.position, -d.replay, s.name, r.state = @RUNNING
FROM @EACH(:positions) AS wanted JOIN edited d ON d.position = wanted.value
    JOIN replays r ON r.number = d.replay JOIN subscriptions s ON s.number = d.subscription;
