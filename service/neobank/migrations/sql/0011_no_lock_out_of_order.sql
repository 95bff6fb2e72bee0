-- As before, and an account that pays itself is refused before anything is locked: on one of several shards it would be
-- credited first, and holding that wait for the others, against the order of all locks.
CREATE OR REPLACE FUNCTION post_transfer(
    p_debit bigint, p_credit bigint, p_amount bigint, p_kind text, p_memo text, p_actor bigint,
    OUT transfer_id bigint, OUT posted_at timestamptz, OUT debit_balance bigint
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM refuse_to_pay(ARRAY[p_debit], p_kind, session_user = current_user);
    IF p_debit = p_credit THEN
        RAISE check_violation USING CONSTRAINT = 'transfer_between_two', MESSAGE = 'an account can not pay itself';
    END IF;
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
