-- A streamer's events since a time, by UTC day and event type.
select
    event_type,
    cast(created_at at time zone 'UTC' as date) as utc_day,
    count(*) as event_count
from events
where
    streamer_id = %(streamer_id)s
    and created_at >= %(since)s
group by utc_day, event_type
