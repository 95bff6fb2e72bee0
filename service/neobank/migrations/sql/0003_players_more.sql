ALTER TABLE players ADD COLUMN must_change_password boolean NOT NULL DEFAULT false;

ALTER TABLE sessions ADD COLUMN device text;
ALTER TABLE sessions ADD COLUMN last_seen_at timestamptz NOT NULL DEFAULT now();

-- No foreign key leads here from players.faction: an older image, which takes any text, may still be serving.
CREATE TABLE factions (
    name        text PRIMARY KEY,
    name_key    text NOT NULL UNIQUE,
    description text,
    created_at  timestamptz NOT NULL DEFAULT now()
);
INSERT INTO factions (name, name_key) VALUES
    ('CorpSec', 'corpsec'), ('Runners', 'runners'), ('Syndicate', 'syndicate'), ('Technocrats', 'technocrats');
CREATE INDEX players_faction_idx ON players (faction);

-- What the organisers switch while the event runs: one row, for ever.
CREATE TABLE switches (
    one          boolean PRIMARY KEY DEFAULT true CONSTRAINT switches_are_one_row CHECK (one),
    read_only    boolean NOT NULL DEFAULT false,
    registration text NOT NULL DEFAULT 'open' CONSTRAINT registration_is_known CHECK (registration IN ('open', 'code', 'closed')),
    event_code   text,
    CONSTRAINT a_code_to_ask_for CHECK (registration <> 'code' OR (event_code IS NOT NULL AND event_code <> ''))
);
INSERT INTO switches DEFAULT VALUES;

-- As before, and nothing moves while the bank is read-only: here, because every amount passes here and it costs no round trip.
-- The owner, who upgrades, may pay the bankroll even then. Raises check_violation also for that, as `bank_not_read_only`.
CREATE OR REPLACE FUNCTION post_transfer(
    p_debit bigint, p_credit bigint, p_amount bigint, p_kind text, p_memo text, p_actor bigint,
    OUT transfer_id bigint, OUT posted_at timestamptz, OUT debit_balance bigint
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF (SELECT read_only FROM switches) AND session_user <> current_user THEN
        RAISE check_violation USING CONSTRAINT = 'bank_not_read_only', MESSAGE = 'the bank is read-only';
    END IF;
    IF p_debit < p_credit THEN
        debit_balance := debit_account(p_debit, p_amount);
        PERFORM credit_account(p_credit, p_amount);
    ELSE
        PERFORM credit_account(p_credit, p_amount);
        debit_balance := debit_account(p_debit, p_amount);
    END IF;
    INSERT INTO transfers (debit_account_id, credit_account_id, amount, kind, memo, actor_id)
    VALUES (p_debit, p_credit, p_amount, p_kind, p_memo, p_actor)
    RETURNING id, created_at INTO transfer_id, posted_at;
END $$;
