-- Forgets IDs that are at least one age old, at most once an age; those that stay are younger than two ages.
-- Waits for the statements that record, and later ones wait for it, hence the timeout: then call it again.
-- Returns whether it did.
create or replace function forget_seen_events(age interval) returns boolean
language plpgsql
set lock_timeout = '500ms'
as $$
begin
    update seen_events_since set since = clock_timestamp() where since <= clock_timestamp() - age;
    if not found then
        return false;
    end if;
    perform stop_autovacuum('seen_events');
    perform stop_autovacuum('seen_events_before');
    lock table seen_events in access exclusive mode;
    drop table seen_events_before;
    alter table seen_events rename to seen_events_before;
    alter index seen_events_pkey rename to seen_events_before_pkey;
    create table seen_events (like seen_events_before including all);
    return true;
end
$$;
