-- The server seeds that the application can read: the retired ones.
CREATE VIEW revealed_seeds WITH (security_barrier) AS SELECT id, server_seed FROM seeds WHERE retired_at IS NOT NULL;
