-- A channel's counters are brought up to date every so many events, and before any is deleted. What
-- was stored since is found behind `last_sequence`, so `counted` has them as they are. In its
-- numbers a channel is 1099511627776 positions; 1099511627775 takes it off a position.
CREATE VIEW counted AS SELECT
    c.number, c.name, c.config, c.created_at,
    coalesce((
        SELECT max(e.position) & 1099511627775 FROM events e
        WHERE e.position > c.number << 40 | c.last_sequence
            AND e.position <= c.number << 40 | 1099511627775), c.last_sequence) AS last_sequence,
    c.events + (
        SELECT count(*) FROM events e
        WHERE e.position > c.number << 40 | c.last_sequence
            AND e.position <= c.number << 40 | 1099511627775) AS events,
    c.bytes + (
        SELECT coalesce(sum(e.size + length(e.request)), 0) FROM events e
        WHERE e.position > c.number << 40 | c.last_sequence
            AND e.position <= c.number << 40 | 1099511627775) AS bytes,
    c.dropped
FROM channels c;
