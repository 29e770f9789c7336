-- Drops the partition that ends at upper_bound, if it is sealed. That locks all of
-- events for a moment, and everybody else queues behind whoever waits for that lock, hence the timeout: then
-- call it again.
create or replace function drop_events_partition(upper_bound timestamptz) returns void
language plpgsql
set lock_timeout = '100ms'
as $$
declare
    partition constant text := 'events_' || extract(epoch from upper_bound)::bigint;
begin
    if upper_bound > (select archived_until from watermark) then
        raise 'partition % is not sealed', partition;
    end if;
    perform stop_autovacuum(partition);
    execute format('drop table %I', partition);
end
$$;
