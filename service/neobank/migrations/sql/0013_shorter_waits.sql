-- What most requests do, as functions: a connection plans what is in them once, while it plans a query anew each time.

-- Who asks: the session with this token hash that lasts, of an account that is not frozen; nulls where there is none. Notes
-- that it was seen where that was longer ago than p_seen, and waits for no disk: what a crash forgets is a time.
CREATE FUNCTION find_caller(
    p_token_hash bytea, p_seen interval,
    OUT account_id bigint, OUT account_number text, OUT character_name text, OUT session_id bigint,
    OUT is_admin boolean, OUT must_change_password boolean
) LANGUAGE plpgsql AS $$
DECLARE
    v_unseen boolean;
BEGIN
    SELECT account.id, account.number, account.name, session.id,
        player.is_admin, player.must_change_password, session.last_seen_at < now() - p_seen
    INTO account_id, account_number, character_name, session_id, is_admin, must_change_password, v_unseen
    FROM sessions AS session
        JOIN players AS player ON player.account_id = session.account_id
        JOIN accounts AS account ON account.id = session.account_id
    WHERE session.token_hash = p_token_hash AND session.expires_at > now() AND NOT account.frozen;
    IF v_unseen THEN
        PERFORM set_config('synchronous_commit', 'off', true);
        UPDATE sessions SET last_seen_at = now() WHERE id = session_id AND last_seen_at < now() - p_seen;
    END IF;
END $$;

