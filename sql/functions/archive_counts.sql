-- The second step of archiving counts: counts the events from the watermark until a time that was announced
-- and committed (announce_archiving), adds them to the archived counts, and raises the watermark to that
-- time. The state is "counted", "sealed" if it is the end of a partition, "busy" if somebody else is
-- archiving or has counted them, or "blocked" if a transaction that has written into events stays open.
create or replace function archive_counts(until timestamptz, out state text, out event_total bigint)
language plpgsql
as $$
declare
    archived_before timestamptz;
    partition_end timestamptz;
    partition text;
begin
    select archived_until into archived_before
    from watermark
    where archived_until < until and archiving_until >= until
    for update skip locked;
    if not found then
        state := 'busy';
        return;
    end if;
    if not wait_for_writers() then
        state := 'blocked';
        return;
    end if;
    select min(upper_bound) into partition_end from events_partitions where upper_bound > archived_before;
    partition := 'events_' || extract(epoch from partition_end)::bigint;

    execute format(
        $statement$
            with counted as materialized (
                select
                    streamer_id,
                    streamer_name,
                    event_type,
                    count(*) as event_count,
                    cast(created_at at time zone 'UTC' as date) as utc_day,
                    min(created_at) as first_at
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

            -- By event type, and of all types.
            totals as (
                insert into archived_totals as total
                select streamer_id, coalesce(event_type, ''), sum(event_count)
                from counted
                group by grouping sets ((streamer_id, event_type), (streamer_id))
                on conflict (streamer_id, event_type) do update
                    set event_count = total.event_count + excluded.event_count
            ),

            located as (
                insert into streamer_partitions
                select streamer_id, event_type, $3, min(first_at)
                from counted
                group by streamer_id, event_type
                on conflict do nothing
            )

            select coalesce(sum(event_count), 0) from counted
        $statement$,
        partition, 'archived_' || partition
    )
    into event_total using archived_before, until, partition_end;
    update watermark set archived_until = until;
    state := case when until = partition_end then 'sealed' else 'counted' end;
end
$$;
