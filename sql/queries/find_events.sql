-- Where a streamer's newest events of some types, or of all, are: the partitions with events before a time,
-- the newest first, each with the time of the first of them. Events from the watermark on, archived_until,
-- may be in further ones. No rows if no streamer has that name; it is the one who was seen with it last.
with streamer as (
    select streamers.streamer_id
    from streamers
    where streamers.streamer_name = %(streamer_name)s
    order by streamers.named_at desc, streamers.streamer_id asc
    limit 1
),

located as (
    select
        streamer_partitions.streamer_id,
        streamer_partitions.upper_bound,
        min(streamer_partitions.first_at) as first_at
    from streamer_partitions
    where
        streamer_partitions.streamer_id = (select streamer.streamer_id from streamer)
        and streamer_partitions.first_at <= %(before_created_at)s
        and (%(event_types)s::text[] is null or streamer_partitions.event_type = any(%(event_types)s))
    group by streamer_partitions.streamer_id, streamer_partitions.upper_bound
    order by streamer_partitions.upper_bound desc
    limit %(most)s
)

select
    streamer.streamer_id,
    watermark.archived_until,
    located.upper_bound,
    located.first_at
from streamer
cross join watermark
left join located on streamer.streamer_id = located.streamer_id
order by located.upper_bound desc
