select
    event_type,
    count(*) as event_count
from events
where streamer_id = %(streamer_id)s
group by event_type
order by event_type
