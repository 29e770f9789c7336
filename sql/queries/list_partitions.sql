-- The upper bounds of the partitions of events, the watermark, and the time of new events: this database's
-- clock, but never before what is announced (present_stamp).
select
    (select greatest(clock_timestamp(), watermark.archiving_until) from watermark) as now,
    (select watermark.archived_until from watermark) as archived_until,
    coalesce(array_agg(upper_bound), '{}') as upper_bounds
from events_partitions
