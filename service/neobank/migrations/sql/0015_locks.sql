-- Locks every table that this revision changes. The bank's requests lock these tables in various orders: the query of a
-- token locks sessions, players, accounts; a profile accounts, players; a log-in accounts, players, sessions. So no order
-- is safe. This transaction waits for sessions only, before it holds any table. New requests with a token then wait for
-- sessions and hold nothing, while the running ones end. It tries the other tables without waiting, so that it is never
-- part of a deadlock. If a request that holds one of them waits for sessions, it gives up, and the upgrade is repeated.
LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE;
DO $$
DECLARE
    c_end CONSTANT timestamptz := clock_timestamp() + interval '1 second';
BEGIN
    LOOP
        BEGIN
            LOCK TABLE players, accounts, factions, switches, api_keys, games, transfers, reversals
                IN ACCESS EXCLUSIVE MODE NOWAIT;
            EXIT;
        EXCEPTION WHEN lock_not_available THEN
            IF clock_timestamp() > c_end THEN
                RAISE;
            END IF;
        END;
        PERFORM pg_sleep(0.01);
    END LOOP;
END $$;
