-- The response to a request with an Idempotency-Key; it is committed in the same transaction as the request's effect.
CREATE TABLE idempotency_records (
    caller       text NOT NULL,
    key          text NOT NULL,
    request_hash bytea NOT NULL,
    answer       json,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (caller, key)
);
CREATE INDEX idempotency_records_created_at_idx ON idempotency_records (created_at);
