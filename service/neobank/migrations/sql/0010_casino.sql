-- The casino. What moves its money is here: a round is one row, with its transfers and the player's nonce in the same
-- transaction, and the application's role can play one through these functions alone.

CREATE TABLE games (
    name       text PRIMARY KEY,
    is_enabled boolean NOT NULL DEFAULT true,
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- Every dial that a game ever had, in hundredths of a per cent; the newest is in force, and no row ever changes.
CREATE TABLE dial_versions (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    game       text NOT NULL REFERENCES games,
    dial       integer NOT NULL CONSTRAINT dial_is_possible CHECK (dial BETWEEN 5000 AND 15000),
    actor_id   bigint NOT NULL REFERENCES accounts,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX dial_versions_game_idx ON dial_versions (game, id);

-- Server seeds: the next one of a player has no client seed yet, the one in use has, and a retired one never changes.
CREATE TABLE seeds (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id  bigint NOT NULL REFERENCES accounts,
    server_seed bytea NOT NULL CONSTRAINT server_seed_is_whole CHECK (octet_length(server_seed) = 32),
    commitment  text NOT NULL GENERATED ALWAYS AS (encode(sha256(server_seed), 'hex')) STORED,
    client_seed text,
    rounds      integer,
    created_at  timestamptz NOT NULL DEFAULT now(),
    retired_at  timestamptz,
    CONSTRAINT retired_with_its_rounds CHECK ((retired_at IS NULL) = (rounds IS NULL))
);
CREATE INDEX seeds_account_id_idx ON seeds (account_id);

-- What of a server seed anybody may see.
CREATE VIEW revealed_seeds WITH (security_barrier) AS SELECT id, server_seed FROM seeds WHERE retired_at IS NOT NULL;

-- A player's side of the casino. Whoever plays, rotates or sets a limit holds this row first.
CREATE TABLE casino_players (
    account_id       bigint PRIMARY KEY REFERENCES accounts,
    seed_id          bigint NOT NULL REFERENCES seeds,
    next_seed_id     bigint NOT NULL REFERENCES seeds,
    nonce            integer NOT NULL DEFAULT 0,
    day              date,
    day_net          bigint NOT NULL DEFAULT 0,
    daily_loss_limit bigint CONSTRAINT limit_is_no_gain CHECK (daily_loss_limit >= 0),
    pending_limit    bigint CONSTRAINT pending_limit_is_no_gain CHECK (pending_limit >= 0),
    pending_from     timestamptz,
    excluded_until   timestamptz
) WITH (fillfactor = 50);

-- Free spins that wait, at the bet, dial and sheet of the round that awarded them.
CREATE TABLE free_spins (
    account_id bigint NOT NULL REFERENCES accounts,
    game       text NOT NULL,
    remaining  smallint NOT NULL CONSTRAINT free_spins_run_out CHECK (remaining >= 0),
    line_bet   bigint NOT NULL,
    version_id bigint NOT NULL,
    dial       integer NOT NULL,
    sheet      text NOT NULL,
    PRIMARY KEY (account_id, game)
);

-- What was played; rows are only ever added. The functions see to it that account and version exist: a foreign key would
-- lock the one version's row in every round.
CREATE TABLE rounds (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL,
    seed_id    bigint NOT NULL REFERENCES seeds,
    nonce      integer NOT NULL,
    game       text NOT NULL,
    version_id bigint NOT NULL,
    dial       integer NOT NULL,
    sheet      text NOT NULL,
    loose      boolean NOT NULL,
    stops      smallint[] NOT NULL,
    free       boolean NOT NULL,
    line_bet   bigint NOT NULL,
    bet        bigint NOT NULL,
    win        bigint NOT NULL,
    awarded    smallint NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT one_round_a_nonce UNIQUE (seed_id, nonce)
);
CREATE INDEX rounds_account_id_idx ON rounds (account_id, id);

-- Makes a player one of the casino's, with a seed in use and the next one; of two who try at once, one does.
CREATE FUNCTION open_casino(p_account bigint, p_server_seed bytea, p_next_server_seed bytea, p_client_seed text)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
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

-- Locks a player's side of the casino and gives all that a spin depends on; no row for who is not the casino's yet.
-- The lock is a statement of its own: the next one sees what was committed while this one waited.
CREATE FUNCTION begin_spin(p_account bigint, p_game text) RETURNS TABLE (
    server_seed bytea, client_seed text, nonce integer, day date, day_net bigint,
    daily_loss_limit bigint, pending_limit bigint, pending_from timestamptz, excluded_until timestamptz,
    is_enabled boolean, version_id bigint, dial integer,
    free_remaining smallint, free_line_bet bigint, free_version_id bigint, free_dial integer, free_sheet text,
    looked_at timestamptz
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM FROM casino_players WHERE account_id = p_account FOR NO KEY UPDATE;
    RETURN QUERY
    SELECT seeds.server_seed, seeds.client_seed, player.nonce, player.day, player.day_net,
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

-- Moves p_change to the house (negative: from it) on a shard that could have paid p_need. The first try takes any such
-- shard that is free, the second waits for one, the third locks them all, refuses if together they hold less than
-- p_need, and levels them so that the next rounds find one that can pay. A try that failed has locks that the next must
-- not meet: it ends its transaction, as NBH01, and the next try is a new one.
CREATE FUNCTION change_house(p_need bigint, p_change bigint, p_try integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    c_house CONSTANT bigint := 9000000000000000002;
    v_start integer := floor(random() * 32);
    v_shard smallint;
    v_total bigint;
    v_rich integer;
BEGIN
    IF p_try = 1 THEN
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
        WHERE account_id = c_house AND shard = v_shard AND balance >= p_need;
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

-- Settles the round that begin_spin began in this transaction: nonce, free spins, round, transfers, balances, and the
-- house last. Whether it is refused depends on nothing that the outcome decides: the bet must be there before the win,
-- and both house and player are asked for the largest win, p_largest, that the bet can bring. Amounts in hundredths.
-- Raises check_violation, naming what forbids it, or NBH01: see change_house.
CREATE FUNCTION settle_spin(
    p_account bigint, p_nonce integer, p_game text, p_version bigint, p_dial integer, p_sheet text, p_loose boolean,
    p_stops smallint[], p_free boolean, p_line_bet bigint, p_bet bigint, p_win bigint, p_largest bigint,
    p_awarded smallint, p_day date, p_try integer,
    OUT round_id bigint, OUT played_at timestamptz, OUT balance_now bigint, OUT net_today bigint
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    c_house CONSTANT bigint := 9000000000000000002;
    v_seed bigint;
    v_memo text;
BEGIN
    PERFORM refuse_to_pay(ARRAY[p_account], 'casino_bet', false);
    UPDATE casino_players SET
        nonce = nonce + 1, day = p_day,
        day_net = CASE WHEN day = p_day THEN day_net ELSE 0 END + p_bet - p_win
    WHERE account_id = p_account AND nonce = p_nonce RETURNING seed_id, day_net INTO v_seed, net_today;
    IF NOT FOUND OR p_win > p_largest OR p_free <> (p_bet = 0) THEN
        RAISE 'this is not the round that was begun';
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

-- Takes a bet from a player and gives a win; gives what is left. The bet must be there, and room for the largest win.
CREATE FUNCTION change_player(p_account bigint, p_bet bigint, p_win bigint, p_largest bigint) RETURNS bigint
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

-- Retires a player's seed and reveals it; the next one, whose commitment is known already, is used from here on.
CREATE FUNCTION rotate_seed(
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

-- After a restore: retires a player's seed in use, and the next one too, which may have been in use before the restore.
CREATE FUNCTION renew_seeds(p_account bigint, p_server_seed bytea, p_next_server_seed bytea) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_player casino_players;
    v_seed bigint;
    v_next bigint;
BEGIN
    SELECT * INTO v_player FROM casino_players WHERE account_id = p_account FOR NO KEY UPDATE;
    UPDATE seeds SET rounds = CASE id WHEN v_player.seed_id THEN v_player.nonce ELSE 0 END, retired_at = clock_timestamp()
    WHERE id IN (v_player.seed_id, v_player.next_seed_id);
    INSERT INTO seeds (account_id, server_seed, client_seed)
    SELECT p_account, p_server_seed, client_seed FROM seeds WHERE id = v_player.seed_id RETURNING id INTO v_seed;
    INSERT INTO seeds (account_id, server_seed) VALUES (p_account, p_next_server_seed) RETURNING id INTO v_next;
    UPDATE casino_players SET seed_id = v_seed, next_seed_id = v_next, nonce = 0 WHERE account_id = p_account;
END $$;

-- Sets what a player may lose in a day (NULL: no limit). A lower limit holds at once and takes back a raise that waits;
-- a higher one, or none, holds in 24 hours.
CREATE FUNCTION set_daily_loss_limit(p_account bigint, p_limit bigint) RETURNS void
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

-- Keeps a player out of every game until a time; nobody ever makes that shorter.
CREATE FUNCTION exclude_player(p_account bigint, p_until timestamptz) RETURNS timestamptz
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_until timestamptz;
BEGIN
    UPDATE casino_players SET
        excluded_until = greatest(excluded_until, least(p_until, clock_timestamp() + interval '366 days'))
    WHERE account_id = p_account RETURNING excluded_until INTO v_until;
    RETURN v_until;
END $$;

-- Opens or closes a game and sets its dial, as far as they are given; a dial that is another than before is a version.
CREATE FUNCTION set_game(p_game text, p_enabled boolean, p_dial integer, p_actor bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE games SET is_enabled = coalesce(p_enabled, is_enabled), updated_at = clock_timestamp() WHERE name = p_game;
    IF FOUND AND p_dial IS DISTINCT FROM (SELECT dial FROM dial_versions WHERE game = p_game ORDER BY id DESC LIMIT 1)
        AND p_dial IS NOT NULL THEN
        INSERT INTO dial_versions (game, dial, actor_id) VALUES (p_game, p_dial, p_actor);
        RETURN true;
    END IF;
    RETURN EXISTS (SELECT FROM games WHERE name = p_game);
END $$;
