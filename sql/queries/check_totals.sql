-- Compares totals and the sums of the last days with the archived counts that they are made of, for some
-- streamers after the one that was compared last. Returns what differs, and the streamer to go on after, ''
-- to begin anew.
with
checked as (
    select
        totals_checked.streamer_id as last_before,
        coalesce(
            (
                select totals.streamer_id
                from archived_totals as totals
                where totals.event_type = '' and totals.streamer_id > totals_checked.streamer_id
                order by totals.streamer_id
                limit 1 offset %(streamers_before_last)s
            ),
            ''
        ) as last_here
    from totals_checked
),

archived as (
    select
        archived_events.streamer_id,
        archived_events.event_type,
        archived_events.utc_day,
        archived_events.event_count
    from archived_events
    cross join checked
    where
        archived_events.streamer_id > checked.last_before
        and (archived_events.streamer_id <= checked.last_here or checked.last_here = '')
),

expected as (
    select
        0 as day_count,
        streamer_id,
        coalesce(event_type, '') as event_type,
        sum(event_count) as event_count
    from archived
    group by grouping sets ((streamer_id, event_type), (streamer_id))
    union all
    select
        archived_window_spans.day_count,
        archived.streamer_id,
        coalesce(archived.event_type, '') as event_type,
        sum(archived.event_count) as event_count
    from archived
    inner join archived_window_spans
        on
            archived.utc_day >= archived_window_spans.first_day
            and archived.utc_day < archived_window_spans.end_day
    group by grouping sets (
        (archived_window_spans.day_count, archived.streamer_id, archived.event_type),
        (archived_window_spans.day_count, archived.streamer_id)
    )
),

kept as (
    select
        0 as day_count,
        streamer_id,
        event_type,
        event_count
    from archived_totals
    union all
    select
        day_count,
        streamer_id,
        event_type,
        event_count
    from archived_windows
),

kept_here as (
    select kept.*
    from kept
    cross join checked
    where
        kept.streamer_id > checked.last_before
        and (kept.streamer_id <= checked.last_here or checked.last_here = '')
),

differences as (
    select
        coalesce(kept_here.day_count, expected.day_count) as day_count,
        coalesce(kept_here.streamer_id, expected.streamer_id) as streamer_id,
        coalesce(kept_here.event_type, expected.event_type) as event_type,
        coalesce(kept_here.event_count, 0) as kept,
        coalesce(expected.event_count, 0) as expected
    from expected
    full outer join kept_here
        on
            expected.day_count = kept_here.day_count
            and expected.streamer_id = kept_here.streamer_id
            and expected.event_type = kept_here.event_type
    where expected.event_count is distinct from kept_here.event_count
),

examples as (
    select *
    from differences
    order by streamer_id
    limit 10
)

select
    checked.last_here as streamer_id,
    (select count(*) from differences) as difference_count,
    (select coalesce(json_agg(examples), '[]') from examples) as examples
from checked
