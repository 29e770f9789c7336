-- The schema of the event store, as the sum of the migrations: a test compares the two. Each function is a
-- file, which "\ir" includes, here and in the migrations. Apply it to an empty database with psql --file.

-- Events ------------------------------------------------------------------------------------------------

-- Every event of every streamer. created_at is this database's clock at insertion, so a new event always
-- belongs to the present partition. A partition is named after its upper bound in Unix seconds, events_<upper
-- bound>, and created ahead. There is no default partition: adding a partition would scan it under an
-- exclusive lock.
create table events (
    id text not null,
    streamer_id text not null,
    streamer_name text not null,
    event_type text not null,
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

-- The partitions of events. "materialized", so that no other table's name is taken apart.
create view events_partitions as
with partitions as materialized (
    select to_timestamp(split_part(inhrelid::regclass::text, '_', 2)::bigint) as upper_bound
    from pg_inherits
    where inhparent = 'events'::regclass
)

select upper_bound from partitions;

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

-- Archived counts ---------------------------------------------------------------------------------------

-- Events before archived_until are counted in the tables below; the others are only in events. One row, which
-- only ever rises, and which is locked first by whoever changes archived counts. Why counts are right:
-- docs/history.md.
create table watermark (
    single boolean primary key default true check (single),
    archived_until timestamptz not null
);

insert into watermark (archived_until) values ('epoch');

-- Counts by the streamer's name at the time and by UTC day. Those of a partition are in a table of their own,
-- archived_events_<upper bound of the partition>; they are complete once it is sealed. Older tables are
-- rolled up into the last one of their hour, day, month and at last year, which has no days any more.
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

-- The sums of archived_events: counts of all time take the same time however old the store is.
create table archived_totals (
    streamer_id text not null,
    event_type text not null,
    event_count bigint not null,
    primary key (streamer_id, event_type)
) with (fillfactor = 50);

-- The sums of archived_totals, for the leaderboard. An index on event_count makes updates slow: here that is
-- one row for each streamer, there it would be one for each event type.
create table archived_leaders (
    streamer_id text primary key,
    event_count bigint not null
);

create index archived_leaders_first on archived_leaders (event_count desc, streamer_id);

\ir functions/create_archived_counts.sql
\ir functions/archive_counts.sql

-- While a partition is the present one:
\ir functions/archive_recent_counts.sql

-- When it has ended:
\ir functions/close_events_partition.sql
\ir functions/refuse_closed_partition.sql
\ir functions/seal_events_partition.sql

-- When its hour, day, month or year is over:
\ir functions/roll_up_archived_counts.sql

\ir functions/refuse_before_watermark.sql

create trigger refuse_before_watermark after insert on events
referencing new table as inserted
for each statement execute function refuse_before_watermark();

-- Streamers ---------------------------------------------------------------------------------------------

-- The name of every streamer. Names change and are reused by others, IDs do not: a name belongs to the
-- streamer who was seen with it last. named_at is when the first event with this name occurred. Another name
-- is the next_name until events have told it for an hour, so that a wrong event renames nobody.
create table streamers (
    streamer_id text primary key,
    streamer_name text not null,
    named_at timestamptz not null,
    next_name text,
    next_named_at timestamptz
);

create index streamers_names on streamers (streamer_name, named_at desc);

\ir functions/erase_streamer.sql

-- Migrations --------------------------------------------------------------------------------------------

-- The migrations that have been applied.
create table migrations (
    file_name text primary key,
    applied_at timestamptz not null default now()
);
