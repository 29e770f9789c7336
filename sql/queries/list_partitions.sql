-- The upper bounds of the partitions of events, the watermark, and this database's clock.
select
    clock_timestamp() as now,
    (select watermark.archived_until from watermark) as archived_until,
    coalesce(array_agg(upper_bound), '{}') as upper_bounds
from events_partitions
