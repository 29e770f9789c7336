-- Creates the partition of events that ends at upper_bound, and the table of its archived counts. A table
-- that is created first and attached then, unlike "create table ... partition of", blocks neither reads nor
-- writes.
create or replace function create_events_partition(
    lower_bound timestamptz, upper_bound timestamptz
) returns void
language plpgsql
as $$
declare
    partition constant text := 'events_' || extract(epoch from upper_bound)::bigint;
begin
    -- Vacuum after a fixed number of inserts, however large the partition is: index-only scans need it.
    execute format(
        'create table %I (like events) with (autovacuum_vacuum_insert_scale_factor = 0, '
        'autovacuum_vacuum_insert_threshold = 20000)',
        partition
    );
    -- The bounds have three columns, so the planner cannot tell that created_at = upper_bound is outside.
    -- Without this constraint, counts would read the last sealed partition, too.
    execute format('alter table %I add constraint ends check (created_at < %L)', partition, upper_bound);
    execute format(
        'alter table events attach partition %I '
        'for values from (%L, minvalue, minvalue) to (%L, minvalue, minvalue)',
        partition, lower_bound, upper_bound
    );
    -- Until the first "analyze", the planner would take a third of all events to be newer than the watermark,
    -- and read the whole partition. Newer than all that is known are few, so it takes the index.
    perform pg_restore_attribute_stats(
        'schemaname', current_schema()::text, 'relname', partition, 'attname', 'created_at', 'inherited', false,
        'null_frac', 0::real, 'avg_width', 8, 'n_distinct', -1::real, 'correlation', 1::real,
        'histogram_bounds', format('{"%s","%s"}', lower_bound, lower_bound + interval '1 second')
    );
    perform create_archived_counts(upper_bound);
end
$$;
