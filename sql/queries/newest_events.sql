-- A streamer's events in a span of time and before a position (created_at, id), newest first.
--
-- The page is ordered by created_at alone, the leading partition key: partitions are then read one after the
-- other, newest first, until the page is full. Events with the same created_at at its end are ordered
-- afterwards.
with page as (
    select *
    from events
    where
        streamer_id = %(streamer_id)s
        and created_at >= %(after)s
        and created_at < %(until)s
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
