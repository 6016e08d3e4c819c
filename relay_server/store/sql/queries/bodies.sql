-- How bodies are stored: the fingerprint of the key of each, NULL and 0 for none.

-- name: body_keys
SELECT fingerprint FROM body_keys WHERE NOT gone;

-- name: list_body_key
INSERT INTO body_keys (fingerprint, gone) VALUES (:fingerprint, FALSE)
ON CONFLICT (fingerprint) DO UPDATE SET gone = FALSE;

-- name: drop_body_keys
UPDATE body_keys SET gone = TRUE WHERE fingerprint <> :current;

-- name: before_all_events
-- Of edited ones as well, whose positions are negative.
SELECT min(position) - 1 FROM events;

-- name: next_bodies
SELECT position, sealed, size FROM events WHERE position > :after ORDER BY position LIMIT :limit;

-- name: stored_bodies
-- :positions is a JSON list.
SELECT position, id, body, sealed, request, checksum, digest FROM events
WHERE position IN (SELECT value FROM @EACH(:positions));

-- name: store_body
UPDATE events SET body = :body, sealed = :sealed, checksum = :checksum, digest = :digest
WHERE position = :position;

-- name: mark_damaged
-- Its checksum fits nothing from now on, whatever its bytes are.
UPDATE events SET sealed = :sealed, checksum = -1 WHERE position = :position;

-- name: empty_answers
-- What targets answered may repeat what they were sent.
UPDATE attempts SET text = '', headers = '' WHERE (subscription, sequence, attempt) IN (
    SELECT subscription, sequence, attempt FROM attempts
    WHERE (text <> '' OR headers <> '') AND status IS NOT NULL LIMIT :limit)
RETURNING 1;
