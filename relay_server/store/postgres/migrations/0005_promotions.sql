-- The first epoch of a claim that this primary may give: each that is promoted has a higher timeline.
CREATE FUNCTION first_epoch() RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT (('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint - 1) << 32
$$;
