create table events (
    id varchar(255) not null,
    streamer_id varchar(100) not null,
    streamer_name varchar(100) not null,
    event_type varchar(100) not null,
    occurred_at timestamptz not null,
    created_at timestamptz not null,
    payload jsonb not null
) partition by range (created_at, streamer_name, event_type);

create index events_newest on events (streamer_id, created_at desc, id desc);

create index events_counts on events (streamer_id, event_type, created_at);

create index events_recent on events using brin (created_at) with (pages_per_range = 16, autosummarize = on);

\ir ../functions/time_in_name.sql

create view events_partitions as
with partitions as materialized (
    select inhrelid as partition_id
    from pg_inherits
    where inhparent = 'events'::regclass
)

select time_in_name(partition_id::regclass) as upper_bound from partitions;

\ir ../functions/stop_autovacuum.sql
\ir ../functions/create_events_partition.sql
\ir ../functions/drop_events_partition.sql

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

\ir ../functions/forget_seen_events.sql

create table dead_letters (
    message_id text primary key,
    body bytea not null,
    reason text not null,
    refused_at timestamptz not null default now()
);

create table watermark (
    single boolean primary key default true check (single),
    archived_until timestamptz not null,
    archiving_until timestamptz not null check (archiving_until >= archived_until)
);

insert into watermark (archived_until, archiving_until) values ('epoch', 'epoch');

create sequence stamps_ahead;

\ir ../functions/present_stamp.sql
\ir ../functions/announce_archiving.sql
\ir ../functions/wait_for_writers.sql
\ir ../functions/refuse_before_watermark.sql

create trigger refuse_before_watermark after insert on events
referencing new table as inserted
for each statement execute function refuse_before_watermark();

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
    magnitude smallint generated always as (floor(6 * ln(event_count::float8))) stored,
    primary key (streamer_id, event_type)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

create index archived_totals_first on archived_totals (event_type, magnitude desc);

create table streamer_partitions (
    streamer_id text not null,
    event_type text not null,
    upper_bound timestamptz not null,
    first_at timestamptz not null,
    primary key (streamer_id, upper_bound, event_type)
);

create index streamer_partitions_ends on streamer_partitions (upper_bound);

create table archived_windows (
    day_count smallint not null,
    event_type text not null,
    streamer_id text not null,
    event_count bigint not null,
    primary key (day_count, event_type, streamer_id)
) with (fillfactor = 50);

create table archived_window_spans (
    day_count smallint primary key,
    first_day date not null,
    end_day date not null
);

insert into archived_window_spans (day_count, first_day, end_day)
values (7, 'epoch', 'epoch'), (30, 'epoch', 'epoch'), (90, 'epoch', 'epoch');

\ir ../functions/create_archived_counts.sql
\ir ../functions/archive_counts.sql

\ir ../functions/move_windows.sql

\ir ../functions/roll_up_archived_counts.sql

create table totals_checked (
    single boolean primary key default true check (single),
    streamer_id text not null
);

insert into totals_checked (streamer_id) values ('');

create table exported_parts (
    upper_bound timestamptz not null,
    first_page bigint not null,
    event_count bigint not null,
    sha256 text not null,
    primary key (upper_bound, first_page)
);

create table streamers (
    streamer_id text primary key,
    streamer_name text not null,
    named_at timestamptz not null,
    next_name text,
    next_named_at timestamptz
);

create index streamers_names on streamers (streamer_name, named_at desc);

create table erased_streamers (
    streamer_id text primary key,
    erased_until timestamptz not null
);

\ir ../functions/erase_events.sql
\ir ../functions/finish_erasing.sql

create table migrations (
    file_name text primary key,
    applied_at timestamptz not null default now()
);
