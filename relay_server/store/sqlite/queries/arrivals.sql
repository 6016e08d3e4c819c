-- What arrives: known again, numbered, counted.

-- name: given_sequences
-- The last one, and how many of them the channel's row does not count yet.
SELECT now.last_sequence, now.last_sequence - row.last_sequence
FROM channels row JOIN counted now ON now.number = row.number WHERE row.number = :channel;

-- name: uncounted_channels
SELECT number FROM channels WHERE EXISTS (
    SELECT 1 FROM events WHERE position > number << @BITS | last_sequence
        AND position <= number << @BITS | @MASK);

-- name: count_events
-- Those that came since this was done last.
UPDATE channels SET (last_sequence, events, bytes) = (
    SELECT last_sequence, events, bytes FROM counted WHERE number = :channel)
WHERE number = :channel;

-- name: known_sender_ids
-- Those of a channel that are stored: hardly ever any, so whatever else a repeat takes is asked for
-- each by itself. Values without names: `all_of` repeats the last one for each sender's id.
SELECT sender_id FROM events
WHERE position >> @BITS = ? AND sender_id IN (VALUES (?));

-- name: same_webhooks
-- The newest ones of a digest, whose bodies are compared then: a few, however many there are.
SELECT position, id, received_at, repeat_of, request, body, sealed FROM events
WHERE position >> @BITS = :channel AND sender_id = :sender_id AND digest = :digest
ORDER BY position DESC LIMIT 4;

-- name: has_digest_between
SELECT 1 FROM events
WHERE position >> @BITS = :channel AND sender_id = :sender_id
    AND digest > :above AND digest < :below LIMIT 1;

-- name: is_missed
-- By a subscription that was made later, or for which somebody discarded it: it never gets it.
SELECT 1 FROM subscriptions s WHERE s.channel = :channel AND (
    s.start >= :sequence OR EXISTS (
        SELECT 1 FROM deliveries d
        WHERE d.subscription = s.number AND d.sequence = :sequence AND d.state = @DISCARDED))
LIMIT 1;
