-- Moves the windows of the leaderboard by a day each, if there is a day that is over and counted: adds that
-- day, and takes the first one away. Returns whether there may be another day; not if somebody else is
-- archiving.
create or replace function move_windows() returns boolean
language plpgsql
as $$
declare
    today date;
    moved archived_window_spans;
    is_moved boolean := false;
begin
    select cast(archived_until at time zone 'UTC' as date) into today from watermark for update skip locked;
    if not found then
        return false;
    end if;
    for moved in select * from archived_window_spans where end_day < today loop
        if moved.end_day <= today - (moved.day_count - 1) then
            -- Nothing that it covers is wanted any more, as in a new store.
            delete from archived_windows where day_count = moved.day_count;
            moved.first_day := today - (moved.day_count - 1);
            moved.end_day := moved.first_day;
        end if;

        insert into archived_windows as known (day_count, event_type, streamer_id, event_count)
        select
            moved.day_count,
            coalesce(event_type, ''),
            streamer_id,
            sum(change)
        from (
            select
                event_type,
                streamer_id,
                event_count as change
            from archived_events
            where utc_day = moved.end_day and max_timestamp > cast(moved.end_day as timestamp) at time zone 'UTC'
            union all
            select
                event_type,
                streamer_id,
                -event_count
            from archived_events
            where
                -- The window ends with today, which is not in the sums.
                moved.end_day - moved.first_day >= moved.day_count - 1
                and utc_day = moved.first_day
                and max_timestamp > cast(moved.first_day as timestamp) at time zone 'UTC'
        ) as changes
        group by grouping sets ((streamer_id, event_type), (streamer_id))
        on conflict (day_count, event_type, streamer_id) do update
            set event_count = known.event_count + excluded.event_count;
        delete from archived_windows where day_count = moved.day_count and event_count = 0;

        update archived_window_spans
        set
            first_day = greatest(moved.first_day, moved.end_day + 1 - (moved.day_count - 1)),
            end_day = moved.end_day + 1
        where day_count = moved.day_count;
        is_moved := true;
    end loop;
    return is_moved;
end
$$;
