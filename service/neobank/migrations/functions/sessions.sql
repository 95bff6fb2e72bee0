-- The functions of sessions. They run with the rights of the application's role.

-- Returns the player whose unexpired session has this token hash, if the account may act; all NULL otherwise. Updates
-- the session's last_seen_at if it is older than p_seen. That update does not wait for the disk: a crash loses only a
-- time.
CREATE OR REPLACE FUNCTION find_caller(
    p_token_hash bytea, p_seen interval,
    OUT account_id bigint, OUT account_number text, OUT character_name text, OUT session_id bigint,
    OUT is_admin boolean, OUT must_change_password boolean
) LANGUAGE plpgsql AS $$
DECLARE
    v_unseen boolean;
BEGIN
    SELECT account.id, account.number, account.name, session.id,
        player.is_admin, player.must_change_password, session.last_seen_at < now() - p_seen
    INTO account_id, account_number, character_name, session_id, is_admin, must_change_password, v_unseen
    FROM sessions AS session
        JOIN players AS player ON player.account_id = session.account_id
        JOIN accounts AS account ON account.id = session.account_id
    WHERE session.token_hash = p_token_hash AND session.expires_at > now() AND may_act(account);
    IF v_unseen THEN
        PERFORM set_config('synchronous_commit', 'off', true);
        UPDATE sessions SET last_seen_at = now() WHERE id = session_id AND last_seen_at < now() - p_seen;
    END IF;
END $$;
