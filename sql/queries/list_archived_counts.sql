-- The watermark, and the max_timestamps of the tables of archived counts that are complete. "materialized",
-- so that no other table's name is taken apart: indexes have parents, too.
with tables as materialized (
    select to_timestamp(split_part(inhrelid::regclass::text, '_', 3)::bigint) as max_timestamp
    from pg_inherits
    where inhparent = 'archived_events'::regclass
)

select
    watermark.archived_until,
    (
        select coalesce(array_agg(tables.max_timestamp), '{}')
        from tables
        where tables.max_timestamp <= watermark.archived_until
    ) as max_timestamps
from watermark
