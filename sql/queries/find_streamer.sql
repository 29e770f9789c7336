-- The streamer who was seen with this name last, and the watermark for a count.
select
    streamer_id,
    streamer_name,
    (select watermark.archived_until from watermark) as archived_until
from streamers
where streamer_name = %(streamer_name)s
order by named_at desc, streamer_id asc
limit 1
