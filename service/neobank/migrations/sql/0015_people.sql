-- A one-time password works for one log-in: the hash of the last one that was used.
ALTER TABLE players ADD COLUMN used_one_time_hash text;

-- The skeleton of a name, which names that look alike share (see neobank.names); the revision computes it.
ALTER TABLE accounts ADD COLUMN skeleton text UNIQUE;
ALTER TABLE factions ADD COLUMN skeleton text UNIQUE;
