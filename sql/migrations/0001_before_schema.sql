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

create index events_recent on events using brin (created_at) with (pages_per_range = 16, autosummarize = on);

create view events_partitions as
with partitions as materialized (
    select to_timestamp(split_part(inhrelid::regclass::text, '_', 2)::bigint) as upper_bound
    from pg_inherits
    where inhparent = 'events'::regclass
)

select upper_bound from partitions;

create table seen_events (
    id text primary key,
    seen_at timestamptz not null default now()
);

create table seen_events_before (like seen_events including all);

create table seen_events_since (
    single boolean primary key default true check (single),
    since timestamptz not null
);

insert into seen_events_since (since) values (now());

create table watermark (
    single boolean primary key default true check (single),
    archived_until timestamptz not null
);

insert into watermark (archived_until) values ('epoch');

create table archived_events (
    streamer_id text not null,
    streamer_name text not null,
    event_type text not null,
    event_count bigint not null,
    utc_day date,
    max_timestamp timestamptz not null
) partition by list (max_timestamp);

create unique index archived_events_keys
on archived_events (streamer_id, utc_day, event_type, streamer_name, max_timestamp);

create table archived_totals (
    streamer_id text not null,
    event_type text not null,
    event_count bigint not null,
    primary key (streamer_id, event_type)
) with (fillfactor = 50);

create table archived_leaders (
    streamer_id text primary key,
    event_count bigint not null
);

create index archived_leaders_first on archived_leaders (event_count desc, streamer_id);

create table streamers (
    streamer_id text primary key,
    streamer_name text not null,
    named_at timestamptz not null,
    next_name text,
    next_named_at timestamptz
);

create index streamers_names on streamers (streamer_name, named_at desc);

create table migrations (
    file_name text primary key,
    applied_at timestamptz not null default now()
);

\ir ../functions/create_events_partition.sql
\ir ../functions/create_archived_counts.sql
\ir ../functions/archive_counts.sql
\ir ../functions/archive_recent_counts.sql
\ir ../functions/close_events_partition.sql
\ir ../functions/seal_events_partition.sql
\ir ../functions/roll_up_archived_counts.sql
\ir ../functions/drop_events_partition.sql
\ir ../functions/refuse_closed_partition.sql
\ir ../functions/refuse_before_watermark.sql
\ir ../functions/forget_seen_events.sql
\ir ../functions/erase_streamer.sql

create trigger refuse_before_watermark after insert on events
referencing new table as inserted
for each statement execute function refuse_before_watermark();
