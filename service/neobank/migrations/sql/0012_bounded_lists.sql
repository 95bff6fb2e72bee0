-- Listing a player's open charges and the active keys reads no expired charge and no revoked key.
CREATE INDEX charges_open_idx ON charges (player_id, expires_at, id) WHERE status = 'pending';
DROP INDEX charges_player_id_idx;
CREATE INDEX api_keys_unrevoked_idx ON api_keys (id) WHERE revoked_at IS NULL;
