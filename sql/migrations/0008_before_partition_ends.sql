-- What is counted already is not read again.

-- Adds the partition of events that ends at upper_bound. It is made first and attached then, which, unlike
-- "create table ... partition of", leaves reading and writing free to go on.
create or replace function create_events_partition(
    lower_bound timestamptz, upper_bound timestamptz
) returns void
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
    -- Of bounds in three columns the planner cannot tell that the upper one itself is outside: without this it
    -- would read the last sealed partition in search of events from the watermark on.
    execute format('alter table %I add constraint ends check (created_at < %L)', partition, upper_bound);
    execute format(
        'alter table events attach partition %I '
        'for values from (%L, minvalue, minvalue) to (%L, minvalue, minvalue)',
        partition, lower_bound, upper_bound
    );
end
$$;
