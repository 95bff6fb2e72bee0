-- All that each role may do, from nothing: run after every migration, so that what is not listed here is not allowed.
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC, neobank, neobank_metrics;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM PUBLIC, neobank, neobank_metrics;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC, neobank, neobank_metrics;

-- The ledger is written by its functions alone.
GRANT SELECT ON alembic_version, accounts, balances, transfers, ledger_figures TO neobank;
GRANT EXECUTE ON FUNCTION open_account, set_frozen, post_payment, post_transfer, post_transfers TO neobank;

-- What organisers did is only ever added, by its function.
GRANT SELECT ON audit_logs TO neobank;
GRANT EXECUTE ON FUNCTION record_audit TO neobank;

GRANT SELECT, INSERT, UPDATE ON players TO neobank;
GRANT EXECUTE ON FUNCTION find_caller TO neobank;
GRANT SELECT, INSERT, UPDATE, DELETE ON sessions, idempotency_records, rate_limit_counters TO neobank;
GRANT SELECT, INSERT ON factions, reversals TO neobank;
GRANT SELECT, UPDATE ON switches TO neobank;
GRANT SELECT, INSERT, UPDATE (revoked_at) ON api_keys TO neobank;
GRANT SELECT, INSERT, UPDATE (status, transfer_id, refund_transfer_id), DELETE ON charges TO neobank;

-- Rounds, seeds, limits and games are written by the casino's functions alone, and a seed in use is read by them alone.
GRANT SELECT ON games, dial_versions, casino_players, free_spins, rounds, revealed_seeds TO neobank;
GRANT SELECT (id, account_id, commitment, client_seed, rounds, created_at, retired_at) ON seeds TO neobank;
GRANT EXECUTE ON FUNCTION open_casino, look_at_spin, settle_round, begin_spin, settle_spin, rotate_seed,
    set_daily_loss_limit, exclude_player, set_game TO neobank;

GRANT SELECT ON ledger_figures TO neobank_metrics;
