-- Invitations.

-- name: forget_invitations
DELETE FROM invitations WHERE expires_at < :before;

-- name: invite
INSERT INTO invitations (digest, name, channels, made_by, created_at, expires_at)
VALUES (:digest, :name, :channels, :made_by, :created_at, :expires_at);

-- name: invitations
-- That of a digest; all for NULL.
SELECT name, digest, channels, made_by, created_at, expires_at, used_at FROM invitations
WHERE :digest IS NULL OR digest = :digest ORDER BY created_at DESC, name;

-- name: use_invitation
UPDATE invitations SET used_at = :now WHERE digest = :digest;

-- name: withdraw
DELETE FROM invitations WHERE name = :name AND used_at = 0 AND expires_at > :now RETURNING 1;

-- name: token_of
SELECT name, digest, scopes, channels, created_at FROM tokens
WHERE name = :name;
