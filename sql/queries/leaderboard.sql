-- The streamers with most events, of one type or all, since a time.
with leaders as (
    select
        streamer_id,
        count(*) as event_count
    from events
    where
        created_at >= %(since)s
        and (%(event_type)s::text is null or event_type = %(event_type)s)
    group by streamer_id
    order by event_count desc, streamer_id asc
    limit %(page_size)s
)

select
    leaders.streamer_id,
    streamers.streamer_name,
    leaders.event_count
from leaders
inner join streamers on leaders.streamer_id = streamers.streamer_id
order by leaders.event_count desc, leaders.streamer_id asc
