-- The audit log.

-- name: note
INSERT INTO audit (at, made_by, address, action, what, asked)
VALUES (:at, :made_by, :address, :action, :what, :asked) RETURNING number;

-- name: forget_noted
DELETE FROM audit WHERE number <= :up_to OR at < :before;

-- name: noted
SELECT number, at, made_by, address, action, what, asked FROM audit
WHERE number < :before AND at >= :since ORDER BY number DESC LIMIT :limit;
