-- The casino's functions. They are the only way in which the application's role can play, rotate a seed, set a limit or
-- change a game. A round is one row; its transfers and the player's nonce are written in the same transaction.

-- Creates a player's casino state with the seed in use and the next seed. Does nothing if it exists or the account is
-- not a player's; of two concurrent calls only one creates it.
CREATE OR REPLACE FUNCTION open_casino(
    p_account bigint, p_server_seed bytea, p_next_server_seed bytea, p_client_seed text
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_seed bigint;
    v_next bigint;
BEGIN
    PERFORM FROM players WHERE account_id = p_account FOR NO KEY UPDATE;
    IF NOT FOUND OR EXISTS (SELECT FROM casino_players WHERE account_id = p_account) THEN
        RETURN;
    END IF;
    INSERT INTO seeds (account_id, server_seed, client_seed) VALUES (p_account, p_server_seed, p_client_seed)
    RETURNING id INTO v_seed;
    INSERT INTO seeds (account_id, server_seed) VALUES (p_account, p_next_server_seed) RETURNING id INTO v_next;
    INSERT INTO casino_players (account_id, seed_id, next_seed_id) VALUES (p_account, v_seed, v_next);
END $$;

-- Returns everything that a spin depends on, and the version (xmin) of the player's row that was read; locks nothing.
-- Returns no row for a player without casino state.
CREATE OR REPLACE FUNCTION look_at_spin(p_account bigint, p_game text) RETURNS TABLE (
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

-- Takes a bet from a player, adds a win and returns the new balance. Raises check_violation if the bet exceeds the
-- balance before the win, or if the largest possible win would exceed the maximum balance: the outcome decides neither.
CREATE OR REPLACE FUNCTION change_player(p_account bigint, p_bet bigint, p_win bigint, p_largest bigint) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_held bigint;
BEGIN
    IF (SELECT shards FROM accounts WHERE id = p_account) > 1 THEN
        PERFORM debit_account(p_account, p_bet);
        PERFORM credit_account(p_account, p_win);
        RETURN (SELECT sum(balance) FROM balances WHERE account_id = p_account);
    END IF;
    UPDATE balances SET balance = balance - p_bet + p_win WHERE account_id = p_account AND shard = 0
    RETURNING balance + p_bet - p_win INTO v_held;
    IF v_held < p_bet THEN
        RAISE check_violation USING CONSTRAINT = 'balance_not_below_floor', MESSAGE = 'the bet is not there';
    ELSIF v_held - p_bet + p_largest > 999999999999999 THEN
        RAISE check_violation USING CONSTRAINT = 'balance_within_bounds', MESSAGE = 'no room for the largest win';
    END IF;
    RETURN v_held - p_bet + p_win;
END $$;

-- Adds p_change (negative: subtracts it) to a rich shard of the house: one whose balance is at least p_need. The caller
-- makes up to three tries (p_try), each in a new transaction, because a failed try may hold locks that would deadlock
-- with the next:
--   1. Try one random shard; if it is locked or not rich, take any other shard that is unlocked and rich.
--   2. Wait for a rich shard, unless rich shards are scarce: fewer than eight, and fewer than half of the number that
--      try 3 would create. The bankroll, a top-up and lost bets collect on few shards, and a spin that waits for one of
--      these finds it rich again each time. Only try 3 distributes the money, so with scarce shards this try must fail.
--   3. Lock all shards. Raise check_violation house_can_pay if their sum is less than p_need; otherwise distribute the
--      money evenly over as many shards as can each hold p_need, at most 32.
-- Raises NBH01 if this try found no shard.
CREATE OR REPLACE FUNCTION change_house(p_need bigint, p_change bigint, p_try integer) RETURNS void
LANGUAGE plpgsql AS $$
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
        RAISE SQLSTATE 'NBH01' USING MESSAGE = 'no shard of the house is available';
    END IF;
END $$;

-- Settles a round: nonce, free spins, round, transfers, the player's balance, and the house last. Whether it is refused
-- does not depend on the outcome: the bet must be covered before the win, and house and player must have room for
-- p_largest, the largest win of this bet. Amounts are in hundredths of ¤. The round must have been prepared from the
-- current version of the player's row (p_row_version). Every spin, seed rotation, limit and exclusion updates that row,
-- so no input of the round can have changed; otherwise NBH02 is raised, and the caller reads the inputs again. The same
-- happens if the game has been closed or its dial changed: set_game waits for the rounds that have passed this check.
-- Raises check_violation with the name of the constraint, or NBH01: see change_house.
CREATE OR REPLACE FUNCTION settle_round(
    p_row_version bigint, p_account bigint, p_nonce integer, p_game text, p_version bigint, p_dial integer,
    p_sheet text, p_loose boolean, p_stops smallint[], p_free boolean, p_line_bet bigint, p_bet bigint, p_win bigint,
    p_largest bigint, p_awarded smallint, p_day date, p_try integer,
    OUT round_id bigint, OUT played_at timestamptz, OUT balance_now bigint, OUT net_today bigint
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    c_house CONSTANT bigint := 9000000000000000002;
    v_seed bigint;
    v_memo text;
BEGIN
    PERFORM require_payment_allowed(read_only, frozen, 'casino_bet') FROM switches, accounts WHERE id = p_account;
    IF p_win > p_largest OR p_free <> (p_bet = 0) THEN
        RAISE 'the round is impossible: a win above the largest, or a free round with a bet';
    END IF;
    UPDATE casino_players SET
        nonce = nonce + 1, day = p_day,
        day_net = CASE WHEN day = p_day THEN day_net ELSE 0 END + p_bet - p_win
    WHERE account_id = p_account AND nonce = p_nonce
        AND xmin::text::bigint = p_row_version
    RETURNING seed_id, day_net INTO v_seed, net_today;
    IF NOT FOUND THEN
        RAISE SQLSTATE 'NBH02' USING MESSAGE = 'the player has changed since the round was prepared';
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
    INSERT INTO rounds (account_id, seed_id, nonce, game, version_id, dial, sheet, loose, stops, free, line_bet, bet,
        win, awarded, created_at)
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
    PERFORM require_payment_allowed(read_only, frozen, 'casino_bet') FROM switches, accounts WHERE id = p_account;
    IF NOT EXISTS (SELECT FROM games WHERE name = p_game AND is_enabled) OR NOT p_free AND p_version <> (
        SELECT id FROM dial_versions WHERE game = p_game ORDER BY id DESC LIMIT 1
    ) THEN
        RAISE SQLSTATE 'NBH02' USING MESSAGE = 'the game has changed since the round was prepared';
    END IF;
    PERFORM change_house(p_largest - p_bet, p_bet - p_win, p_try);
END $$;

-- Retires and reveals a player's seed in use. Makes the next seed, whose commitment is already public, the seed in use,
-- with this client seed (NULL: the previous one).
CREATE OR REPLACE FUNCTION rotate_seed(
    p_account bigint, p_server_seed bytea, p_client_seed text,
    OUT server_seed bytea, OUT commitment text, OUT client_seed text, OUT rounds integer,
    OUT current_commitment text, OUT current_client_seed text, OUT next_commitment text
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_player casino_players;
    v_next bigint;
BEGIN
    SELECT * INTO v_player FROM casino_players WHERE account_id = p_account FOR NO KEY UPDATE;
    UPDATE seeds SET rounds = v_player.nonce, retired_at = clock_timestamp() WHERE id = v_player.seed_id
    RETURNING seeds.server_seed, seeds.commitment, seeds.client_seed, seeds.rounds
    INTO server_seed, commitment, client_seed, rounds;
    UPDATE seeds SET client_seed = coalesce(p_client_seed, rotate_seed.client_seed) WHERE id = v_player.next_seed_id
    RETURNING seeds.commitment, seeds.client_seed INTO current_commitment, current_client_seed;
    INSERT INTO seeds (account_id, server_seed) VALUES (p_account, p_server_seed)
    RETURNING id, seeds.commitment INTO v_next, next_commitment;
    UPDATE casino_players SET seed_id = v_player.next_seed_id, next_seed_id = v_next, nonce = 0
    WHERE account_id = p_account;
END $$;

-- After a restore: retires a player's seed in use, and the next seed too, which may have been in use before the
-- restore. The client seed stays.
CREATE OR REPLACE FUNCTION renew_seeds(p_account bigint, p_server_seed bytea, p_next_server_seed bytea) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_player casino_players;
    v_seed bigint;
    v_next bigint;
BEGIN
    SELECT * INTO v_player FROM casino_players WHERE account_id = p_account FOR NO KEY UPDATE;
    UPDATE seeds SET
        rounds = CASE id WHEN v_player.seed_id THEN v_player.nonce ELSE 0 END, retired_at = clock_timestamp()
    WHERE id IN (v_player.seed_id, v_player.next_seed_id);
    INSERT INTO seeds (account_id, server_seed, client_seed)
    SELECT p_account, p_server_seed, client_seed FROM seeds WHERE id = v_player.seed_id RETURNING id INTO v_seed;
    INSERT INTO seeds (account_id, server_seed) VALUES (p_account, p_next_server_seed) RETURNING id INTO v_next;
    UPDATE casino_players SET seed_id = v_seed, next_seed_id = v_next, nonce = 0 WHERE account_id = p_account;
END $$;

-- Sets a player's daily loss limit in hundredths of ¤ (NULL: none). A lower limit takes effect at once and cancels a
-- pending one; a higher one, or none, takes effect after 24 hours. Repeating a pending change does not restart its 24
-- hours.
CREATE OR REPLACE FUNCTION set_daily_loss_limit(p_account bigint, p_limit bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_player casino_players;
    v_now timestamptz;
    v_limit bigint;
BEGIN
    SELECT * INTO v_player FROM casino_players WHERE account_id = p_account FOR NO KEY UPDATE;
    v_now := clock_timestamp();
    IF v_player.pending_from > v_now AND v_player.pending_limit IS NOT DISTINCT FROM p_limit THEN
        RETURN;
    END IF;
    v_limit := CASE WHEN v_player.pending_from <= v_now THEN v_player.pending_limit ELSE v_player.daily_loss_limit END;
    IF v_limit IS NULL OR p_limit <= v_limit THEN
        UPDATE casino_players SET daily_loss_limit = p_limit, pending_limit = NULL, pending_from = NULL
        WHERE account_id = p_account;
    ELSE
        UPDATE casino_players SET daily_loss_limit = v_limit, pending_limit = p_limit,
            pending_from = v_now + interval '24 hours'
        WHERE account_id = p_account;
    END IF;
END $$;

-- Excludes a player from every game until a time, at most 366 days from now, and returns it. An exclusion is never
-- shortened.
CREATE OR REPLACE FUNCTION exclude_player(p_account bigint, p_until timestamptz) RETURNS timestamptz
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_until timestamptz;
BEGIN
    UPDATE casino_players SET
        excluded_until = greatest(excluded_until, least(p_until, clock_timestamp() + interval '366 days'))
    WHERE account_id = p_account RETURNING excluded_until INTO v_until;
    RETURN v_until;
END $$;

-- Opens or closes a game and sets its dial (hundredths of a per cent); NULL leaves either unchanged. A changed dial
-- adds a version. Returns whether the game exists. Waits until every transaction that has inserted a round has ended;
-- rounds that are settled later are settled on the new settings.
CREATE OR REPLACE FUNCTION set_game(p_game text, p_enabled boolean, p_dial integer, p_actor bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    LOCK TABLE rounds IN SHARE MODE;
    UPDATE games SET is_enabled = coalesce(p_enabled, is_enabled), updated_at = clock_timestamp() WHERE name = p_game;
    IF FOUND AND p_dial IS DISTINCT FROM (SELECT dial FROM dial_versions WHERE game = p_game ORDER BY id DESC LIMIT 1)
        AND p_dial IS NOT NULL THEN
        INSERT INTO dial_versions (game, dial, actor_id) VALUES (p_game, p_dial, p_actor);
        RETURN true;
    END IF;
    RETURN EXISTS (SELECT FROM games WHERE name = p_game);
END $$;
