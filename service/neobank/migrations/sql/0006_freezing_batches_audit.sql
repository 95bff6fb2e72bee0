-- A frozen account pays nobody of its own accord; the organisers may still correct it, and it may still be paid.
ALTER TABLE accounts ADD COLUMN frozen boolean NOT NULL DEFAULT false;
ALTER TABLE accounts ADD CONSTRAINT only_players_freeze CHECK (NOT frozen OR id < 9000000000000000001);

-- Raises check_violation, naming what forbids it, where these accounts may not pay this kind of transfer now.
-- The owner, who upgrades, may pay the bankroll even from a bank that is read-only.
CREATE FUNCTION refuse_to_pay(p_debits bigint[], p_kind text, p_system boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT read_only FROM switches) AND NOT p_system THEN
        RAISE check_violation USING CONSTRAINT = 'bank_not_read_only', MESSAGE = 'the bank is read-only';
    END IF;
    IF p_kind NOT IN ('admin_adjustment', 'reversal')
        AND EXISTS (SELECT FROM accounts WHERE id = ANY (p_debits) AND frozen) THEN
        RAISE check_violation USING CONSTRAINT = 'account_not_frozen', MESSAGE = 'the account is frozen';
    END IF;
END $$;

-- As before, and no frozen account pays.
CREATE OR REPLACE FUNCTION post_transfer(
    p_debit bigint, p_credit bigint, p_amount bigint, p_kind text, p_memo text, p_actor bigint,
    OUT transfer_id bigint, OUT posted_at timestamptz, OUT debit_balance bigint
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM refuse_to_pay(ARRAY[p_debit], p_kind, session_user = current_user);
    IF p_debit < p_credit THEN
        debit_balance := debit_account(p_debit, p_amount);
        PERFORM credit_account(p_credit, p_amount);
    ELSE
        PERFORM credit_account(p_credit, p_amount);
        debit_balance := debit_account(p_debit, p_amount);
    END IF;
    INSERT INTO transfers (debit_account_id, credit_account_id, amount, kind, memo, actor_id)
    VALUES (p_debit, p_credit, p_amount, p_kind, p_memo, p_actor)
    RETURNING id, created_at INTO transfer_id, posted_at;
END $$;

-- What entries come to for each account: entry n moves p_amounts[n] from p_debits[n] to p_credits[n].
CREATE FUNCTION net_amounts(p_debits bigint[], p_credits bigint[], p_amounts bigint[])
RETURNS TABLE (account_id bigint, shards smallint, amount bigint) STABLE LANGUAGE sql AS $$
    SELECT accounts.id, accounts.shards, sum(side.amount)::bigint
    FROM (
        SELECT unnest(p_debits) AS account_id, -unnest(p_amounts) AS amount
        UNION ALL
        SELECT unnest(p_credits), unnest(p_amounts)
    ) AS side JOIN accounts ON accounts.id = side.account_id
    GROUP BY accounts.id
$$;

-- Posts many transfers as one, in the order of their entries. Every balance that is touched is locked first, in the order
-- of all locks, and changes once, by what its entries come to: nobody may be below their floor after the last of them.
-- Raises what post_transfer raises; then nothing has moved.
CREATE FUNCTION post_transfers(
    p_debits bigint[], p_credits bigint[], p_amounts bigint[], p_kind text, p_memo text, p_actor bigint
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_busy record;
BEGIN
    PERFORM refuse_to_pay(p_debits, p_kind, session_user = current_user);
    PERFORM FROM balances WHERE account_id = ANY (p_debits || p_credits) ORDER BY account_id, shard FOR UPDATE;
    UPDATE balances SET balance = balance + net.amount FROM net_amounts(p_debits, p_credits, p_amounts) AS net
    WHERE balances.account_id = net.account_id AND net.shards = 1 AND net.amount <> 0;
    FOR v_busy IN SELECT * FROM net_amounts(p_debits, p_credits, p_amounts) AS net WHERE net.shards > 1 LOOP
        IF v_busy.amount < 0 THEN
            PERFORM debit_account(v_busy.account_id, -v_busy.amount);
        ELSE
            PERFORM credit_account(v_busy.account_id, v_busy.amount);
        END IF;
    END LOOP;
    INSERT INTO transfers (debit_account_id, credit_account_id, amount, kind, memo, actor_id)
    SELECT entry.debit, entry.credit, entry.amount, p_kind, p_memo, p_actor
    FROM unnest(p_debits, p_credits, p_amounts) WITH ORDINALITY AS entry (debit, credit, amount, place) ORDER BY place;
END $$;

-- Freezes or unfreezes an account; gives whether that changed it.
CREATE FUNCTION set_frozen(p_account bigint, p_frozen boolean) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE accounts SET frozen = p_frozen WHERE id = p_account AND frozen <> p_frozen;
    RETURN FOUND;
END $$;

-- What organisers did. Each row's hash covers the row before it, so that none can be changed or taken out unseen; rows are
-- added by `record_audit` alone, and by nobody changed or removed.
CREATE TABLE audit_logs (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at timestamptz NOT NULL,
    actor_id   bigint NOT NULL REFERENCES accounts,
    action     text NOT NULL,
    target     text NOT NULL,
    details    text NOT NULL,
    hash       bytea NOT NULL
);

-- A field as a netstring (its length in bytes, a colon, the field, a comma): no two rows read the same.
CREATE FUNCTION netstring(p_field text) RETURNS text STABLE LANGUAGE sql AS $$
    SELECT octet_length(p_field) || ':' || p_field || ','
$$;

-- Adds a row to the chain, in the transaction of the action: SHA-256 of the hash before (32 zero bytes before the first) and
-- the row's id, time (microseconds since 1970), actor, action, target and details. Take it last, after all other locks: who
-- holds the chain's lock lets no other organiser's action commit, and no player waits for it.
CREATE FUNCTION record_audit(p_actor bigint, p_action text, p_target text, p_details text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_id bigint;
    v_at timestamptz := clock_timestamp();
    v_before bytea;
BEGIN
    PERFORM pg_advisory_xact_lock(x'6e656f617564'::bigint);
    v_before := coalesce((SELECT hash FROM audit_logs ORDER BY id DESC LIMIT 1), decode(repeat('00', 32), 'hex'));
    v_id := nextval('audit_logs_id_seq');
    INSERT INTO audit_logs (id, created_at, actor_id, action, target, details, hash) OVERRIDING SYSTEM VALUE
    VALUES (v_id, v_at, p_actor, p_action, p_target, p_details, sha256(v_before || convert_to(
        netstring(v_id::text) || netstring((extract(epoch FROM v_at) * 1000000)::bigint::text)
        || netstring(p_actor::text) || netstring(p_action) || netstring(p_target) || netstring(p_details), 'UTF8')));
END $$;
