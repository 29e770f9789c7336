-- Partitions whose events have been exported can be dropped.

-- Drops the partition that ends at upper_bound, the counts of which are archived. That needs the whole table
-- for a moment, and who waits for it keeps everybody else waiting, hence the timeout: then try again.
create function drop_events_partition(upper_bound timestamptz) returns void
language plpgsql
set lock_timeout = '100ms'
as $$
declare
    partition constant text := 'events_' || extract(epoch from upper_bound)::bigint;
begin
    if upper_bound > (select archived_until from watermark) then
        raise 'partition % is not sealed', partition;
    end if;
    execute format('drop table %I', partition);
end
$$;
