ALTER TABLE events ADD COLUMN sealed INTEGER;  -- fingerprint of the key; NULL in the clear

-- Fingerprints under which bodies may be stored; 0 is in the clear.
CREATE TABLE body_keys (
    fingerprint INTEGER PRIMARY KEY,
    gone INTEGER NOT NULL DEFAULT 0  -- no body is any more, but free pages may show some
) STRICT;
INSERT INTO body_keys (fingerprint) VALUES (0);
