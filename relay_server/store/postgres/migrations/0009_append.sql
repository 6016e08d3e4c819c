-- Stores webhooks, those of a channel one after the other: one call, and so one transaction and one
-- round trip, in which the rows of their channels are locked. A sequence is given under that lock,
-- so the order of sequences is that of commits, without gaps, whoever else stores meanwhile: who
-- reads behind a sequence misses nothing. (A sequence or identity column would promise neither.)
--
-- It is PL/pgSQL because each of its statements sees what was committed while it waited for a lock.
--
-- p_again: it may be stored already, by a call whose end nobody knows: looked up by its id.
-- p_digest: of each a row of all that it may have been stored under, that of now first.
-- Answers state s (stored), d (a duplicate of the event at `place`), f (the channel is full),
-- g (the channel is gone); of what is stored the first of its kind, and whether its sender gave its
-- id to another body before.
CREATE OR REPLACE FUNCTION append_v2(
    p_again boolean, p_channel bigint[], p_window_ms bigint[], p_limit bigint[], p_id text[],
    p_received_at bigint[], p_size bigint[], p_key text[], p_kind text[], p_sender_id text[],
    p_digest bytea[], p_request bytea[], p_body bytea[], p_checksum bigint[], p_sealed bigint[]
) RETURNS TABLE (state text, place bigint, event text, first_event text, differs boolean)
LANGUAGE plpgsql AS $$
DECLARE
    this bigint;
    is_there boolean := FALSE;
    given bigint;
    held bigint;
    count_new bigint := 0;
    bytes_new bigint := 0;
    weight bigint;
    kept record;
BEGIN
    PERFORM 1 FROM relay.channels c WHERE c.number = ANY (p_channel) ORDER BY c.number
        FOR NO KEY UPDATE;
    FOR i IN 1 .. cardinality(p_channel) LOOP
        IF this IS DISTINCT FROM p_channel[i] THEN
            IF count_new > 0 THEN
                UPDATE relay.channels c SET last_sequence = given, events = c.events + count_new,
                    bytes = c.bytes + bytes_new WHERE c.number = this;
            END IF;
            this := p_channel[i];
            count_new := 0;
            bytes_new := 0;
            SELECT c.last_sequence, c.bytes INTO given, held FROM relay.channels c
            WHERE c.number = this;
            is_there := FOUND;
        END IF;
        place := NULL;
        event := NULL;
        first_event := NULL;
        differs := FALSE;
        IF NOT is_there THEN
            state := 'g';
            RETURN NEXT;
            CONTINUE;
        END IF;
        IF p_again THEN
            SELECT e.position, e.id INTO kept FROM relay.events e WHERE e.id = p_id[i];
            IF FOUND THEN
                state := 'd';
                place := kept.position;
                event := kept.id;
                RETURN NEXT;
                CONTINUE;
            END IF;
        END IF;
        -- Mostly nobody gave this id before, and to know that is all that is looked up: what this
        -- takes, whoever stores in the channel next waits for.
        IF p_sender_id[i] IS NOT NULL AND EXISTS (
            SELECT FROM relay.events e
            WHERE e.position >> 40 = this AND e.sender_id = p_sender_id[i])
        THEN
            SELECT e.position, e.id, e.received_at, e.repeat_of INTO kept FROM relay.events e
            WHERE e.position >> 40 = this AND e.sender_id = p_sender_id[i]
                AND e.digest = ANY (p_digest[i:i])
            ORDER BY e.position DESC LIMIT 1;
            IF FOUND THEN
                IF greatest(0, p_received_at[i] - kept.received_at) < p_window_ms[i]
                    AND NOT EXISTS (
                        SELECT 1 FROM relay.subscriptions s WHERE s.channel = this AND (
                            s.start >= (kept.position & 1099511627775) OR EXISTS (
                                SELECT 1 FROM relay.deliveries d WHERE d.subscription = s.number
                                    AND d.sequence = (kept.position & 1099511627775)
                                    AND d.state = 5)))
                THEN
                    state := 'd';
                    place := kept.position;
                    event := kept.id;
                    RETURN NEXT;
                    CONTINUE;
                END IF;
                first_event := coalesce(kept.repeat_of, kept.id);
            END IF;
            differs := EXISTS (
                SELECT 1 FROM relay.events e
                WHERE e.position >> 40 = this AND e.sender_id = p_sender_id[i] AND NOT EXISTS (
                    SELECT 1 FROM unnest(p_digest[i:i]) AS one (digest)
                    WHERE substring(one.digest FOR 16) = substring(e.digest FOR 16)));
        END IF;
        weight := p_size[i] + length(p_request[i]);
        IF held + bytes_new + weight > p_limit[i] THEN
            state := 'f';
            RETURN NEXT;
            CONTINUE;
        END IF;
        given := given + 1;
        count_new := count_new + 1;
        bytes_new := bytes_new + weight;
        state := 's';
        place := this << 40 | given;
        event := p_id[i];
        INSERT INTO relay.events VALUES (
            place, p_id[i], p_received_at[i], p_size[i], differs, p_key[i], p_kind[i],
            p_sender_id[i], p_digest[i][1], p_request[i], p_body[i], p_checksum[i], first_event,
            p_sealed[i]);
        RETURN NEXT;
    END LOOP;
    IF count_new > 0 THEN
        UPDATE relay.channels c SET last_sequence = given, events = c.events + count_new,
            bytes = c.bytes + bytes_new WHERE c.number = this;
    END IF;
END $$;
