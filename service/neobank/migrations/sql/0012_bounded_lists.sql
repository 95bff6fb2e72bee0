-- A player's open charges begin where those whose time is up end, and keys that were revoked are none to walk past.
CREATE INDEX charges_open_idx ON charges (player_id, expires_at, id) WHERE status = 'pending';
DROP INDEX charges_player_id_idx;
CREATE INDEX api_keys_unrevoked_idx ON api_keys (id) WHERE revoked_at IS NULL;
