-- A reversed transfer and the transfer that reversed it. The primary key makes a second, concurrent reversal
-- impossible.
CREATE TABLE reversals (
    transfer_id bigint PRIMARY KEY REFERENCES transfers,
    reversal_id bigint NOT NULL UNIQUE REFERENCES transfers
);

-- The words of a name, so that a search for the prefix of any word uses an index.
CREATE INDEX accounts_name_words_idx ON accounts USING gin (to_tsvector('simple', name_key));
-- Prefixes of numbers and names. The database's locale is C; in any other locale a plain index does not support
-- prefixes.
CREATE INDEX accounts_number_prefix_idx ON accounts (number text_pattern_ops);
CREATE INDEX accounts_name_key_prefix_idx ON accounts (name_key text_pattern_ops);
CREATE INDEX sessions_last_seen_at_idx ON sessions (last_seen_at);
