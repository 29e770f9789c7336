-- The watermark moves on inside the present partition: what was recorded is counted a few seconds later.

-- In the order of insertion, hence of created_at: all that is needed to find what was recorded lately.
create index events_recent on events using brin (created_at) with (pages_per_range = 16, autosummarize = on);

-- One row for each key, so that counts can be added to those of the same day.
create unique index archived_events_keys
on archived_events (streamer_id, utc_day, event_type, streamer_name, max_timestamp);

drop index archived_events_streamers;

-- The sum of archived_totals by streamer, with the index that makes updates slow for one row instead of one
-- a type.
create table archived_leaders (
    streamer_id text primary key,
    event_count bigint not null
);

create index archived_leaders_first on archived_leaders (event_count desc, streamer_id);

insert into archived_leaders (streamer_id, event_count)
select
    streamer_id,
    sum(event_count) as event_count
from archived_totals
group by streamer_id;

-- Adds the partition of events that ends at upper_bound, and its archive. They are made first and attached
-- then, which, unlike "create table ... partition of", leaves reading and writing free to go on.
create or replace function create_events_partition(
    lower_bound timestamptz, upper_bound timestamptz
) returns void
language plpgsql
as $$
declare
    partition constant text := 'events_' || extract(epoch from upper_bound)::bigint;
begin
    -- The insert threshold is a fixed number of rows, so that new rows soon become visible to index-only
    -- scans however large the partition has grown.
    execute format(
        'create table %I (like events) with (autovacuum_vacuum_insert_scale_factor = 0, '
        'autovacuum_vacuum_insert_threshold = 20000)',
        partition
    );
    -- Of bounds in three columns the planner cannot tell that the upper one itself is outside: without this
    -- it would read the last sealed partition in search of events from the watermark on.
    execute format('alter table %I add constraint ends check (created_at < %L)', partition, upper_bound);
    execute format(
        'alter table events attach partition %I '
        'for values from (%L, minvalue, minvalue) to (%L, minvalue, minvalue)',
        partition, lower_bound, upper_bound
    );
    perform create_archive(upper_bound);
end
$$;

-- Adds the archive of the partition that ends at upper_bound, if there is none.
create function create_archive(upper_bound timestamptz) returns void
language plpgsql
as $$
declare
    archive constant text := 'archived_events_' || extract(epoch from upper_bound)::bigint;
begin
    if to_regclass(archive) is null then
        execute format(
            'create table %I (like archived_events including indexes) with (fillfactor = 70)', archive
        );
        execute format(
            'alter table archived_events attach partition %I for values in (%L)', archive, upper_bound
        );
    end if;
end
$$;

select create_archive(upper_bound)
from (
    select to_timestamp(split_part(inhrelid::regclass::text, '_', 2)::bigint) as upper_bound
    from pg_inherits
    where inhparent = 'events'::regclass
) as partitions
where upper_bound > (select watermark.archived_until from watermark);

-- Counts the events from the watermark until a time, all in the partition that ends at upper_bound, into
-- its archive and the totals, and raises the watermark to that time. Whoever calls it has locked the
-- watermark, and knows that no such event can come any more. Answers with the number of events.
create function archive_events(upper_bound timestamptz, until timestamptz) returns bigint
language plpgsql
as $$
declare
    partition constant text := 'events_' || extract(epoch from upper_bound)::bigint;
    counted bigint;
begin
    execute format(
        $statement$
            with counted as materialized (
                select
                    streamer_id,
                    streamer_name,
                    event_type,
                    count(*) as event_count,
                    cast(created_at at time zone 'UTC' as date) as utc_day
                from %I
                where created_at >= $1 and created_at < $2
                group by streamer_id, streamer_name, event_type, utc_day
            ),

            archived as (
                insert into %I as archive
                select streamer_id, streamer_name, event_type, event_count, utc_day, $3
                from counted
                on conflict (streamer_id, utc_day, event_type, streamer_name, max_timestamp) do update
                    set event_count = archive.event_count + excluded.event_count
            ),

            totals as (
                insert into archived_totals as total
                select streamer_id, event_type, sum(event_count)
                from counted
                group by streamer_id, event_type
                on conflict (streamer_id, event_type) do update
                    set event_count = total.event_count + excluded.event_count
            ),

            leaders as (
                insert into archived_leaders as leader
                select streamer_id, sum(event_count)
                from counted
                group by streamer_id
                on conflict (streamer_id) do update
                    set event_count = leader.event_count + excluded.event_count
            )

            select coalesce(sum(event_count), 0) from counted
        $statement$,
        partition, 'archived_' || partition
    )
    into counted using (select archived_until from watermark), until, upper_bound;
    update watermark set archived_until = until;
    return counted;
end
$$;

