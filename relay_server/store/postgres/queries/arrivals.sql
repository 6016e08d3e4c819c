-- What arrives: known again. It is stored by the function `append_v2`.

-- name: duplicate_of
-- As `append_v2` finds it.
SELECT e.id, e.position & @MASK FROM events e
WHERE e.position >> @BITS = :channel AND e.sender_id = :sender_id AND e.digest = ANY (:digests)
    AND e.position = (
        SELECT max(n.position) FROM events n
        WHERE n.position >> @BITS = :channel AND n.sender_id = :sender_id AND n.digest = ANY (:digests))
    AND greatest(0, :received_at - e.received_at) < :window_ms
    AND NOT EXISTS (
        SELECT 1 FROM subscriptions s WHERE s.channel = :channel AND (
            s.start >= (e.position & @MASK) OR EXISTS (
                SELECT 1 FROM deliveries d WHERE d.subscription = s.number
                    AND d.sequence = (e.position & @MASK) AND d.state = @DISCARDED)));
