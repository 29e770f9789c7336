-- The whole schema of the event store, as the migrations leave it. A test compares the two.

-- What has happened ---------------------------------------------------------------------------------------

-- Every event of every streamer. created_at is this database's clock at insertion, so a new event always
-- falls into the partition of the present. Partitions are named by their upper bound in Unix seconds,
-- events_<upper>, and made ahead by create_events_partition. There is no default partition: it would have
-- to be scanned, under an exclusive lock, whenever a partition is added.
create table events (
    id text not null,
    streamer_id text not null,
    streamer_name text not null,
    event_type text not null,
    occurred_at timestamptz not null,
    created_at timestamptz not null,
    payload jsonb not null
) partition by range (created_at, streamer_name, event_type);

-- The newest events of a streamer, page by page.
create index events_newest on events (streamer_id, created_at desc, id desc);

-- Counts of a streamer by event type, also by day, from the index alone.
create index events_counts on events (streamer_id, event_type, created_at);

-- In the order of insertion, hence of created_at: all that is needed to find what was recorded lately.
create index events_recent on events using brin (created_at) with (pages_per_range = 16, autosummarize = on);

-- The ids of recent deliveries. Twitch and the queue deliver more than once; what is here already is not
-- recorded again. A unique key on events itself would have to contain the partition key, hence this table.
create table seen_events (
    id text primary key,
    seen_at timestamptz not null default now()
);

-- The ids before those. Recording looks into both tables and adds to the first one, which takes the place of
-- the second from time to time: ids are forgotten without a row being deleted. See forget_seen_events.
create table seen_events_before (like seen_events including all);

-- Since when ids are added to the present seen_events. One row.
create table seen_events_since (
    single boolean primary key default true check (single),
    since timestamptz not null
);

insert into seen_events_since (since) values (now());

-- What is counted already -------------------------------------------------------------------------------

-- Everything before archived_until is counted in archived_events, everything at or after it only stands in
-- events: a count is always that of the archives plus that of the events from here on, read by one statement.
-- While events are recorded it follows the clock by some seconds, so that there are few of them. One row; it
-- only ever rises, and whoever changes archives locks it first.
create table watermark (
    single boolean primary key default true check (single),
    archived_until timestamptz not null
);

insert into watermark (archived_until) values ('epoch');

-- The counts of partitions, by the name that the streamer had and by UTC day. Each partition's are in a
-- table of their own, archived_events_<upper bound of the partition>; when it is sealed they are complete.
-- Older ones are rolled up into the last table of their hour, day, month and at last year, which keeps no
-- days.
create table archived_events (
    streamer_id text not null,
    streamer_name text not null,
    event_type text not null,
    event_count bigint not null,
    utc_day date,
    max_timestamp timestamptz not null
) partition by list (max_timestamp);

-- One row for each key, so that counts can be added to those of the same day.
create unique index archived_events_keys
on archived_events (streamer_id, utc_day, event_type, streamer_name, max_timestamp);

-- The sum of archived_events, kept so that counts of all time take the same time however old the store is.
create table archived_totals (
    streamer_id text not null,
    event_type text not null,
    event_count bigint not null,
    primary key (streamer_id, event_type)
) with (fillfactor = 50);

-- The sum of archived_totals by streamer, with the index that makes updates slow for one row instead of one
-- a type.
create table archived_leaders (
    streamer_id text primary key,
    event_count bigint not null
);

create index archived_leaders_first on archived_leaders (event_count desc, streamer_id);

-- Who is who --------------------------------------------------------------------------------------------

-- The newest name of every streamer. Names change and are reused by others, ids do not: a name belongs to the
-- streamer who was seen with it last. named_at is when an event with this name first occurred.
create table streamers (
    streamer_id text primary key,
    streamer_name text not null,
    named_at timestamptz not null
);

create index streamers_names on streamers (streamer_name, named_at desc);

-- Upkeep ------------------------------------------------------------------------------------------------

-- The migrations that have been applied.
create table migrations (
    file_name text primary key,
    applied_at timestamptz not null default now()
);

-- Adds the partition of events that ends at upper_bound, and its archive. They are made first and attached
-- then, which, unlike "create table ... partition of", leaves reading and writing free to go on.
create function create_events_partition(
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

create function refuse_closed_partition() returns trigger
language plpgsql
as $$
begin
    if tg_op = 'DELETE' and current_setting('fanfare.erasing', true) = 'on' then
        return old;
    end if;
    raise check_violation using
        message = format('partition %I is closed', tg_table_name),
        hint = 'Record the event again: it then falls into the present partition.';
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

-- Waits for those who are writing into the partition that ends at upper_bound, and lets nobody else write
-- into it, so that its counts are final. The lock leaves reading free, and writing into other partitions. Who
-- waits for it keeps late writers waiting, hence the timeout: then try again.
create function close_events_partition(upper_bound timestamptz) returns void
language plpgsql
set lock_timeout = '500ms'
as $$
declare
    partition constant text := 'events_' || extract(epoch from upper_bound)::bigint;
begin
    if upper_bound > clock_timestamp() then
        raise 'partition % still takes events', partition;
    end if;
    if not exists (select from pg_trigger where tgrelid = partition::regclass and tgname = 'closed') then
        execute format(
            'create or replace trigger closed before insert or update or delete on %I '
            'for each row execute function refuse_closed_partition()',
            partition
        );
    end if;
end
$$;

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
create function seal_events_partition(upper_bound timestamptz) returns bigint
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
create function roll_up_archives(max_timestamps timestamptz[], keep_days boolean) returns boolean
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

-- Forgets the ids of deliveries that were seen at least so long ago, if it is time: those that are kept are
-- between one and two ages old. Waits for whoever is recording; who records meanwhile waits for it, hence the
-- timeout: then try again. Answers whether it did.
create function forget_seen_events(age interval) returns boolean
language plpgsql
set lock_timeout = '500ms'
as $$
begin
    update seen_events_since set since = clock_timestamp() where since <= clock_timestamp() - age;
    if not found then
        return false;
    end if;
    lock table seen_events in access exclusive mode;
    drop table seen_events_before;
    alter table seen_events rename to seen_events_before;
    alter index seen_events_pkey rename to seen_events_before_pkey;
    create table seen_events (like seen_events_before including all);
    return true;
end
$$;

-- Removes whatever is stored of a streamer, counts included. Answers with the number of events removed.
create function erase_streamer(erased_id text) returns bigint
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

-- Drops the partition that ends at upper_bound, the counts of which are archived. That needs the whole table
-- for a moment, and who waits for it keeps everybody else waiting, hence the timeout: then try again.
create function drop_events_partition(upper_bound timestamptz) returns void
language plpgsql
set lock_timeout = '100ms'
as $$
declare
    partition constant text := 'events_' || extract(epoch from upper_bound)::bigint;
begin
    if
        upper_bound > (select archived_until from watermark)
        -- One that was made by hand, for a time that is archived already.
        or not exists (select from pg_trigger where tgrelid = partition::regclass and tgname = 'closed')
    then
        raise 'partition % is not sealed', partition;
    end if;
    execute format('drop table %I', partition);
end
$$;
