-- The schema of the event store, as the sum of the migrations: a test compares the two. Each function is a
-- file, which "\ir" includes, here and in the migrations. Apply it to an empty database with psql --file.

-- Events ------------------------------------------------------------------------------------------------

-- Every event of every streamer. created_at is this database's clock at insertion (present_stamp), so a new
-- event always belongs to the present partition. A partition is named after its upper bound in Unix seconds,
-- events_<upper bound>, and created ahead. There is no default partition: adding a partition would scan it
-- under an exclusive lock. Texts are limited so that they fit into every index.
create table events (
    id varchar(255) not null,
    streamer_id varchar(100) not null,
    streamer_name varchar(100) not null,
    event_type varchar(100) not null,
    occurred_at timestamptz not null,
    created_at timestamptz not null,
    payload jsonb not null
) partition by range (created_at, streamer_name, event_type);

-- For the newest events of a streamer, page by page.
create index events_newest on events (streamer_id, created_at desc, id desc);

-- For the counts of a streamer by event type, and for the newest events of some types.
create index events_counts on events (streamer_id, event_type, created_at);

-- For the events after the watermark, of all streamers. Rows are inserted in the order of created_at, so this
-- small index is enough.
create index events_recent on events using brin (created_at) with (pages_per_range = 16, autosummarize = on);

\ir functions/time_in_name.sql

-- The partitions of events. "materialized", so that no other table's name is taken apart.
create view events_partitions as
with partitions as materialized (
    select inhrelid as partition_id
    from pg_inherits
    where inhparent = 'events'::regclass
)

select time_in_name(partition_id::regclass) as upper_bound from partitions;

\ir functions/stop_autovacuum.sql
\ir functions/create_events_partition.sql
\ir functions/drop_events_partition.sql

-- The IDs of recent deliveries. Twitch and the queue deliver more than once; an event whose ID is here is not
-- recorded again. A unique key of events would have to contain its partition key, hence a table of its own.
create table seen_events (
    id text primary key,
    seen_at timestamptz not null default now()
);

-- The IDs before those. Recording looks into both tables and adds to seen_events; from time to time
-- seen_events replaces seen_events_before, so that IDs are forgotten without deleting rows.
create table seen_events_before (like seen_events including all);

-- Since when IDs are added to the present seen_events. One row.
create table seen_events_since (
    single boolean primary key default true check (single),
    since timestamptz not null
);

insert into seen_events_since (since) values (now());

\ir functions/forget_seen_events.sql

-- Messages that cannot be recorded, byte by byte, and why.
create table dead_letters (
    message_id text primary key,
    body bytea not null,
    reason text not null,
    refused_at timestamptz not null default now()
);

-- Archived counts ---------------------------------------------------------------------------------------

-- Events before archived_until are counted in the tables below; the others are only in events. New events
-- come at or after archiving_until, the time until which events are counted next. One row, which only ever
-- rises, and which is locked first by whoever changes archived counts. Why counts are right: docs/history.md.
create table watermark (
    single boolean primary key default true check (single),
    archived_until timestamptz not null,
    archiving_until timestamptz not null check (archiving_until >= archived_until)
);

insert into watermark (archived_until, archiving_until) values ('epoch', 'epoch');

-- Counts batches that are recorded while the clock is behind archiving_until.
create sequence stamps_ahead;

\ir functions/present_stamp.sql
\ir functions/announce_archiving.sql
\ir functions/wait_for_writers.sql
\ir functions/refuse_before_watermark.sql

create trigger refuse_before_watermark after insert on events
referencing new table as inserted
for each statement execute function refuse_before_watermark();

-- Counts by the streamer's name at the time and by UTC day. Those of a partition are in a table of their own,
-- archived_events_<upper bound of the partition>; they are complete once it is sealed, that is, once the
-- watermark is at its end. Older tables are rolled up into the last one of their hour, day, month and at last
-- year, which has no days any more.
create table archived_events (
    streamer_id text not null,
    streamer_name text not null,
    event_type text not null,
    event_count bigint not null,
    utc_day date,
    max_timestamp timestamptz not null
) partition by list (max_timestamp);

-- Unique, so that counts can be added to those of the same day.
create unique index archived_events_keys
on archived_events (streamer_id, utc_day, event_type, streamer_name, max_timestamp);

-- The sums of archived_events by event type, and of all types with the type '': counts and leaderboards of
-- all time take the same time however old the store is. An index on event_count would make each update slow,
-- since PostgreSQL then writes into all indexes; magnitude changes only when a count has grown by a sixth.
create table archived_totals (
    streamer_id text not null,
    event_type text not null,
    event_count bigint not null,
    magnitude smallint generated always as (floor(6 * ln(event_count::float8))) stored,
    primary key (streamer_id, event_type)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

create index archived_totals_first on archived_totals (event_type, magnitude desc);

-- In which partitions a streamer has archived events of a type, and since when: newest events are looked for
-- there only.
create table streamer_partitions (
    streamer_id text not null,
    event_type text not null,
    upper_bound timestamptz not null,
    first_at timestamptz not null,
    primary key (streamer_id, upper_bound, event_type)
);

-- For forgetting dropped partitions.
create index streamer_partitions_ends on streamer_partitions (upper_bound);

-- The sums of archived_events of so many days, as archived_totals has those of all time. Today is one of the
-- days, and is not in the sums.
create table archived_windows (
    day_count smallint not null,
    event_type text not null,
    streamer_id text not null,
    event_count bigint not null,
    primary key (day_count, event_type, streamer_id)
) with (fillfactor = 50);

-- Which days are in the sums: from first_day until end_day, which is not.
create table archived_window_spans (
    day_count smallint primary key,
    first_day date not null,
    end_day date not null
);

insert into archived_window_spans (day_count, first_day, end_day)
values (7, 'epoch', 'epoch'), (30, 'epoch', 'epoch'), (90, 'epoch', 'epoch');

\ir functions/create_archived_counts.sql
\ir functions/archive_counts.sql

-- When a day is over:
\ir functions/move_windows.sql

-- When an hour, day or month is over, and again one year after the end of a year:
\ir functions/roll_up_archived_counts.sql

-- Until which streamer totals and windows have been compared with archived_events. One row.
create table totals_checked (
    single boolean primary key default true check (single),
    streamer_id text not null
);

insert into totals_checked (streamer_id) values ('');

-- The parts of a partition that are in S3, before all of it is: pages from first_page on.
create table exported_parts (
    upper_bound timestamptz not null,
    first_page bigint not null,
    event_count bigint not null,
    sha256 text not null,
    primary key (upper_bound, first_page)
);

-- Streamers ---------------------------------------------------------------------------------------------

-- The name of every streamer. Names change and are reused by others, IDs do not: a name belongs to the
-- streamer who was seen with it last. named_at is when the first event with this name occurred, or the first
-- since another streamer had it. Another name is the next_name until events have told it for an hour, so that
-- a wrong event renames nobody.
create table streamers (
    streamer_id text primary key,
    streamer_name text not null,
    named_at timestamptz not null,
    next_name text,
    next_named_at timestamptz
);

create index streamers_names on streamers (streamer_name, named_at desc);

-- Streamers who were erased: what occurred until then is not recorded again. 'infinity' while it goes on.
create table erased_streamers (
    streamer_id text primary key,
    erased_until timestamptz not null
);

\ir functions/erase_events.sql
\ir functions/finish_erasing.sql

-- Migrations --------------------------------------------------------------------------------------------

-- The migrations that have been applied.
create table migrations (
    file_name text primary key,
    applied_at timestamptz not null default now()
);
