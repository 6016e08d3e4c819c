-- Sessions of the dashboard. One that was not used for long, or is old, is none.

-- name: begin_session
INSERT INTO sessions (digest, token, made_at, used_at, address, agent)
VALUES (:digest, :token, :made_at, :used_at, :address, :agent);

-- name: end_late_sessions
DELETE FROM sessions WHERE used_at < :unused OR made_at < :old;

-- name: end_surplus_sessions
-- Those of a token that were used longest ago.
DELETE FROM sessions WHERE token IS NOT DISTINCT FROM :token AND digest NOT IN (
    SELECT digest FROM sessions WHERE token IS NOT DISTINCT FROM :token
    ORDER BY used_at DESC, made_at DESC LIMIT :most
);

-- name: session
SELECT digest, token, made_at, used_at, address, agent FROM sessions
WHERE digest = :digest AND used_at >= :unused AND made_at >= :old;

-- name: use_session
UPDATE sessions SET used_at = :now, address = :address WHERE digest = :digest;

-- name: end_session
DELETE FROM sessions WHERE digest = :digest RETURNING 1;

-- name: sessions
SELECT digest, token, made_at, used_at, address, agent FROM sessions
WHERE used_at >= :unused AND made_at >= :old ORDER BY used_at DESC, digest;
