-- Merges the tables of archived counts with these max_timestamps into one, named after the last of them.
-- Returns whether it did; not if counts are still added to one of them, if somebody else is archiving, or if
-- they are merged already.
create or replace function roll_up_archived_counts(
    max_timestamps timestamptz[], keep_days boolean
) returns boolean
language plpgsql
set lock_timeout = '6s'
as $$
declare
    target constant timestamptz := (select max(member) from unnest(max_timestamps) as member);
    counts constant text := 'archived_events_' || extract(epoch from target)::bigint;
    member timestamptz;
begin
    perform from watermark where archived_until >= target for update skip locked;
    if
        not found
        or exists (
            select from unnest(max_timestamps) as each_timestamp
            where to_regclass('archived_events_' || extract(epoch from each_timestamp)::bigint) is null
        )
    then
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

    lock table archived_events in access exclusive mode;
    foreach member in array max_timestamps loop
        execute format('drop table archived_events_%s', extract(epoch from member)::bigint);
    end loop;
    execute format('alter table rolled_up rename to %I', counts);
    execute format('alter table archived_events attach partition %I for values in (%L)', counts, target);
    execute format('alter table %I drop constraint bound', counts);
    return true;
end
$$;
