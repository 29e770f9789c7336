-- Archives the counts of the closed partition that ends at upper_bound, as far as they are not archived yet,
-- and raises the watermark to its end. Returns the number of events; null if somebody else is archiving or
-- the partition is sealed already.
create or replace function seal_events_partition(upper_bound timestamptz) returns bigint
language plpgsql
as $$
declare
    partition constant text := 'events_' || extract(epoch from upper_bound)::bigint;
    archived_before timestamptz;
begin
    select archived_until into archived_before from watermark
    where archived_until < upper_bound
    for update skip locked;
    if not found then
        return null;
    end if;
    if not exists (select from pg_trigger where tgrelid = partition::regclass and tgname = 'closed') then
        raise 'partition % must be closed before it is sealed', partition;
    end if;
    if exists (
        select from events_partitions as earlier
        where
            earlier.upper_bound > archived_before
            and earlier.upper_bound < seal_events_partition.upper_bound
    ) then
        raise 'a partition before % is not sealed yet', partition;
    end if;

    return archive_counts(upper_bound, upper_bound);
end
$$;
