-- A transfer that was undone, and the one that undid it: at most once, whoever tries at the same moment.
CREATE TABLE reversals (
    transfer_id bigint PRIMARY KEY REFERENCES transfers,
    reversal_id bigint NOT NULL UNIQUE REFERENCES transfers
);

-- The words of a name, so that a search for the beginning of any of them is on an index.
CREATE INDEX accounts_name_words_idx ON accounts USING gin (to_tsvector('simple', name_key));
-- The beginning of a number or a name (the database's locale is C, but a plain index would not know in another one).
CREATE INDEX accounts_number_prefix_idx ON accounts (number text_pattern_ops);
CREATE INDEX accounts_name_key_prefix_idx ON accounts (name_key text_pattern_ops);
CREATE INDEX sessions_last_seen_at_idx ON sessions (last_seen_at);
