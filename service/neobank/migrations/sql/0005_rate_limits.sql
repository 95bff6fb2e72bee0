-- UNLOGGED: counting never waits for the disk, and a crash loses only counters. Half-full pages leave room for HOT
-- updates.
CREATE UNLOGGED TABLE rate_limit_counters (
    key_hash bytea PRIMARY KEY,
    hits     bigint NOT NULL,
    ends_at  timestamptz NOT NULL
) WITH (fillfactor = 50);
