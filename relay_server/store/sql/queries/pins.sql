-- Pinned events.

-- name: pin
-- Again under another name, it keeps who pinned it.
INSERT INTO pins (position, channel, name, made_by, made_at)
VALUES (:position, :channel, :name, :made_by, :now)
ON CONFLICT (position) DO UPDATE SET name = excluded.name;

-- name: unpin
DELETE FROM pins WHERE position = :position RETURNING 1;

-- name: pin_of_name
SELECT position FROM pins WHERE channel = :channel AND name = :name;

-- name: pins_of_channel
-- How many there are and their bytes, but for one position.
SELECT count(*), coalesce(sum(e.size + length(e.request)), 0)
FROM pins p JOIN events e ON e.position = p.position
WHERE p.channel = :channel AND p.position <> :position;

-- name: pins
-- By name; of one position, or for NULL all.
SELECT p.name, p.made_by, p.made_at, p.position < 0,
    e.position, e.id, e.received_at, e.kind, e.key, e.request, e.size, e.conflict
FROM pins p JOIN events e ON e.position = p.position
WHERE p.channel = :channel AND (:position IS NULL OR p.position = :position) ORDER BY p.name;

-- name: pinned
SELECT position & @MASK, name FROM pins WHERE position BETWEEN :first AND :last;

-- name: weight_of
SELECT size + length(request) FROM events WHERE position = :position;
