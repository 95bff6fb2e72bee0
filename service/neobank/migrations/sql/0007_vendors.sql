-- API keys of the vendors' terminals. A key is 256 random bits, so its plain SHA-256 cannot be reversed, and a new
-- SECRET_KEY does not invalidate it.
CREATE TABLE api_keys (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key_hash    bytea NOT NULL UNIQUE,
    prefix      text NOT NULL,
    description text NOT NULL,
    scope       text NOT NULL CONSTRAINT scope_is_known CHECK (scope IN ('charge', 'pay', 'debit')),
    account_id  bigint NOT NULL REFERENCES accounts,
    created_by  bigint NOT NULL REFERENCES accounts,
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz,
    revoked_at  timestamptz
);

-- A vendor's requests for payment. A pending charge expires at expires_at without an update.
CREATE TABLE charges (
    id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code               text NOT NULL UNIQUE,
    account_id         bigint NOT NULL REFERENCES accounts,
    player_id          bigint REFERENCES accounts,
    amount             bigint NOT NULL CONSTRAINT charge_asks_for_something CHECK (amount > 0),
    memo               text NOT NULL,
    status             text NOT NULL DEFAULT 'pending'
        CONSTRAINT charge_status_is_known CHECK (status IN ('pending', 'approved', 'declined', 'cancelled')),
    created_at         timestamptz NOT NULL DEFAULT now(),
    expires_at         timestamptz NOT NULL,
    transfer_id        bigint UNIQUE REFERENCES transfers,
    refund_transfer_id bigint UNIQUE REFERENCES transfers,
    CONSTRAINT approved_is_paid CHECK ((status = 'approved') = (transfer_id IS NOT NULL)),
    CONSTRAINT refunded_was_paid CHECK (refund_transfer_id IS NULL OR transfer_id IS NOT NULL)
);
CREATE INDEX charges_player_id_idx ON charges (player_id, id) WHERE status = 'pending';
