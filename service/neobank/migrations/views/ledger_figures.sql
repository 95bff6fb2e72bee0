-- What the metrics role can read of the bank. Amounts are in hundredths of ¤. Columns are only ever added, because an
-- older image may read the view.
CREATE VIEW ledger_figures AS
SELECT
    coalesce(sum(balance) FILTER (WHERE account_id < 9000000000000000001), 0)::bigint AS money_supply,
    coalesce(sum(balance) FILTER (WHERE account_id = 9000000000000000002), 0)::bigint AS house_balance,
    coalesce(sum(balance), 0)::bigint AS total,
    (SELECT count(*) FROM players) AS players,
    (SELECT count(DISTINCT account_id) FROM sessions WHERE last_seen_at > now() - interval '1 hour') AS active_players,
    (SELECT count(*) FROM accounts WHERE frozen) AS frozen_accounts,
    (SELECT count(*) FROM sessions WHERE expires_at > now()) AS open_sessions,
    (SELECT count(*) FROM charges WHERE status = 'pending' AND expires_at > now()) AS pending_charges,
    (SELECT coalesce(max(id), 0) FROM transfers) AS last_transfer_id,
    (SELECT coalesce(max(id), 0) FROM audit_logs) AS last_audit_id,
    (SELECT read_only::int FROM switches) AS read_only,
    (SELECT coalesce(extract(epoch FROM now() - min(created_at)), 0) FROM idempotency_records) AS oldest_answer_seconds
FROM balances;
