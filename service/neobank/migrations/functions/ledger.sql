-- The ledger's functions. Those marked SECURITY DEFINER run as the owner. The application's role can change an account,
-- a balance or a transfer only through them and those of casino.sql. Amounts are in hundredths of ¤.
--
-- Lock order: a call locks balances in ascending order of account id and shard, so that two calls cannot deadlock.
-- SYSTEM and the house are the busiest accounts; they have the two highest ids, so that they are locked last and for
-- the shortest time.

-- FREEZING. Organisers freeze an account with set_frozen. A frozen account
--   * can receive money, and organisers can adjust it and reverse its transfers;
--   * cannot pay, approve a charge or spin: require_payment_allowed;
--   * cannot log in, and its sessions and API keys are rejected: may_act.

-- Returns whether an account may act through a log-in, a session or an API key.
CREATE OR REPLACE FUNCTION may_act(p_account accounts) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$
    SELECT NOT p_account.frozen
$$;

-- Raises check_violation, with the constraint bank_not_read_only or account_not_frozen, if a payment of this kind is
-- not allowed now. A session of the owner (session_user = current_user) is exempt from the read-only switch, because an
-- upgrade may have to pay the bankroll.
CREATE OR REPLACE FUNCTION require_payment_allowed(p_read_only boolean, p_payer_frozen boolean, p_kind text)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF p_read_only AND session_user <> current_user THEN
        RAISE check_violation USING CONSTRAINT = 'bank_not_read_only', MESSAGE = 'the bank is read-only';
    END IF;
    IF p_payer_frozen AND p_kind NOT IN ('admin_adjustment', 'reversal') THEN
        RAISE check_violation USING CONSTRAINT = 'account_not_frozen', MESSAGE = 'the account is frozen';
    END IF;
END $$;

-- ORDER. When a switch or a freezing is committed, it is in force: no transfer that it forbids is committed later.
--   * A function that moves money checks require_payment_allowed a second time after it has changed the balances.
--   * set_frozen locks the account's balances first, and await_payments locks the table. So both wait for every
--     transaction that has made its second check, and a transaction that checks later sees the change.

-- Freezes or unfreezes an account, after the payments that have locked its balance. Returns whether its state changed.
CREATE OR REPLACE FUNCTION set_frozen(p_account bigint, p_frozen boolean) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM FROM balances WHERE account_id = p_account ORDER BY shard FOR NO KEY UPDATE;
    UPDATE accounts SET frozen = p_frozen WHERE id = p_account AND frozen <> p_frozen;
    RETURN FOUND;
END $$;

-- Delays a change of the read-only switch until every transaction that has changed a balance has ended. Payments that
-- begin meanwhile wait for the change.
CREATE OR REPLACE FUNCTION await_payments() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    LOCK TABLE balances IN SHARE MODE;
    RETURN NEW;
END $$;

