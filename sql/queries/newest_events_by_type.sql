-- A streamer's events of some types in a span of time and before a position (created_at, id), newest first.
--
-- Each type fills a page of its own from its part of the index, so that a rare type among many events is
-- found as fast as a common one; the result is the newest of them all. Only a subquery can be lateral, hence
-- the noqa.
with page as (
    select newest.*
    from unnest(%(event_types)s::text[]) as wanted (event_type)
    cross join lateral (  -- noqa: ST05
        select events.*
        from events
        where
            events.streamer_id = %(streamer_id)s
            and events.event_type = wanted.event_type
            and events.created_at >= %(after)s
            and events.created_at < %(until)s
            and (events.created_at, events.id) < (%(before_created_at)s, %(before_id)s)
        order by events.created_at desc
        fetch first (%(page_size)s) rows with ties
    ) as newest
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
