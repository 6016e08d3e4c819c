-- Other replicas.

-- name: version
SELECT version FROM catalogue;

-- name: raise_version
UPDATE catalogue SET version = version + 1 RETURNING version;

-- name: beat
INSERT INTO replicas (name, seen_at) VALUES (:replica, clock_timestamp())
ON CONFLICT (name) DO UPDATE SET seen_at = excluded.seen_at;

-- name: forget_replica
DELETE FROM replicas WHERE name = :replica;

-- name: look
SELECT c.version, (
    SELECT count(*) FROM replicas r
    WHERE r.name <> :replica AND r.seen_at > clock_timestamp() - :alive_s * interval '1 second')
FROM catalogue c;

-- name: read_elsewhere
SELECT s.number FROM subscriptions s JOIN replicas r ON r.name = s.owner
WHERE s.owner <> :replica AND s.left_at IS NULL
    AND r.seen_at > clock_timestamp() - :alive_s * interval '1 second';

-- name: how_far
SELECT number, last_sequence, bytes FROM channels;

-- name: claim
-- In place of that of one server: it notes whose the claim is.
UPDATE subscriptions SET epoch = epoch + 1, left_at = NULL,
    owner = current_setting('relay.replica')
WHERE number = :number RETURNING epoch, floor;

-- name: leave_all
-- Likewise: what others read goes on.
UPDATE subscriptions SET left_at = :now WHERE left_at IS NULL AND epoch > 0 AND NOT EXISTS (
    SELECT 1 FROM replicas r WHERE r.name = owner AND r.name <> current_setting('relay.replica')
        AND r.seen_at > clock_timestamp() - interval '15 seconds');
