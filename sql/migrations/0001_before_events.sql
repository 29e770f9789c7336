-- The event store as it began.

create table events (
    id text not null,
    streamer_id text not null,
    streamer_name text not null,
    event_type text not null,
    occurred_at timestamptz not null,
    created_at timestamptz not null,
    payload jsonb not null
) partition by range (created_at, streamer_name, event_type);

create index events_newest on events (streamer_id, created_at desc, id desc);

create index events_counts on events (streamer_id, event_type, created_at);

create table seen_events (
    id text primary key,
    seen_at timestamptz not null default now()
);

create table streamers (
    streamer_id text primary key,
    streamer_name text not null,
    named_at timestamptz not null
);

create index streamers_names on streamers (streamer_name, named_at desc);

create table migrations (
    file_name text primary key,
    applied_at timestamptz not null default now()
);

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
