-- Counts the events from the watermark until a time, all of the partition that ends at upper_bound, adds the
-- counts to its archived counts and the totals, and raises the watermark to that time. The caller has locked
-- the watermark and made sure that no such event is still to come. Returns the number of events.
create or replace function archive_counts(upper_bound timestamptz, until timestamptz) returns bigint
language plpgsql
as $$
declare
    partition constant text := 'events_' || extract(epoch from upper_bound)::bigint;
    event_total bigint;
begin
    execute format(
        $statement$
            with counted as materialized (
                select
                    streamer_id,
                    streamer_name,
                    event_type,
                    count(*) as event_count,
                    cast(created_at at time zone 'UTC' as date) as utc_day
                from %I
                where created_at >= $1 and created_at < $2
                group by streamer_id, streamer_name, event_type, utc_day
            ),

            archived as (
                insert into %I as archived
                select streamer_id, streamer_name, event_type, event_count, utc_day, $3
                from counted
                on conflict (streamer_id, utc_day, event_type, streamer_name, max_timestamp) do update
                    set event_count = archived.event_count + excluded.event_count
            ),

            totals as (
                insert into archived_totals as total
                select streamer_id, event_type, sum(event_count)
                from counted
                group by streamer_id, event_type
                on conflict (streamer_id, event_type) do update
                    set event_count = total.event_count + excluded.event_count
            ),

            leaders as (
                insert into archived_leaders as leader
                select streamer_id, sum(event_count)
                from counted
                group by streamer_id
                on conflict (streamer_id) do update
                    set event_count = leader.event_count + excluded.event_count
            )

            select coalesce(sum(event_count), 0) from counted
        $statement$,
        partition, 'archived_' || partition
    )
    into event_total using (select archived_until from watermark), until, upper_bound;
    update watermark set archived_until = until;
    return event_total;
end
$$;
