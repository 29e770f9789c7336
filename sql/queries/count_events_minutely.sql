-- A streamer's events since a time, by minute and event type.
select
    event_type,
    date_trunc('minute', created_at) as utc_minute,
    count(*) as event_count
from events
where
    streamer_id = %(streamer_id)s
    and created_at >= %(since)s
group by utc_minute, event_type
