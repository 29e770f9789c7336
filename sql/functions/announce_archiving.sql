-- The first step of archiving counts: chooses the time until which events are counted next, and announces it.
-- Commit it before archive_counts. Events that are recorded from then on come at or after that time
-- (present_stamp); why: docs/history.md.
--
-- The time is a second ago, so that whoever is just recording is not refused; at most "most" after the
-- watermark, so that the next step takes a short time; and at most the end of the oldest partition that is
-- not sealed. With only_ended, a partition that has not ended is left alone. The state is "more" or "last",
-- as another step can follow at once or not, "done" if there is nothing to count, or "busy" if somebody else
-- is archiving.
create or replace function announce_archiving(
    most interval, only_ended boolean, out state text, out until timestamptz
)
language plpgsql
as $$
declare
    latest timestamptz := clock_timestamp() - interval '1 second';
    known watermark;
    partition_end timestamptz;
begin
    select * into known from watermark for update skip locked;
    if not found then
        state := 'busy';
        return;
    end if;
    select min(upper_bound) into partition_end from events_partitions where upper_bound > known.archived_until;
    if latest < known.archiving_until then
        -- The clock is behind: take present_stamp's last time.
        select known.archiving_until + last_value * interval '1 millisecond' into latest from stamps_ahead;
    end if;
    latest := least(latest, partition_end);
    if latest <= known.archived_until or partition_end is null or (only_ended and latest < partition_end) then
        state := 'done';
        return;
    end if;

    until := least(latest, known.archived_until + most);
    state := case when until = latest and latest < partition_end then 'last' else 'more' end;
    if until > known.archiving_until then
        update watermark set archiving_until = until;
        perform setval('stamps_ahead', 1, false);
    end if;
end
$$;
