-- The streamer who was seen with this name last.
select
    streamer_id,
    streamer_name
from streamers
where streamer_name = %(streamer_name)s
order by named_at desc, streamer_id asc
limit 1
