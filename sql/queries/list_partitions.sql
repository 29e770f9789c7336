-- The upper bounds of the partitions of events, and this database's clock.
select
    clock_timestamp() as now,
    coalesce(array_agg(to_timestamp(split_part(child.relname, '_', 2)::bigint)), '{}') as upper_bounds
from pg_inherits
inner join pg_class as child on pg_inherits.inhrelid = child.oid
where pg_inherits.inhparent = 'events'::regclass