-- The rule of post_transfer, which stands here now, for a receiver who is known by the account's number. Gives the
-- receiver's name too; nulls where there is no such account. The transfer comes first, so that what is wrong with it is
-- refused before anything is locked, and a balance that everybody pays is locked for no longer than it takes to change it.
CREATE FUNCTION post_payment(
    p_debit bigint, p_number text, p_amount bigint, p_kind text, p_memo text, p_actor bigint,
    OUT transfer_id bigint, OUT posted_at timestamptz, OUT debit_balance bigint, OUT credit_name text
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_credit bigint;
    v_stopped boolean;
BEGIN
    SELECT credit.id, credit.name, switches.read_only OR debit.frozen INTO v_credit, credit_name, v_stopped
    FROM switches, accounts AS credit LEFT JOIN accounts AS debit ON debit.id = p_debit
    WHERE credit.number = p_number;
    IF NOT FOUND THEN
        RETURN;
    ELSIF v_stopped THEN
        PERFORM refuse_to_pay(ARRAY[p_debit], p_kind, session_user = current_user);
    END IF;
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
END $$;

-- As before, by way of post_payment.
CREATE OR REPLACE FUNCTION post_transfer(
    p_debit bigint, p_credit bigint, p_amount bigint, p_kind text, p_memo text, p_actor bigint,
    OUT transfer_id bigint, OUT posted_at timestamptz, OUT debit_balance bigint
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    SELECT paid.transfer_id, paid.posted_at, paid.debit_balance INTO transfer_id, posted_at, debit_balance
    FROM post_payment(p_debit, (SELECT number FROM accounts WHERE id = p_credit), p_amount, p_kind, p_memo, p_actor) AS paid;
    IF transfer_id IS NULL THEN
        RAISE foreign_key_violation USING CONSTRAINT = 'transfers_credit_account_id_fkey', MESSAGE = 'no such account';
    END IF;
END $$;

-- As before, but two tries differ. The first asks for one shard that luck names, and looks for another free one only where
-- that one is taken or too poor. The second waits for a shard only where rich ones are not scarce: half as many as the third
-- try would make, or eight. The bankroll, a top-up and what players lose come to lie on a few shards, and would stay there:
-- whoever waits for one of them finds it rich again. It is the third try that spreads them, and nothing but scarcity that
-- asks for it.
CREATE OR REPLACE FUNCTION change_house(p_need bigint, p_change bigint, p_try integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    c_house CONSTANT bigint := 9000000000000000002;
    c_enough CONSTANT integer := 8;
    v_start integer := floor(random() * 32);
    v_shard smallint;
    v_total bigint;
    v_rich integer;
BEGIN
    IF p_try = 1 THEN
        UPDATE balances SET balance = balance + p_change
        WHERE account_id = c_house AND shard = (
            SELECT shard FROM balances WHERE account_id = c_house AND shard = v_start AND balance >= p_need
            FOR NO KEY UPDATE SKIP LOCKED
        );
        IF FOUND THEN
            RETURN;
        END IF;
        UPDATE balances SET balance = balance + p_change
        WHERE account_id = c_house AND shard = (
            SELECT shard FROM balances WHERE account_id = c_house AND balance >= p_need
            ORDER BY mod(shard + v_start, 32) LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
        );
    ELSIF p_try = 2 THEN
        v_shard := (
            SELECT shard FROM balances WHERE account_id = c_house AND balance >= p_need
            ORDER BY mod(shard + v_start, 32) LIMIT 1
        );
        UPDATE balances SET balance = balance + p_change
        WHERE account_id = c_house AND shard = v_shard AND balance >= p_need AND (
            SELECT count(*) FILTER (WHERE balance >= p_need) >= least(c_enough, sum(balance) / greatest(p_need, 1) / 2)
            FROM balances WHERE account_id = c_house
        );
    ELSE
        PERFORM FROM balances WHERE account_id = c_house ORDER BY shard FOR NO KEY UPDATE;
        v_total := (SELECT sum(balance) FROM balances WHERE account_id = c_house);
        IF v_total < p_need THEN
            RAISE check_violation USING CONSTRAINT = 'house_can_pay', MESSAGE = 'the house holds less than that';
        END IF;
        v_total := v_total + p_change;
        v_rich := greatest(1, least(32, v_total / greatest(p_need, 1)));
        UPDATE balances SET balance =
            CASE WHEN shard < v_rich THEN v_total / v_rich + (shard < mod(v_total, v_rich))::integer ELSE 0 END
        WHERE account_id = c_house;
    END IF;
    IF NOT FOUND THEN
        RAISE SQLSTATE 'NBH01' USING MESSAGE = 'no shard of the house could be had';
    END IF;
END $$;

-- Gives all that a spin depends on, and which version of the player's row that was; locks nothing. No row for who is not
-- the casino's yet.
CREATE FUNCTION look_at_spin(p_account bigint, p_game text) RETURNS TABLE (
    row_version bigint, server_seed bytea, client_seed text, nonce integer, day date, day_net bigint,
    daily_loss_limit bigint, pending_limit bigint, pending_from timestamptz, excluded_until timestamptz,
    is_enabled boolean, version_id bigint, dial integer,
    free_remaining smallint, free_line_bet bigint, free_version_id bigint, free_dial integer, free_sheet text,
    looked_at timestamptz
) STABLE LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY
    SELECT player.xmin::text::bigint, seeds.server_seed, seeds.client_seed, player.nonce, player.day, player.day_net,
        player.daily_loss_limit, player.pending_limit, player.pending_from, player.excluded_until,
        games.is_enabled, version.id, version.dial,
        free.remaining, free.line_bet, free.version_id, free.dial, free.sheet,
        clock_timestamp()
    FROM casino_players AS player
        JOIN seeds ON seeds.id = player.seed_id
        JOIN games ON games.name = p_game
        CROSS JOIN LATERAL (
            SELECT dial_versions.id, dial_versions.dial FROM dial_versions
            WHERE dial_versions.game = p_game ORDER BY dial_versions.id DESC LIMIT 1
        ) AS version
        LEFT JOIN free_spins AS free
            ON free.account_id = p_account AND free.game = p_game AND free.remaining > 0
    WHERE player.account_id = p_account;
END $$;

-- The rule of settle_spin, which stands here now: settles the round that was looked at, if the player's row is still of the
-- version it was then. Whoever plays, rotates, sets a limit or excludes makes another version of it, and free spins come and
-- go with it, so that nothing which the round depends on can have changed; else it raises NBH02, and one has to look again.
CREATE FUNCTION settle_round(
    p_row_version bigint, p_account bigint, p_nonce integer, p_game text, p_version bigint, p_dial integer, p_sheet text,
    p_loose boolean, p_stops smallint[], p_free boolean, p_line_bet bigint, p_bet bigint, p_win bigint, p_largest bigint,
    p_awarded smallint, p_day date, p_try integer,
    OUT round_id bigint, OUT played_at timestamptz, OUT balance_now bigint, OUT net_today bigint
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    c_house CONSTANT bigint := 9000000000000000002;
    v_seed bigint;
    v_memo text;
BEGIN
    IF (SELECT read_only OR frozen FROM switches, accounts WHERE id = p_account) THEN
        PERFORM refuse_to_pay(ARRAY[p_account], 'casino_bet', false);
    END IF;
    IF p_win > p_largest OR p_free <> (p_bet = 0) THEN
        RAISE 'there is no such round';
    END IF;
    UPDATE casino_players SET
        nonce = nonce + 1, day = p_day,
        day_net = CASE WHEN day = p_day THEN day_net ELSE 0 END + p_bet - p_win
    WHERE account_id = p_account AND nonce = p_nonce AND xmin::text::bigint = coalesce(p_row_version, xmin::text::bigint)
    RETURNING seed_id, day_net INTO v_seed, net_today;
    IF NOT FOUND THEN
        RAISE SQLSTATE 'NBH02' USING MESSAGE = 'this is not the round that was looked at';
    END IF;
    IF p_free THEN
        UPDATE free_spins SET remaining = remaining - 1 WHERE account_id = p_account AND game = p_game;
    ELSIF p_awarded > 0 THEN
        INSERT INTO free_spins AS free (account_id, game, remaining, line_bet, version_id, dial, sheet)
        VALUES (p_account, p_game, p_awarded, p_line_bet, p_version, p_dial, p_sheet)
        ON CONFLICT (account_id, game) DO UPDATE SET remaining = excluded.remaining, line_bet = excluded.line_bet,
            version_id = excluded.version_id, dial = excluded.dial, sheet = excluded.sheet
        WHERE free.remaining = 0;
    END IF;
    played_at := clock_timestamp();
    INSERT INTO rounds (account_id, seed_id, nonce, game, version_id, dial, sheet, loose, stops, free, line_bet, bet, win,
        awarded, created_at)
    VALUES (p_account, v_seed, p_nonce, p_game, p_version, p_dial, p_sheet, p_loose, p_stops, p_free, p_line_bet, p_bet,
        p_win, p_awarded, played_at)
    RETURNING id INTO round_id;
    v_memo := initcap(replace(p_game, '_', ' ')) || ', round ' || round_id;
    IF p_bet > 0 THEN
        INSERT INTO transfers (debit_account_id, credit_account_id, amount, kind, memo, actor_id)
        VALUES (p_account, c_house, p_bet, 'casino_bet', v_memo, p_account);
    END IF;
    IF p_win > 0 THEN
        INSERT INTO transfers (debit_account_id, credit_account_id, amount, kind, memo, actor_id)
        VALUES (c_house, p_account, p_win, 'casino_win', v_memo, p_account);
    END IF;
    balance_now := change_player(p_account, p_bet, p_win, p_largest);
    PERFORM change_house(p_largest - p_bet, p_bet - p_win, p_try);
END $$;

-- As before, by way of settle_round; begin_spin holds the row meanwhile.
CREATE OR REPLACE FUNCTION settle_spin(
    p_account bigint, p_nonce integer, p_game text, p_version bigint, p_dial integer, p_sheet text, p_loose boolean,
    p_stops smallint[], p_free boolean, p_line_bet bigint, p_bet bigint, p_win bigint, p_largest bigint,
    p_awarded smallint, p_day date, p_try integer,
    OUT round_id bigint, OUT played_at timestamptz, OUT balance_now bigint, OUT net_today bigint
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    SELECT settled.round_id, settled.played_at, settled.balance_now, settled.net_today
    INTO round_id, played_at, balance_now, net_today
    FROM settle_round(NULL, p_account, p_nonce, p_game, p_version, p_dial, p_sheet, p_loose, p_stops, p_free, p_line_bet,
        p_bet, p_win, p_largest, p_awarded, p_day, p_try) AS settled;
END $$;
