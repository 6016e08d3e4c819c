-- When tokens and signing secrets were used last: each server notes it once in a while.

-- name: token_uses
SELECT token, used_at FROM token_uses;

-- name: secret_uses
SELECT channel, secret, used_at FROM secret_uses;

-- name: note_token_uses
INSERT INTO token_uses (token, used_at) VALUES (?, ?)
ON CONFLICT (token) DO UPDATE SET used_at = @GREATEST(token_uses.used_at, excluded.used_at);

-- name: note_secret_uses
INSERT INTO secret_uses (channel, secret, used_at) VALUES (?, ?, ?)
ON CONFLICT (channel, secret) DO UPDATE SET used_at = @GREATEST(secret_uses.used_at, excluded.used_at);

-- name: forget_secret_uses
-- Those of secrets that its senders left longest ago.
DELETE FROM secret_uses WHERE channel = :channel AND secret NOT IN (
    SELECT secret FROM secret_uses WHERE channel = :channel ORDER BY used_at DESC, secret LIMIT :most
);