-- Raises check_violation only_rounds_are_bets for the kinds of transfers that settle_round alone posts.
CREATE OR REPLACE FUNCTION refuse_casino_kind(p_kind text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF p_kind IN ('casino_bet', 'casino_win') THEN
        RAISE check_violation USING CONSTRAINT = 'only_rounds_are_bets', MESSAGE = 'only a round posts bets and wins';
    END IF;
END $$;

-- Opens an ordinary account with one balance of zero and a floor of zero. Returns its id. Raises unique_violation if
-- the number, the name or one that looks like it is in use; the constraint tells which.
CREATE OR REPLACE FUNCTION open_account(p_number text, p_name text, p_name_key text, p_skeleton text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_id bigint;
BEGIN
    INSERT INTO accounts (number, name, name_key, skeleton) VALUES (p_number, p_name, p_name_key, p_skeleton)
    RETURNING id INTO v_id;
    INSERT INTO balances (account_id, shard, floor) VALUES (v_id, 0, 0);
    RETURN v_id;
END $$;

-- Takes an amount from an account and returns its new balance. Of several shards, those with the highest balances pay
-- first. Raises check_violation if the balance would fall below the floor, or the sum of several shards below zero.
CREATE OR REPLACE FUNCTION debit_account(p_account bigint, p_amount bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_balance bigint;
BEGIN
    IF (SELECT shards FROM accounts WHERE id = p_account) = 1 THEN
        UPDATE balances SET balance = balance - p_amount
        WHERE account_id = p_account AND shard = 0
        RETURNING balance INTO v_balance;
        RETURN v_balance;
    END IF;
    PERFORM FROM balances WHERE account_id = p_account ORDER BY shard FOR UPDATE;
    v_balance := (SELECT sum(balance) FROM balances WHERE account_id = p_account) - p_amount;
    IF v_balance < 0 THEN
        RAISE check_violation USING
            CONSTRAINT = 'balance_not_below_floor', MESSAGE = 'the balance is less than the amount';
    END IF;
    UPDATE balances SET balance = balance - taken.amount
    FROM (
        SELECT shard, least(balance, p_amount - sum(balance) OVER by_balance + balance) AS amount
        FROM balances WHERE account_id = p_account
        WINDOW by_balance AS (ORDER BY balance DESC, shard)
    ) AS taken
    WHERE account_id = p_account AND balances.shard = taken.shard AND taken.amount > 0;
    RETURN v_balance;
END $$;

-- Adds an amount to a random shard of an account.
CREATE OR REPLACE FUNCTION credit_account(p_account bigint, p_amount bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE balances SET balance = balance + p_amount
    WHERE account_id = p_account
        AND shard = (SELECT floor(random() * shards)::smallint FROM accounts WHERE id = p_account);
END $$;

-- Moves an amount to the account with this number. Returns the new transfer, the payer's new balance and the receiver's
-- name; all NULL if no account has the number. Raises check_violation with the name of the constraint for an overdraft,
-- a receiver whose balance would exceed the maximum, a payment to oneself, and whatever require_payment_allowed
-- raises; nothing has moved then. The transfer is inserted first, so that an invalid one is rejected before a balance
-- is locked and a busy balance is locked for as short a time as possible.
CREATE OR REPLACE FUNCTION post_payment(
    p_debit bigint, p_number text, p_amount bigint, p_kind text, p_memo text, p_actor bigint,
    OUT transfer_id bigint, OUT posted_at timestamptz, OUT debit_balance bigint, OUT credit_name text
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_credit bigint;
    v_read_only boolean;
    v_frozen boolean;
BEGIN
    SELECT credit.id, credit.name, switches.read_only, debit.frozen INTO v_credit, credit_name, v_read_only, v_frozen
    FROM switches, accounts AS credit LEFT JOIN accounts AS debit ON debit.id = p_debit
    WHERE credit.number = p_number;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM refuse_casino_kind(p_kind);
    PERFORM require_payment_allowed(v_read_only, v_frozen, p_kind);
    INSERT INTO transfers (debit_account_id, credit_account_id, amount, kind, memo, actor_id)
    VALUES (p_debit, v_credit, p_amount, p_kind, p_memo, p_actor)
    RETURNING id, created_at INTO transfer_id, posted_at;
    IF p_debit < v_credit THEN
        debit_balance := debit_account(p_debit, p_amount);
        PERFORM credit_account(v_credit, p_amount);
    ELSE
        PERFORM credit_account(v_credit, p_amount);
        debit_balance := debit_account(p_debit, p_amount);
    END IF;
    PERFORM require_payment_allowed(read_only, frozen, p_kind) FROM switches, accounts WHERE id = p_debit;
END $$;

-- Returns the net change of each account: entry n moves p_amounts[n] from p_debits[n] to p_credits[n].
CREATE OR REPLACE FUNCTION net_amounts(p_debits bigint[], p_credits bigint[], p_amounts bigint[])
RETURNS TABLE (account_id bigint, shards smallint, amount bigint) STABLE LANGUAGE sql AS $$
    SELECT accounts.id, accounts.shards, sum(side.amount)::bigint
    FROM (
        SELECT unnest(p_debits) AS account_id, -unnest(p_amounts) AS amount
        UNION ALL
        SELECT unnest(p_credits), unnest(p_amounts)
    ) AS side JOIN accounts ON accounts.id = side.account_id
    GROUP BY accounts.id
$$;

-- Posts many transfers together, in the order of their entries. It locks every balance involved first, in the lock
-- order, and changes each account once by its net amount: only the final balances must respect their floors.
-- Raises what post_payment raises, and foreign_key_violation for an unknown account; nothing has moved then.
CREATE OR REPLACE FUNCTION post_transfers(
    p_debits bigint[], p_credits bigint[], p_amounts bigint[], p_kind text, p_memo text, p_actor bigint
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_sharded record;
BEGIN
    PERFORM refuse_casino_kind(p_kind);
    PERFORM require_payment_allowed(
        read_only, EXISTS (SELECT FROM accounts WHERE id = ANY (p_debits) AND frozen), p_kind
    ) FROM switches;
    PERFORM FROM balances WHERE account_id = ANY (p_debits || p_credits) ORDER BY account_id, shard FOR UPDATE;
    UPDATE balances SET balance = balance + net.amount FROM net_amounts(p_debits, p_credits, p_amounts) AS net
    WHERE balances.account_id = net.account_id AND net.shards = 1 AND net.amount <> 0;
    FOR v_sharded IN SELECT * FROM net_amounts(p_debits, p_credits, p_amounts) AS net WHERE net.shards > 1 LOOP
        IF v_sharded.amount < 0 THEN
            PERFORM debit_account(v_sharded.account_id, -v_sharded.amount);
        ELSE
            PERFORM credit_account(v_sharded.account_id, v_sharded.amount);
        END IF;
    END LOOP;
    INSERT INTO transfers (debit_account_id, credit_account_id, amount, kind, memo, actor_id)
    SELECT entry.debit, entry.credit, entry.amount, p_kind, p_memo, p_actor
    FROM unnest(p_debits, p_credits, p_amounts) WITH ORDINALITY AS entry (debit, credit, amount, place) ORDER BY place;
    PERFORM require_payment_allowed(
        read_only, EXISTS (SELECT FROM accounts WHERE id = ANY (p_debits) AND frozen), p_kind
    ) FROM switches;
END $$;
