-- Keys under which no body is stored any more, but free pages may show some.

-- name: rebuild_for_dropped
INSERT OR IGNORE INTO body_keys (fingerprint, gone) VALUES (@UNKEPT, 1);

-- name: has_gone_body_keys
SELECT 1 FROM body_keys WHERE gone LIMIT 1;

-- name: forget_gone_body_keys
DELETE FROM body_keys WHERE gone;
