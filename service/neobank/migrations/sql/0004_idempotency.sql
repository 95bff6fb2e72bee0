-- The answer to a request that moved money, under the key its sender gave it; it commits with the money or not at all.
CREATE TABLE idempotency_records (
    caller       text NOT NULL,
    key          text NOT NULL,
    request_hash bytea NOT NULL,
    answer       json,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (caller, key)
);
CREATE INDEX idempotency_records_created_at_idx ON idempotency_records (created_at);
