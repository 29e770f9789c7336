-- Ends an autovacuum of this table, and keeps others away until the transaction ends. PostgreSQL cancels an
-- autovacuum only if somebody has waited for its lock for longer than deadlock_timeout, a second. This lock
-- may be waited for: neither reads nor writes queue behind it, as they would behind a stronger one.
create or replace function stop_autovacuum(table_name text) returns void
language plpgsql
set lock_timeout = '5s'
as $$
begin
    execute format('lock table %I in share update exclusive mode', table_name);
end
$$;
