-- What a registration pays, in hundredths of ¤. Only the owner can change it.
CREATE TABLE registration_terms (
    one             boolean PRIMARY KEY DEFAULT true CONSTRAINT terms_are_one_row CHECK (one),
    opening_balance bigint NOT NULL DEFAULT 100000
        CONSTRAINT opening_balance_is_possible CHECK (opening_balance BETWEEN 1 AND 100000000000)
);
INSERT INTO registration_terms DEFAULT VALUES;

-- Only images before revision 0013 called these functions. A new bank never had them.
DROP FUNCTION IF EXISTS post_transfer, begin_spin, settle_spin, refuse_to_pay;

-- A trigger needs its function to exist; functions/ contains the real ones, which replace these in this transaction.
CREATE FUNCTION await_payments() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE FUNCTION require_audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE FUNCTION require_explanation() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE FUNCTION keep_an_organiser() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';

-- sql/0015_locks.sql locks these tables first.
CREATE CONSTRAINT TRIGGER freezing_is_audited AFTER UPDATE OF frozen ON accounts DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.frozen <> OLD.frozen) EXECUTE FUNCTION require_audit();
CREATE CONSTRAINT TRIGGER an_organiser_remains AFTER UPDATE OF frozen ON accounts DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.frozen AND NOT OLD.frozen) EXECUTE FUNCTION keep_an_organiser();
CREATE CONSTRAINT TRIGGER new_organiser_is_audited AFTER INSERT ON players DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.is_admin) EXECUTE FUNCTION require_audit();
CREATE CONSTRAINT TRIGGER role_is_audited AFTER UPDATE OF is_admin ON players DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.is_admin <> OLD.is_admin) EXECUTE FUNCTION require_audit();
CREATE CONSTRAINT TRIGGER an_organiser_remains AFTER UPDATE OF is_admin ON players DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (OLD.is_admin AND NOT NEW.is_admin) EXECUTE FUNCTION keep_an_organiser();
CREATE CONSTRAINT TRIGGER switches_are_audited AFTER UPDATE ON switches DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION require_audit();
CREATE TRIGGER payments_end_first BEFORE UPDATE OF read_only ON switches
    FOR EACH ROW WHEN (NEW.read_only <> OLD.read_only) EXECUTE FUNCTION await_payments();
CREATE CONSTRAINT TRIGGER factions_are_audited AFTER INSERT ON factions DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION require_audit();
CREATE CONSTRAINT TRIGGER keys_are_audited AFTER INSERT OR UPDATE OF revoked_at ON api_keys
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION require_audit();
CREATE CONSTRAINT TRIGGER games_are_audited AFTER UPDATE ON games DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION require_audit();
-- neobank.audit.verification has the same condition.
CREATE CONSTRAINT TRIGGER transfers_are_explained AFTER INSERT ON transfers DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (
        (NEW.debit_account_id >= 9000000000000000001 AND NEW.kind <> 'casino_win')
        OR NEW.kind IN ('admin_adjustment', 'reversal')
    ) EXECUTE FUNCTION require_explanation();
CREATE CONSTRAINT TRIGGER reversals_are_audited AFTER INSERT ON reversals DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION require_audit();
