-- functions/ledger.sql defines what a frozen account may do.
ALTER TABLE accounts ADD COLUMN frozen boolean NOT NULL DEFAULT false;
ALTER TABLE accounts ADD CONSTRAINT only_players_freeze CHECK (NOT frozen OR id < 9000000000000000001);

-- The organisers' actions. Each row's hash includes the hash of the previous row, so a changed or removed row is
-- detected; the removal of the last rows only by comparison with a hash that was written down before. Only record_audit
-- (functions/audit.sql) inserts rows, and no role updates or deletes them.
CREATE TABLE audit_logs (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at timestamptz NOT NULL,
    actor_id   bigint NOT NULL REFERENCES accounts,
    action     text NOT NULL,
    target     text NOT NULL,
    details    text NOT NULL,
    hash       bytea NOT NULL
);
