-- Which server cannot reach which, where that says that it is, and what it met.
CREATE TABLE unreached (
    replica text NOT NULL REFERENCES replicas (name) ON DELETE CASCADE,
    other text NOT NULL REFERENCES replicas (name) ON DELETE CASCADE,
    since timestamptz NOT NULL,
    why text NOT NULL,
    fix text NOT NULL,              -- what to do about it
    PRIMARY KEY (replica, other)
);
