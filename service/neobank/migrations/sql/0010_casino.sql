-- The tables of the casino. Only the functions of functions/casino.sql write them.

CREATE TABLE games (
    name       text PRIMARY KEY,
    is_enabled boolean NOT NULL DEFAULT true,
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- All dial settings of a game, in hundredths of a per cent. The newest is in force; rows are never changed.
CREATE TABLE dial_versions (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    game       text NOT NULL REFERENCES games,
    dial       integer NOT NULL CONSTRAINT dial_is_possible CHECK (dial BETWEEN 5000 AND 15000),
    actor_id   bigint NOT NULL REFERENCES accounts,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX dial_versions_game_idx ON dial_versions (game, id);

-- Server seeds. A player's next seed has no client seed yet, the seed in use has one, and a retired seed never changes.
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

-- A player's casino state. A spin, a seed rotation and a change of limits lock this row first.
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

-- Unused free spins, with the bet, dial and sheet of the round that awarded them.
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

-- The rounds played; rows are only inserted. account_id and version_id have no foreign keys, because every round would
-- lock the same version row; the functions guarantee that both exist.
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