-- Counts what has been recorded in the present partition up to a second ago, so that little is left to be
-- counted when somebody asks. Answers with the number of events; null if others are at it, if an ended
-- partition has to be sealed first, or if somebody has been writing for long: then another time.
--
-- Who records has a transaction id before taking the time for created_at (see record_events.sql). So the
-- events before "until" are those of transactions with lower ids than the one that is assigned here
-- afterwards, and all of them are there once those have ended. Nobody has to wait for this.
create function archive_recorded_events() returns bigint
language plpgsql
as $$
declare
    until constant timestamptz := clock_timestamp() - interval '1 second';
    transaction_id constant xid8 := pg_current_xact_id();
    archived_before timestamptz;
    partition_end timestamptz;
begin
    select archived_until into archived_before from watermark for update skip locked;
    if not found then
        return null;
    end if;
    select min(upper_bound) into partition_end
    from (
        select to_timestamp(split_part(inhrelid::regclass::text, '_', 2)::bigint) as upper_bound
        from pg_inherits
        where inhparent = 'events'::regclass
    ) as partitions
    where upper_bound > archived_before;
    if partition_end is null or until >= partition_end or until <= archived_before then
        return null;
    end if;

    for attempt in 1..100 loop
        if pg_snapshot_xmin(pg_current_snapshot()) >= transaction_id then
            return archive_events(partition_end, until);
        end if;
        perform pg_sleep(0.01);
    end loop;
    return null;
end
$$;

-- Counts the closed partition that ends at upper_bound, as far as it is not counted yet, and raises the
-- watermark to its end. Answers with the number of events; null if others are at it or have done it.
create or replace function seal_events_partition(upper_bound timestamptz) returns bigint
language plpgsql
as $$
declare
    partition constant text := 'events_' || extract(epoch from upper_bound)::bigint;
    archived_before timestamptz;
begin
    select archived_until into archived_before from watermark
    where archived_until < upper_bound
    for update skip locked;
    if not found then
        return null;
    end if;
    if not exists (select from pg_trigger where tgrelid = partition::regclass and tgname = 'closed') then
        raise 'partition % must be closed before it is sealed', partition;
    end if;

    if exists (
        select from pg_inherits
        where
            inhparent = 'events'::regclass
            and split_part(inhrelid::regclass::text, '_', 2)::bigint < extract(epoch from upper_bound)
            and split_part(inhrelid::regclass::text, '_', 2)::bigint > extract(epoch from archived_before)
    ) then
        raise 'a partition before % is not sealed yet', partition;
    end if;

    return archive_events(upper_bound, upper_bound);
end
$$;

-- Rolls the archives with these max_timestamps up into one, which is named by the last of them. Answers
-- whether it did; not if one is still counted into, or if others are at it or have done it.
create or replace function roll_up_archives(max_timestamps timestamptz[], keep_days boolean) returns boolean
language plpgsql
set lock_timeout = '6s'
as $$
declare
    target constant timestamptz := (select max(member) from unnest(max_timestamps) as member);
    archive constant text := 'archived_events_' || extract(epoch from target)::bigint;
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
    -- What the partition's bound says too, so that it need not be checked while the lock is held.
    execute format('alter table rolled_up add constraint bound check (max_timestamp = %L)', target);

    lock table archived_events in access exclusive mode;
    foreach member in array max_timestamps loop
        execute format('drop table archived_events_%s', extract(epoch from member)::bigint);
    end loop;
    execute format('alter table rolled_up rename to %I', archive);
    execute format('alter table archived_events attach partition %I for values in (%L)', archive, target);
    execute format('alter table %I drop constraint bound', archive);
    return true;
end
$$;

-- Refuses what would never be counted. By the statement, since by the row it would take longer than
-- recording.
create function refuse_what_is_counted() returns trigger
language plpgsql
as $$
begin
    if exists (select from recorded where created_at < (select archived_until from watermark)) then
        raise check_violation using
            message = 'events of before the watermark are counted already',
            hint = 'Record the event again: it then falls behind the watermark.';
    end if;
    return null;
end
$$;

create trigger counted after insert on events
referencing new table as recorded
for each statement execute function refuse_what_is_counted();

-- Removes whatever is stored of a streamer, counts included. Answers with the number of events removed.
create or replace function erase_streamer(erased_id text) returns bigint
language plpgsql
as $$
declare
    erased bigint;
begin
    perform from watermark for update;
    perform set_config('fanfare.erasing', 'on', true);
    with gone as (
        delete from events where streamer_id = erased_id
        returning id
    ),

    forgotten as (
        delete from seen_events where id in (select id from gone)
    ),

    forgotten_before as (
        delete from seen_events_before where id in (select id from gone)
    )

    select count(*) into erased from gone;
    perform set_config('fanfare.erasing', 'off', true);
    delete from archived_events where streamer_id = erased_id;
    delete from archived_totals where streamer_id = erased_id;
    delete from archived_leaders where streamer_id = erased_id;
    delete from streamers where streamer_id = erased_id;
    return erased;
end
$$;
