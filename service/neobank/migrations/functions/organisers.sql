-- What only organisers may do. The triggers of revision 0015 call require_audit, require_explanation and
-- keep_an_organiser at the end of a transaction, so no statement of the application's role can do it without a row of
-- the audit log. Sessions of the owner (session_user = current_user) are exempt from the first two: the owner migrates,
-- and provides the first organiser, the games and the bankroll.

-- Returns whether an account is an organiser's who may act.
CREATE OR REPLACE FUNCTION is_active_organiser(p_account bigint) RETURNS boolean STABLE LANGUAGE sql AS $$
    SELECT EXISTS (
        SELECT FROM players JOIN accounts ON accounts.id = players.account_id
        WHERE players.account_id = p_account AND players.is_admin AND may_act(accounts)
    )
$$;

-- Returns the audit row of the current transaction; NULL if there is none. record_audit keeps its lock until the
-- commit, so a row of this transaction is the newest.
CREATE OR REPLACE FUNCTION audit_of_transaction() RETURNS audit_logs LANGUAGE sql AS $$
    SELECT log FROM audit_logs AS log
    WHERE log.id = (SELECT max(id) FROM audit_logs) AND log.xmin = pg_current_xact_id()::xid
$$;

-- Raises check_violation organisers_are_audited if the transaction has no audit row.
CREATE OR REPLACE FUNCTION require_audit() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF session_user <> current_user AND audit_of_transaction() IS NULL THEN
        RAISE check_violation USING CONSTRAINT = 'organisers_are_audited',
            MESSAGE = 'a change of ' || TG_TABLE_NAME || ' needs an audit row in its transaction';
    END IF;
    RETURN NULL;
END $$;

-- Returns whether an audit row names a transfer: its id, or the amount and the reason of a credit for a faction. The
-- row of an import names no transfer, but explains opening balances of its transaction.
CREATE OR REPLACE FUNCTION explains(p_log audit_logs, p_transfer transfers) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$
    SELECT coalesce(CASE p_log.action
        WHEN 'import_players' THEN p_transfer.kind = 'opening_balance'
        WHEN 'add_credits' THEN p_transfer.kind = 'admin_adjustment' AND p_transfer.actor_id = p_log.actor_id
            AND p_transfer.memo = p_log.details::jsonb ->> 'reason'
            AND p_transfer.amount = (p_log.details::jsonb ->> 'amount')::numeric * 100
        ELSE p_transfer.actor_id = p_log.actor_id AND p_transfer.id::text = p_log.details::jsonb ->> 'transaction'
    END, false)
$$;

-- Raises check_violation transfers_are_explained for a transfer that only organisers may make, unless the audit row of
-- its transaction explains it. That is every adjustment and reversal, and everything that SYSTEM or the house pays,
-- except a win of the casino. A registration needs no audit row: it pays an opening balance of at most that of
-- registration_terms to an account that has received nothing before.
-- Images before revision 0015 always pay 100000 hundredths, whatever registration_terms says, and must be able to during
-- a roll-out and after going back; remove greatest() in revision 0016.
CREATE OR REPLACE FUNCTION require_explanation() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_log audit_logs;
BEGIN
    IF session_user = current_user THEN
        RETURN NULL;
    END IF;
    IF NEW.kind = 'opening_balance' THEN
        IF EXISTS (SELECT FROM transfers WHERE credit_account_id = NEW.credit_account_id AND id <> NEW.id) THEN
            RAISE check_violation USING CONSTRAINT = 'transfers_are_explained',
                MESSAGE = 'an opening balance is the first transfer to its account';
        ELSIF NEW.amount <= (SELECT greatest(100000, opening_balance) FROM registration_terms) THEN
            RETURN NULL;
        END IF;
    END IF;
    v_log := audit_of_transaction();
    IF v_log IS NULL OR NOT explains(v_log, NEW) THEN
        RAISE check_violation USING CONSTRAINT = 'transfers_are_explained',
            MESSAGE = 'transfer ' || NEW.id || ' needs an audit row in its transaction that names it';
    END IF;
    RETURN NULL;
END $$;

-- Raises check_violation an_organiser_remains if a demotion or a freezing leaves no active organiser. The lock is that
-- of record_audit: without it, two transactions at once could each see the other's organiser.
CREATE OR REPLACE FUNCTION keep_an_organiser() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(x'6e656f617564'::bigint);
    IF NOT EXISTS (SELECT FROM players WHERE is_admin AND is_active_organiser(account_id)) THEN
        RAISE check_violation USING
            CONSTRAINT = 'an_organiser_remains', MESSAGE = 'no organiser who may act would remain';
    END IF;
    RETURN NULL;
END $$;
