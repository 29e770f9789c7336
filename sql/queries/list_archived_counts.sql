-- The watermark, and the max_timestamps of the tables of archived counts that are complete. "materialized",
-- so that no other table's name is taken apart: indexes have parents, too.
with tables as materialized (
    select inhrelid as table_id
    from pg_inherits
    where inhparent = 'archived_events'::regclass
)

select
    watermark.archived_until,
    (
        select coalesce(array_agg(time_in_name(tables.table_id::regclass)), '{}')
        from tables
        where time_in_name(tables.table_id::regclass) <= watermark.archived_until
    ) as max_timestamps
from watermark
