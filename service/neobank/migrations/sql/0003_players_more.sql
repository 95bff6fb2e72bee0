ALTER TABLE players ADD COLUMN must_change_password boolean NOT NULL DEFAULT false;

ALTER TABLE sessions ADD COLUMN device text;
ALTER TABLE sessions ADD COLUMN last_seen_at timestamptz NOT NULL DEFAULT now();

-- players.faction has no foreign key to this table, because an older image, which accepts any text, may still be
-- serving.
CREATE TABLE factions (
    name        text PRIMARY KEY,
    name_key    text NOT NULL UNIQUE,
    description text,
    created_at  timestamptz NOT NULL DEFAULT now()
);
INSERT INTO factions (name, name_key) VALUES
    ('CorpSec', 'corpsec'), ('Runners', 'runners'), ('Syndicate', 'syndicate'), ('Technocrats', 'technocrats');
CREATE INDEX players_faction_idx ON players (faction);

-- The organisers' switches: exactly one row.
CREATE TABLE switches (
    one          boolean PRIMARY KEY DEFAULT true CONSTRAINT switches_are_one_row CHECK (one),
    read_only    boolean NOT NULL DEFAULT false,
    registration text NOT NULL DEFAULT 'open' CONSTRAINT registration_is_known CHECK (registration IN ('open', 'code', 'closed')),
    event_code   text,
    CONSTRAINT a_code_to_ask_for CHECK (registration <> 'code' OR (event_code IS NOT NULL AND event_code <> ''))
);
INSERT INTO switches DEFAULT VALUES;
