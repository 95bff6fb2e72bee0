-- The functions of the audit log.

-- Returns a field as a netstring (its length in bytes, a colon, the field, a comma), so that no two rows encode alike.
CREATE OR REPLACE FUNCTION netstring(p_field text) RETURNS text STABLE LANGUAGE sql AS $$
    SELECT octet_length(p_field) || ':' || p_field || ','
$$;

-- Appends a row to the audit log in the transaction of the audited action. The row's hash is the SHA-256 of the
-- previous row's hash (32 zero bytes before the first row) and the netstrings of id, time (microseconds since 1970),
-- actor, action, target and details. Call it last, after all other locks: its lock delays other organisers' actions
-- until the commit, and no player waits for it. Raises check_violation actor_is_organiser unless the actor is an active
-- organiser. The lock gives these actions one order, so an action of an organiser whom an earlier one has demoted or
-- frozen is refused, and two organisers who demote each other at once do not both succeed.
CREATE OR REPLACE FUNCTION record_audit(p_actor bigint, p_action text, p_target text, p_details text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_id bigint;
    v_at timestamptz := clock_timestamp();
    v_before bytea;
BEGIN
    PERFORM pg_advisory_xact_lock(x'6e656f617564'::bigint);
    IF NOT is_active_organiser(p_actor) THEN
        RAISE check_violation USING
            CONSTRAINT = 'actor_is_organiser', MESSAGE = 'the actor is not an organiser, or is frozen';
    END IF;
    PERFORM p_details::jsonb;
    v_before := coalesce((SELECT hash FROM audit_logs ORDER BY id DESC LIMIT 1), decode(repeat('00', 32), 'hex'));
    v_id := nextval('audit_logs_id_seq');
    INSERT INTO audit_logs (id, created_at, actor_id, action, target, details, hash) OVERRIDING SYSTEM VALUE
    VALUES (v_id, v_at, p_actor, p_action, p_target, p_details, sha256(v_before || convert_to(
        netstring(v_id::text) || netstring((extract(epoch FROM v_at) * 1000000)::bigint::text)
        || netstring(p_actor::text) || netstring(p_action) || netstring(p_target) || netstring(p_details), 'UTF8')));
END $$;
