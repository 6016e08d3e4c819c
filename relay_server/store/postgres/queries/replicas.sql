-- Other replicas.

-- name: version
SELECT version FROM catalogue;

-- name: raise_version
UPDATE catalogue SET version = version + 1 RETURNING version;

-- name: store
SELECT store FROM catalogue;

-- name: beat
UPDATE replicas SET seen_at = clock_timestamp(), version = :version, spooled = :spooled,
    stuck = :stuck, spool_oldest_at = :oldest_at
WHERE name = current_setting('relay.replica') RETURNING TRUE;

-- name: take_place
INSERT INTO replicas (name, seen_at, body_keys, seals_by, address)
VALUES (:replica, clock_timestamp(), :body_keys, :seals_by,
    coalesce(current_setting('relay.address', TRUE), ''))
ON CONFLICT (name) DO UPDATE SET seen_at = excluded.seen_at;

-- name: keys_of_others
SELECT name, body_keys, seals_by FROM replicas
WHERE name <> :replica AND seen_at > clock_timestamp() - :alive_s * interval '1 second';

-- name: forget_replica
-- It is there no more; who left something in its spool is remembered.
WITH gone AS (DELETE FROM replicas WHERE name = :replica AND NOT :spooled)
UPDATE replicas SET seen_at = clock_timestamp() - :alive_s * interval '1 second'
WHERE name = :replica AND :spooled;

-- name: forget_adopted
-- Another one has its spool. Its folder is called as it is.
DELETE FROM replicas WHERE replace(name, '/', '-') = :folder;

-- name: forget_dead
DELETE FROM replicas WHERE seen_at < clock_timestamp() - interval '1 second'
    * CASE WHEN spooled + stuck > 0 THEN :spooled_s ELSE :empty_s END;

-- name: turn
-- Servers that were there when the database went away, those of them that said nothing since it is
-- back, and when the oldest webhook of the others was received.
SELECT count(*), count(*) FILTER (WHERE seen_at < clock_timestamp() - :back_s * interval '1 second'),
    min(spool_oldest_at) FILTER (
        WHERE seen_at > clock_timestamp() - :believed_s * interval '1 second')
FROM replicas WHERE name <> current_setting('relay.replica')
    AND seen_at > clock_timestamp() - (:away_s + :alive_s) * interval '1 second';

-- name: replicas
SELECT name, version, (extract(epoch FROM since) * 1000)::bigint,
    (extract(epoch FROM clock_timestamp() - seen_at) * 1000)::bigint,
    seen_at > clock_timestamp() - :alive_s * interval '1 second', spooled, stuck, spool_oldest_at,
    address <> ''
FROM replicas ORDER BY name;

-- name: neighbours
SELECT name, address FROM replicas
WHERE name <> current_setting('relay.replica') AND address <> ''
    AND seen_at > clock_timestamp() - :alive_s * interval '1 second'
ORDER BY name;

-- name: is_unreached
-- It may be gone meanwhile, and then there is nothing to be said of it.
INSERT INTO unreached (replica, other, since, why, fix)
SELECT current_setting('relay.replica'), r.name, clock_timestamp() - :for_s * interval '1 second',
    :why, :fix
FROM replicas r WHERE r.name = :other
ON CONFLICT (replica, other) DO UPDATE SET why = excluded.why, fix = excluded.fix;

-- name: are_reached
DELETE FROM unreached
WHERE replica = current_setting('relay.replica') AND NOT other = ANY (:others::text[]);

-- name: unreached
-- Nothing of one that was not seen since: it is gone, or ends.
SELECT u.replica, u.other, (extract(epoch FROM u.since) * 1000)::bigint, u.why, u.fix
FROM unreached u JOIN replicas r ON r.name = u.replica JOIN replicas o ON o.name = u.other
WHERE r.seen_at > clock_timestamp() - :alive_s * interval '1 second'
    AND o.seen_at > greatest(u.since, clock_timestamp() - :alive_s * interval '1 second')
ORDER BY u.replica, u.other;

-- name: standbys
-- Who may not see the activity of others gets rows without anything in them.
SELECT coalesce(application_name, ''), coalesce(state, ''), coalesce(sync_state, ''),
    pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::bigint,
    (extract(epoch FROM replay_lag) * 1000)::bigint
FROM pg_stat_replication ORDER BY 1, pid;

-- name: look
SELECT c.version, (
    SELECT count(*) FROM replicas r
    WHERE r.name <> :replica AND r.seen_at > clock_timestamp() - :alive_s * interval '1 second')
FROM catalogue c;

-- name: read_elsewhere
SELECT s.number, s.epoch, s.shared FROM subscriptions s JOIN replicas r ON r.name = s.owner
WHERE s.owner <> :replica AND s.left_at IS NULL
    AND r.seen_at > clock_timestamp() - :alive_s * interval '1 second';

-- name: how_far
SELECT number, last_sequence, bytes, events FROM channels;

-- name: database_size
SELECT pg_database_size(current_database());

-- Epochs begin anew with each primary, above all of the one before (`first_epoch`): a claim that was
-- lost with that has no number that another one gets. So these four are other than on one server.

-- name: claim
-- It notes whose the claim is, too. Nobody shares it elsewhere who could not be handed on.
UPDATE subscriptions SET epoch = greatest(epoch + 1, first_epoch()), left_at = NULL,
    owner = current_setting('relay.replica'),
    shared = :shared AND coalesce(current_setting('relay.address', TRUE), '') <> ''
WHERE number = :number RETURNING epoch, floor, shared;

-- name: epoch
SELECT epoch, shared FROM subscriptions WHERE number = :number;

-- name: reading_server
SELECT r.name, r.address FROM subscriptions s JOIN channels c ON c.number = s.channel
JOIN replicas r ON r.name = s.owner
WHERE c.name = :channel AND s.name = :name AND s.left_at IS NULL
    AND s.owner <> current_setting('relay.replica')
    AND r.seen_at > clock_timestamp() - :alive_s * interval '1 second';

-- name: claim_replay
UPDATE replays SET epoch = greatest(epoch + 1, first_epoch())
WHERE number = :number AND state = @RUNNING RETURNING epoch, floor, FALSE;

-- name: advance
-- Nothing either under a claim that the primary before this one gave.
UPDATE subscriptions SET floor = greatest(floor, :floor)
WHERE number = :number AND epoch = :epoch AND epoch >= first_epoch() RETURNING floor;

-- name: advance_replay
UPDATE replays SET floor = greatest(floor, :floor)
WHERE number = :number AND epoch = :epoch AND epoch >= first_epoch() AND state = @RUNNING
RETURNING floor;

-- name: leave_all
-- Likewise: what others read goes on.
UPDATE subscriptions SET left_at = :now WHERE left_at IS NULL AND epoch > 0 AND NOT EXISTS (
    SELECT 1 FROM replicas r WHERE r.name = owner AND r.name <> current_setting('relay.replica')
        AND r.seen_at > clock_timestamp() - interval '15 seconds');
