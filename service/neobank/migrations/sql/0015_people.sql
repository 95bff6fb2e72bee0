-- The skeleton of a name, which names that look alike share (see neobank.names); the revision computes it.
ALTER TABLE accounts ADD COLUMN skeleton text UNIQUE;

-- A one-time password works for one log-in: the hash of the last one that was used.
ALTER TABLE players ADD COLUMN used_one_time_hash text;

ALTER TABLE factions ADD COLUMN skeleton text UNIQUE;

-- The images that players upload, re-encoded. Each is the end of the path in players.profile_picture.
CREATE TABLE pictures (
    account_id bigint PRIMARY KEY REFERENCES players,
    token      text NOT NULL UNIQUE,
    image      bytea NOT NULL CONSTRAINT picture_is_small CHECK (octet_length(image) <= 262144)
);
