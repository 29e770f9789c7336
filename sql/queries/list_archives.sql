-- The max_timestamps of the archives, and the watermark.
select
    watermark.archived_until,
    (
        select coalesce(array_agg(to_timestamp(split_part(child.relname, '_', 3)::bigint)), '{}')
        from pg_inherits
        inner join pg_class as child on pg_inherits.inhrelid = child.oid
        where pg_inherits.inhparent = 'archived_events'::regclass
    ) as max_timestamps
from watermark
