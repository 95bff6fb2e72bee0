-- A one-time password works for one log-in: the hash of the last one that was used.
ALTER TABLE players ADD COLUMN used_one_time_hash text;
