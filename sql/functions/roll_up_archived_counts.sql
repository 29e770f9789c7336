-- Merges the tables of archived counts with these max_timestamps into one, named after the last of them.
-- Returns whether it did; not if counts are still added to one of them, if somebody else is archiving, or if
-- they are merged already. It locks all archived counts for a moment, and reads queue behind it while it
-- waits for that lock, hence the timeout: then call it again.
create or replace function roll_up_archived_counts(
    max_timestamps timestamptz[], keep_days boolean
) returns boolean
language plpgsql
set lock_timeout = '100ms'
as $$
declare
    target constant timestamptz := (select max(member) from unnest(max_timestamps) as member);
    counts constant text := 'archived_events_' || extract(epoch from target)::bigint;
    members constant text[] := (
        select array_agg('archived_events_' || extract(epoch from member)::bigint)
        from unnest(max_timestamps) as member
    );
    member text;
begin
    perform from watermark where archived_until >= target for update skip locked;
    if not found or exists (select from unnest(members) as name where to_regclass(name) is null) then
        return false;
    end if;

    create table rolled_up (like archived_events including indexes);
    insert into rolled_up
    select
        streamer_id,
        streamer_name,
        event_type,
        sum(event_count),
        case when keep_days then utc_day end,
        target
    from archived_events
    where max_timestamp = any(max_timestamps)
    group by streamer_id, streamer_name, event_type, case when keep_days then utc_day end;
    -- With this constraint, attaching the table need not check its rows while the lock is held.
    execute format('alter table rolled_up add constraint bound check (max_timestamp = %L)', target);

    foreach member in array members loop
        perform stop_autovacuum(member);
    end loop;
    lock table archived_events in access exclusive mode;
    foreach member in array members loop
        execute format('drop table %I', member);
    end loop;
    execute format('alter table rolled_up rename to %I', counts);
    execute format('alter table archived_events attach partition %I for values in (%L)', counts, target);
    execute format('alter table %I drop constraint bound', counts);
    return true;
end
$$;
