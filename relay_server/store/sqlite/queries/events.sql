-- Webhooks: stored, found again, read in order. `:first` and `:last` bound a channel's positions.

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

-- name: append
-- Values without names: `run_rows` repeats them for as many rows as there are.
INSERT INTO events
    (position, id, received_at, size, conflict, key, kind, sender_id, digest, request, body,
    checksum, repeat_of, sealed)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: last_sequence
SELECT last_sequence FROM counted WHERE number = :channel;

-- name: before_first_event
-- After what was deleted, or at the end if nothing is left.
SELECT coalesce((SELECT (position & @MASK) - 1 FROM events
                 WHERE position BETWEEN :first AND :last ORDER BY position LIMIT 1), last_sequence)
FROM counted WHERE number = :channel;

-- name: sequence_before
-- The last event received before a time: a new subscription begins after it.
SELECT max(position) FROM events WHERE position BETWEEN :first AND :last AND received_at < :time;

-- name: outlines
SELECT position, key, size FROM events WHERE position > :after AND position <= :last
ORDER BY position LIMIT :limit;

-- name: fetch
-- :positions is a JSON list.
SELECT e.position, e.id, e.received_at, e.conflict, e.key, e.kind, e.repeat_of, e.checksum,
    e.request, e.body, e.sealed
FROM json_each(:positions) AS wanted JOIN events e ON e.position = wanted.value
ORDER BY wanted.key;

-- name: event_ids
-- :positions is a JSON list.
SELECT position, id FROM events WHERE position IN (SELECT value FROM json_each(:positions));

-- name: summaries
-- As `fetch`.
SELECT e.position, e.id, e.received_at, e.kind, e.key, e.request, e.size, e.conflict
FROM json_each(:positions) AS wanted JOIN events e ON e.position = wanted.value
ORDER BY wanted.key;

-- name: positions_of
-- :ids is a JSON list.
SELECT position FROM events
WHERE id IN (SELECT value FROM json_each(:ids)) AND position BETWEEN :first AND :last;

-- name: find_event
SELECT position FROM events WHERE id = :id;

-- name: ids_ending
SELECT id FROM (
    SELECT id FROM events WHERE position BETWEEN :first AND :last
    ORDER BY position DESC LIMIT :looked_at)
WHERE substr(id, -length(:end)) = :end LIMIT 10;

-- name: list_events
SELECT position, id, received_at, kind, key, request, size, conflict FROM events
WHERE position >= :first AND position < :before ORDER BY position DESC LIMIT :limit;

-- name: window_end
-- How far a look at so many events goes.
SELECT max(position), count(*) FROM (
    SELECT position FROM events WHERE position > :after AND position <= :last
    ORDER BY position LIMIT :limit);

-- name: select_events
-- :sequences is a JSON list; the texts are one in its three spellings. A body that spells any of its
-- characters by an escape is compared as it would be written anew. :of_any_account is the end of
-- keys that begin with a number.
SELECT position, key, size FROM (
    SELECT position, key, kind, size, received_at,
        CASE WHEN sealed IS NULL THEN body ELSE opened(id, body, sealed) END AS body FROM events)
WHERE position > :after AND position <= :last
    AND (:received_from IS NULL OR received_at >= :received_from)
    AND (:received_before IS NULL OR received_at < :received_before)
    AND (:kind IS NULL OR kind = :kind)
    AND (:key IS NULL OR key = :key OR ltrim(key, '0123456789') = :of_any_account)
    AND (:sequences IS NULL OR (position & @MASK) IN (SELECT value FROM json_each(:sequences)))
    AND (:text IS NULL OR instr(body, :text) OR instr(body, :as_ascii) OR instr(body, :as_unicode)
        OR (instr(body, x'5C') AND instr(meant(body), :as_unicode)))
    AND (:dead_for IS NULL OR EXISTS (
        SELECT 1 FROM deliveries d
        WHERE d.subscription = :dead_for AND d.sequence = (position & @MASK) AND d.state = @DEAD))
ORDER BY position LIMIT :limit;
