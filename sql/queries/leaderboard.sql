-- The streamers with most events ever, of one type or of all (''); see count_events.sql.
--
-- Whoever is not among the first by archived counts can get there only by events from the watermark on: no
-- other streamers are looked at, however many there are.
with archived as not materialized (
    select
        streamer_id,
        event_count,
        magnitude
    from archived_totals
    where event_type = %(event_type)s
),

first_by_archived as (
    select
        streamer_id,
        event_count
    from archived
    -- Those with at least the magnitude of the page's last place, or all.
    where
        magnitude >= coalesce(
            (
                select of_last.magnitude
                from archived as of_last
                order by of_last.magnitude desc
                limit 1 offset %(places_before_last)s
            ),
            0
        )
    order by event_count desc, streamer_id asc
    limit %(page_size)s
),

recent as (
    select
        streamer_id,
        count(*) as event_count
    from events
    where
        created_at >= %(archived_until)s
        and created_at >= (select watermark.archived_until from watermark)
        and (%(event_type)s = '' or event_type = %(event_type)s)
    group by streamer_id
),

leaders as (
    select
        recent.streamer_id,
        recent.event_count + coalesce(archived.event_count, 0) as event_count
    from recent
    left join archived on recent.streamer_id = archived.streamer_id
    union all
    select
        streamer_id,
        event_count
    from first_by_archived
    where streamer_id not in (select recent.streamer_id from recent)
    order by event_count desc, streamer_id asc
    limit %(page_size)s
)

select
    leaders.streamer_id,
    streamers.streamer_name,
    leaders.event_count
from leaders
inner join streamers on leaders.streamer_id = streamers.streamer_id
order by leaders.event_count desc, leaders.streamer_id asc
