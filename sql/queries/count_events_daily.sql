-- A streamer's events since the start of a UTC day, by UTC day and event type; see count_events.sql.
select
    event_type,
    utc_day,
    cast(sum(event_count) as bigint) as event_count
from (
    select
        event_type,
        utc_day,
        event_count
    from archived_events
    where
        streamer_id = %(streamer_id)s
        and max_timestamp > %(since)s
        and utc_day >= %(since)s at time zone 'UTC'
    union all
    select
        event_type,
        cast(created_at at time zone 'UTC' as date) as utc_day,
        count(*) as event_count
    from events
    where
        streamer_id = %(streamer_id)s
        and created_at >= greatest(%(since)s, %(archived_until)s)
        and created_at >= (select watermark.archived_until from watermark)
    group by event_type, utc_day
) as counts
group by event_type, utc_day
