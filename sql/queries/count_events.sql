-- A streamer's events by event type: the archived counts, and the events from the watermark on. The streamer
-- is the one who was seen with the name last.
--
-- The subquery reads the watermark in this statement's snapshot, and so divides archived counts from events.
-- The parameter archived_until is the watermark as it was read before: it lets the planner exclude sealed
-- partitions.
with streamer as (
    select streamers.streamer_id
    from streamers
    where streamers.streamer_name = %(streamer_name)s
    order by streamers.named_at desc, streamers.streamer_id asc
    limit 1
)

select
    event_type,
    cast(sum(event_count) as bigint) as event_count,
    (select streamer.streamer_id from streamer) as streamer_id,
    (select watermark.archived_until from watermark) as archived_until
from (
    select
        event_type,
        event_count
    from archived_totals
    where streamer_id = (select streamer.streamer_id from streamer) and event_type <> ''
    union all
    select
        event_type,
        count(*) as event_count
    from events
    where
        streamer_id = (select streamer.streamer_id from streamer)
        and created_at >= %(archived_until)s
        and created_at >= (select watermark.archived_until from watermark)
    group by event_type
) as counts
group by event_type
order by event_type
