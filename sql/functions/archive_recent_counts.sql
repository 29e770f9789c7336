-- Archives the counts of what was recorded in the present partition up to a second ago. Returns the number of
-- events; null, for the caller to try again later, if somebody else is archiving, if a partition that has
-- ended must be sealed first, or if a transaction that writes stays open. Nobody waits for it. Why no event
-- is missed: docs/history.md.
create or replace function archive_recent_counts() returns bigint
language plpgsql
as $$
declare
    -- In this order: first the time, then the transaction ID.
    until constant timestamptz := clock_timestamp() - interval '1 second';
    transaction_id constant xid8 := pg_current_xact_id();
    archived_before timestamptz;
    partition_end timestamptz;
begin
    select archived_until into archived_before from watermark for update skip locked;
    if not found then
        return null;
    end if;
    select min(upper_bound) into partition_end from events_partitions where upper_bound > archived_before;
    if partition_end is null or until >= partition_end or until <= archived_before then
        return null;
    end if;

    for attempt in 1..100 loop
        if pg_snapshot_xmin(pg_current_snapshot()) >= transaction_id then
            return archive_counts(partition_end, until);
        end if;
        perform pg_sleep(0.01);
    end loop;
    return null;
end
$$;
