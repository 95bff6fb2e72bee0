-- The complete privileges on the objects of the schema, applied at every upgrade: a privilege of any role but the owner
-- that is not listed here is revoked.
DO $$
DECLARE
    v_roles text := (
        SELECT string_agg(quote_ident(rolname), ', ') FROM pg_roles WHERE rolname <> current_user AND rolname !~ '^pg_'
    );
BEGIN
    EXECUTE 'REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC, ' || v_roles || ' CASCADE';
    EXECUTE 'REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM PUBLIC, ' || v_roles || ' CASCADE';
    EXECUTE 'REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC, ' || v_roles || ' CASCADE';
END $$;

-- Only the ledger's functions write its tables.
GRANT SELECT ON alembic_version, registration_terms, accounts, balances, transfers, ledger_figures TO neobank;
GRANT EXECUTE ON FUNCTION open_account(text, text, text, text), set_frozen, may_act, post_payment, post_transfers TO neobank;

-- Only record_audit inserts audit rows; `neobank verify` calls explains.
GRANT SELECT ON audit_logs TO neobank;
GRANT EXECUTE ON FUNCTION record_audit, explains TO neobank;

GRANT SELECT, INSERT, UPDATE ON players TO neobank;
GRANT EXECUTE ON FUNCTION find_caller TO neobank;
GRANT SELECT, INSERT, UPDATE, DELETE ON pictures, sessions, idempotency_records, rate_limit_counters TO neobank;
GRANT SELECT, INSERT ON factions, reversals TO neobank;
GRANT SELECT, UPDATE ON switches TO neobank;
GRANT SELECT, INSERT, UPDATE (revoked_at) ON api_keys TO neobank;
GRANT SELECT, INSERT, UPDATE (status, transfer_id, refund_transfer_id), DELETE ON charges TO neobank;

-- Only the casino's functions write rounds, seeds, limits and games, and only they can read a server seed in use.
GRANT SELECT ON games, dial_versions, casino_players, free_spins, rounds, revealed_seeds TO neobank;
GRANT SELECT (id, account_id, commitment, client_seed, rounds, created_at, retired_at) ON seeds TO neobank;
GRANT EXECUTE ON FUNCTION open_casino, look_at_spin, settle_round, rotate_seed, set_daily_loss_limit, exclude_player,
    set_game TO neobank;

-- functions/compatibility.sql states which images call it, and which revision removes it.
GRANT EXECUTE ON FUNCTION open_account(text, text, text) TO neobank;

GRANT SELECT ON ledger_figures TO neobank_metrics;
