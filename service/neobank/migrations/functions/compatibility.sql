-- Functions that images of earlier revisions call and this version does not. A rolling update and a rollback need them.

-- The ledger's functions of revision 0013 call it while the upgrade replaces them; remove it in revision 0015.
CREATE OR REPLACE FUNCTION refuse_to_pay(p_debits bigint[], p_kind text, p_system boolean) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM require_payment_allowed(
        read_only AND NOT p_system, EXISTS (SELECT FROM accounts WHERE id = ANY (p_debits) AND frozen), p_kind
    ) FROM switches;
END $$;

-- Images before revision 0013 call it; remove it, with its grant, in revision 0015.
CREATE OR REPLACE FUNCTION post_transfer(
    p_debit bigint, p_credit bigint, p_amount bigint, p_kind text, p_memo text, p_actor bigint,
    OUT transfer_id bigint, OUT posted_at timestamptz, OUT debit_balance bigint
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    SELECT paid.transfer_id, paid.posted_at, paid.debit_balance INTO transfer_id, posted_at, debit_balance
    FROM post_payment(p_debit, (SELECT number FROM accounts WHERE id = p_credit), p_amount, p_kind, p_memo, p_actor)
        AS paid;
    IF transfer_id IS NULL THEN
        RAISE foreign_key_violation USING CONSTRAINT = 'transfers_credit_account_id_fkey', MESSAGE = 'no such account';
    END IF;
END $$;

-- Images before revision 0013 call it; remove it, with its grant, in revision 0015. Locks a player's casino state and
-- returns everything that a spin depends on; no row for a player without casino state. The lock is a separate
-- statement, so that the query sees what was committed while it waited.
CREATE OR REPLACE FUNCTION begin_spin(p_account bigint, p_game text) RETURNS TABLE (
    server_seed bytea, client_seed text, nonce integer, day date, day_net bigint,
    daily_loss_limit bigint, pending_limit bigint, pending_from timestamptz, excluded_until timestamptz,
    is_enabled boolean, version_id bigint, dial integer,
    free_remaining smallint, free_line_bet bigint, free_version_id bigint, free_dial integer, free_sheet text,
    looked_at timestamptz
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM FROM casino_players WHERE account_id = p_account FOR NO KEY UPDATE;
    RETURN QUERY
    SELECT spin.server_seed, spin.client_seed, spin.nonce, spin.day, spin.day_net,
        spin.daily_loss_limit, spin.pending_limit, spin.pending_from, spin.excluded_until,
        spin.is_enabled, spin.version_id, spin.dial,
        spin.free_remaining, spin.free_line_bet, spin.free_version_id, spin.free_dial, spin.free_sheet,
        spin.looked_at
    FROM look_at_spin(p_account, p_game) AS spin;
END $$;

-- Images before revision 0013 call it after begin_spin; remove it, with its grant, in revision 0015.
CREATE OR REPLACE FUNCTION settle_spin(
    p_account bigint, p_nonce integer, p_game text, p_version bigint, p_dial integer, p_sheet text, p_loose boolean,
    p_stops smallint[], p_free boolean, p_line_bet bigint, p_bet bigint, p_win bigint, p_largest bigint,
    p_awarded smallint, p_day date, p_try integer,
    OUT round_id bigint, OUT played_at timestamptz, OUT balance_now bigint, OUT net_today bigint
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    SELECT settled.round_id, settled.played_at, settled.balance_now, settled.net_today
    INTO round_id, played_at, balance_now, net_today
    FROM settle_round(NULL, p_account, p_nonce, p_game, p_version, p_dial, p_sheet, p_loose, p_stops, p_free,
        p_line_bet, p_bet, p_win, p_largest, p_awarded, p_day, p_try) AS settled;
END $$;

-- Images before revision 0015 call it; remove it, with its grant, in revision 0016.
CREATE OR REPLACE FUNCTION open_account(p_number text, p_name text, p_name_key text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    RETURN open_account(p_number, p_name, p_name_key, NULL);
END $$;
