-- UNLOGGED: a count waits for no disk, and what a crash forgets is how often somebody asked. Half-full pages keep a row's new
-- version beside the old one.
CREATE UNLOGGED TABLE rate_limit_counters (
    key_hash bytea PRIMARY KEY,
    hits     bigint NOT NULL,
    ends_at  timestamptz NOT NULL
) WITH (fillfactor = 50);
