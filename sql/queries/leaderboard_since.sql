-- The streamers with most events, of one type or of all, since the start of a UTC day; see count_events.sql.
with leaders as (
    select
        streamer_id,
        cast(sum(event_count) as bigint) as event_count
    from (
        select
            streamer_id,
            event_count
        from archived_events
        where
            max_timestamp > %(since)s
            and utc_day >= %(since)s at time zone 'UTC'
            and (%(event_type)s::text is null or event_type = %(event_type)s)
        union all
        select
            streamer_id,
            count(*) as event_count
        from events
        where
            created_at >= greatest(%(since)s, %(archived_until)s)
            and created_at >= (select watermark.archived_until from watermark)
            and (%(event_type)s::text is null or event_type = %(event_type)s)
        group by streamer_id
    ) as counts
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
