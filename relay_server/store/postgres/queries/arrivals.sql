-- What arrives: known again. It is stored by the function `append_v1`.

-- name: duplicate_of
-- As `append_v1` finds it.
SELECT e.id, e.position & @MASK FROM events e
WHERE e.position >> @BITS = :channel AND e.sender_id = :sender_id AND e.digest = :digest
    AND e.position = (
        SELECT max(n.position) FROM events n
        WHERE n.position >> @BITS = :channel AND n.sender_id = :sender_id AND n.digest = :digest)
    AND greatest(0, :received_at - e.received_at) < :window_ms
    AND NOT EXISTS (
        SELECT 1 FROM subscriptions s WHERE s.channel = :channel AND (
            s.start >= (e.position & @MASK) OR EXISTS (
                SELECT 1 FROM deliveries d WHERE d.subscription = s.number
                    AND d.sequence = (e.position & @MASK) AND d.state = @DISCARDED)));

-- name: find_event
-- By the id that its sender was answered, too.
SELECT position FROM events WHERE id = :id
UNION ALL
SELECT e.position FROM aliases a JOIN events e ON e.id = a.event WHERE a.id = :id
LIMIT 1;
