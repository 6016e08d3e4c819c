-- What a channel holds is counted as it comes and goes: counting rows takes seconds.
ALTER TABLE channels ADD COLUMN events INTEGER NOT NULL DEFAULT 0;
ALTER TABLE channels ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE channels ADD COLUMN dropped INTEGER NOT NULL DEFAULT 0;
UPDATE channels SET (events, bytes) = (
    SELECT count(*), coalesce(sum(size + length(request)), 0) FROM events
    WHERE position BETWEEN channels.number << 40 AND (channels.number + 1 << 40) - 1);

ALTER TABLE subscriptions ADD COLUMN config BLOB NOT NULL DEFAULT x'80';  -- an empty MessagePack map

ALTER TABLE deliveries ADD COLUMN changed_at INTEGER NOT NULL DEFAULT 0;
UPDATE deliveries SET changed_at = unixepoch() * 1000 WHERE state = 4;
-- 4 is MarkState.DEAD.
CREATE INDEX deliveries_dead ON deliveries (subscription, changed_at) WHERE state = 4;

-- Progress of a replay is kept like a subscription's, under minus its number.
CREATE TABLE replays (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    subscription INTEGER NOT NULL,
    channel INTEGER NOT NULL,
    selection BLOB NOT NULL,
    rate_per_s REAL NOT NULL,
    start INTEGER NOT NULL,       -- events up to this sequence are not looked at
    until INTEGER NOT NULL,       -- nor those behind this one
    floor INTEGER NOT NULL,
    epoch INTEGER NOT NULL DEFAULT 0,
    state INTEGER NOT NULL DEFAULT 1,
    created_at INTEGER NOT NULL,
    ended_at INTEGER NOT NULL DEFAULT 0,
    made_by TEXT NOT NULL
) STRICT;

CREATE INDEX replays_by_subscription ON replays (subscription);
CREATE INDEX replays_running ON replays (channel) WHERE state = 1;  -- ReplayState.RUNNING

-- Readers that are gone, whose deliveries and attempts are still being deleted.
CREATE TABLE forgotten (reader INTEGER PRIMARY KEY) STRICT;

-- Events that nobody needs any more: every subscription that they are for has settled them, none
-- as dead, and no replay is on its way to them. 1099511627775 takes the channel off a position.
-- 3 is MarkState.DELIVERED, 4 DEAD, 5 DISCARDED.
CREATE VIEW deletable AS SELECT e.position FROM events e WHERE NOT EXISTS (
    SELECT 1 FROM subscriptions s
    WHERE s.channel = e.position >> 40 AND s.start < (e.position & 1099511627775) AND (
        EXISTS (
            SELECT 1 FROM deliveries d WHERE d.subscription = s.number
                AND d.sequence = (e.position & 1099511627775) AND d.state = 4)
        OR s.floor < (e.position & 1099511627775) AND NOT EXISTS (
            SELECT 1 FROM deliveries d WHERE d.subscription = s.number
                AND d.sequence = (e.position & 1099511627775) AND d.state IN (3, 5)))
) AND NOT EXISTS (
    SELECT 1 FROM replays r
    WHERE r.channel = e.position >> 40 AND r.state = 1
        AND r.floor < (e.position & 1099511627775) AND (e.position & 1099511627775) <= r.until);
