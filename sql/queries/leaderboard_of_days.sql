-- The streamers with most events, of one type or of all (''), since the start of a UTC day; see
-- count_events.sql.
--
-- The sums of archived_windows are of the days from first_day until end_day. The days that are missing are
-- added, the last of which is today; those before since are taken away, which happens when a day has ended
-- and move_windows has not run yet. The caller has read first_day and end_day before; if they are not the
-- present ones, nothing is found, and it reads them anew.
with span as (
    select %(days)s::smallint as day_count
    where not exists (
        select from archived_window_spans
        where day_count = %(days)s and (first_day <> %(first_day)s or end_day <> %(end_day)s)
    )
),

leaders as (
    select
        streamer_id,
        cast(sum(event_count) as bigint) as event_count
    from (
        select
            streamer_id,
            event_count
        from archived_windows
        where day_count = %(days)s and event_type = %(event_type)s
        union all
        select
            streamer_id,
            event_count
        from archived_events
        where
            max_timestamp > greatest(%(end_day)s::date, %(since)s::date)::timestamp at time zone 'UTC'
            and utc_day >= greatest(%(end_day)s::date, %(since)s::date)
            and (%(event_type)s = '' or event_type = %(event_type)s)
        union all
        select
            streamer_id,
            case when utc_day < %(since)s::date then -event_count else event_count end as event_count
        from archived_events
        where
            %(first_day)s::date <> %(since)s::date
            and max_timestamp > least(%(first_day)s::date, %(since)s::date)::timestamp at time zone 'UTC'
            and utc_day >= least(%(first_day)s::date, %(since)s::date)
            and utc_day < least(greatest(%(first_day)s::date, %(since)s::date), %(end_day)s::date)
            and (%(event_type)s = '' or event_type = %(event_type)s)
        union all
        select
            streamer_id,
            count(*) as event_count
        from events
        where
            created_at >= greatest(%(since)s::timestamp at time zone 'UTC', %(archived_until)s)
            and created_at >= (select watermark.archived_until from watermark)
            and (%(event_type)s = '' or event_type = %(event_type)s)
        group by streamer_id
    ) as counts
    where exists (select from span)
    group by streamer_id
    having sum(event_count) > 0
    order by event_count desc, streamer_id asc
    limit %(page_size)s
)

select
    span.day_count,
    leaders.streamer_id,
    streamers.streamer_name,
    leaders.event_count
from span
left join leaders on true
left join streamers on leaders.streamer_id = streamers.streamer_id
order by leaders.event_count desc, leaders.streamer_id asc
