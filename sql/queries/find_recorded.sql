-- Which of these events are in events. Twitch and the queue deliver for 14 days at most, so that an event was
-- recorded within that time after it occurred, by clocks that differ by less than an hour.
select id
from events
where
    streamer_id = any(%(streamer_ids)s)
    and created_at >= %(oldest)s - interval '1 hour'
    and created_at < %(newest)s + interval '15 days'
    and id = any(%(ids)s)
