-- Waits until the transactions have ended that have written into events, or are writing: they hold the lock
-- that an insert takes. Those that begin later are not waited for, nor others. Returns whether they ended
-- within a second.
create or replace function wait_for_writers() returns boolean
language plpgsql
as $$
declare
    writers text[];
begin
    for attempt in 0..100 loop
        writers := (
            select array_agg(virtualtransaction)
            from pg_locks
            where
                locktype = 'relation'
                and database = (select oid from pg_database where datname = current_database())
                and relation = 'events'::regclass
                and mode = 'RowExclusiveLock'
                and pid is distinct from pg_backend_pid()
                and (attempt = 0 or virtualtransaction = any(writers))
        );
        if writers is null then
            return true;
        end if;
        perform pg_sleep(0.01);
    end loop;
    return false;
end
$$;
