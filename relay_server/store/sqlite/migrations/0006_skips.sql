-- What filters left out, above the floor of each subscription: all of it is settled. Spans of one
-- subscription neither overlap nor touch, and hold nothing that has a settled mark of its own.
CREATE TABLE skips (
    subscription INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (subscription, last)
) STRICT, WITHOUT ROWID;

-- As before, but what a filter left out is settled, too.
DROP VIEW deletable;
CREATE VIEW deletable AS SELECT e.position FROM events e WHERE NOT EXISTS (
    SELECT 1 FROM subscriptions s
    WHERE s.channel = e.position >> 40 AND s.start < (e.position & 1099511627775) AND (
        EXISTS (
            SELECT 1 FROM deliveries d WHERE d.subscription = s.number
                AND d.sequence = (e.position & 1099511627775) AND d.state = 4)
        OR s.floor < (e.position & 1099511627775) AND NOT EXISTS (
            SELECT 1 FROM deliveries d WHERE d.subscription = s.number
                AND d.sequence = (e.position & 1099511627775) AND d.state IN (3, 5))
            AND NOT ifnull((
                SELECT k.first FROM skips k WHERE k.subscription = s.number
                    AND k.last >= (e.position & 1099511627775) ORDER BY k.last LIMIT 1
            ) <= (e.position & 1099511627775), 0))
) AND NOT EXISTS (
    SELECT 1 FROM replays r
    WHERE r.channel = e.position >> 40 AND r.state = 1
        AND r.floor < (e.position & 1099511627775) AND (e.position & 1099511627775) <= r.until);
