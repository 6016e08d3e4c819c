-- Fingerprints of keys under which bodies may be stored; 0 is in the clear.
CREATE TABLE body_keys (
    fingerprint bigint PRIMARY KEY,
    gone boolean NOT NULL DEFAULT FALSE  -- no body is any more
);
INSERT INTO body_keys (fingerprint) VALUES (0);

-- Which keys each server can open, as a JSON list, and the one that it seals by.
ALTER TABLE replicas ADD COLUMN body_keys text NOT NULL DEFAULT '[0]';
ALTER TABLE replicas ADD COLUMN seals_by bigint NOT NULL DEFAULT 0;
