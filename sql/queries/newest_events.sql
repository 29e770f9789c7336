-- A streamer's events in a span of time and before a position (created_at, id), newest first. The streamer is
-- the one who was seen with the name last.
--
-- The page is ordered by created_at alone, the leading partition key: partitions are then read one after the
-- other, newest first, until the page is full. Events with the same created_at at its end are ordered
-- afterwards.
with streamer as (
    select streamers.streamer_id
    from streamers
    where streamers.streamer_name = %(streamer_name)s
    order by streamers.named_at desc, streamers.streamer_id asc
    limit 1
),

page as (
    select *
    from events
    where
        streamer_id = (select streamer.streamer_id from streamer)
        and created_at > %(after)s
        and created_at <= %(until)s
        and (created_at, id) < (%(before_created_at)s, %(before_id)s)
    order by created_at desc
    fetch first (%(page_size)s) rows with ties
)

select
    id,
    streamer_id,
    streamer_name,
    event_type,
    occurred_at,
    created_at,
    payload
from page
order by created_at desc, id desc
limit %(page_size)s
