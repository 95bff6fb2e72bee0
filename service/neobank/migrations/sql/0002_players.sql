CREATE TABLE players (
    account_id      bigint PRIMARY KEY REFERENCES accounts,
    password_hash   text NOT NULL,
    faction         text,
    profile_picture text,
    is_admin        boolean NOT NULL DEFAULT false
);

CREATE TABLE provisioned_administrators (
    account_id          bigint PRIMARY KEY REFERENCES players,
    given_password_hash text NOT NULL
);

-- Only the keyed hash of a token is stored, so the contents of this table do not allow a log-in.
CREATE TABLE sessions (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token_hash bytea NOT NULL UNIQUE,
    account_id bigint NOT NULL REFERENCES players,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX sessions_account_id_idx ON sessions (account_id);
