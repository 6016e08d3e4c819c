-- Which store it is: another one has another, wherever this one is restored.
ALTER TABLE catalogue ADD COLUMN store text NOT NULL DEFAULT gen_random_uuid()::text;

-- What each server says of itself.
ALTER TABLE replicas
    ADD COLUMN version text NOT NULL DEFAULT '',
    ADD COLUMN since timestamptz NOT NULL DEFAULT clock_timestamp(),
    ADD COLUMN spooled bigint NOT NULL DEFAULT 0,
    ADD COLUMN stuck bigint NOT NULL DEFAULT 0,
    ADD COLUMN spool_oldest_at bigint;  -- when the first of those was received, by its clock
