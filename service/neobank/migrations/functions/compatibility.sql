-- Functions that images of earlier revisions call and this version does not. A rolling update and a rollback need them.

-- Images before revision 0015 call it; remove it, with its grant, in revision 0016.
CREATE OR REPLACE FUNCTION open_account(p_number text, p_name text, p_name_key text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    RETURN open_account(p_number, p_name, p_name_key, NULL);
END $$;
