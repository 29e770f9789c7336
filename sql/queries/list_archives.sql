-- The max_timestamps of the archives that are complete, and the watermark. Their names are taken apart only
-- once it is clear that they are theirs: indexes have parents, too.
with archives as materialized (
    select to_timestamp(split_part(child.relname, '_', 3)::bigint) as max_timestamp
    from pg_inherits
    inner join pg_class as child on pg_inherits.inhrelid = child.oid
    where pg_inherits.inhparent = 'archived_events'::regclass
)

select
    watermark.archived_until,
    (
        select coalesce(array_agg(archives.max_timestamp), '{}')
        from archives
        where archives.max_timestamp <= watermark.archived_until
    ) as max_timestamps
from watermark
