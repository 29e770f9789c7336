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

-- The ids of recent deliveries. Twitch and the queue deliver more than once; what is here already is not
-- recorded again. A unique key on events itself would have to contain the partition key, hence this table.
-- Rows older than the time in which anything is redelivered are deleted.
create table seen_events (
    id text primary key,
    seen_at timestamptz not null default now()
);

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

-- Adds the partition of events that ends at upper_bound. It is made first and attached then, which, unlike
-- "create table ... partition of", leaves reading and writing free to go on.
create function create_events_partition(lower_bound timestamptz, upper_bound timestamptz) returns void
language plpgsql
as $$
declare
    partition constant text := 'events_' || extract(epoch from upper_bound)::bigint;
begin
    -- The insert threshold is a fixed number of rows, so that new rows soon become visible to index-only scans
    -- however large the partition has grown.
    execute format(
        'create table %I (like events) with (autovacuum_vacuum_insert_scale_factor = 0, '
        'autovacuum_vacuum_insert_threshold = 20000)',
        partition
    );
    execute format(
        'alter table events attach partition %I '
        'for values from (%L, minvalue, minvalue) to (%L, minvalue, minvalue)',
        partition, lower_bound, upper_bound
    );
end
$$;
