-- A partition below the watermark that was never counted is not dropped.

-- Drops the partition that ends at upper_bound, the counts of which are archived. That needs the whole table
-- for a moment, and who waits for it keeps everybody else waiting, hence the timeout: then try again.
create or replace function drop_events_partition(upper_bound timestamptz) returns void
language plpgsql
set lock_timeout = '100ms'
as $$
declare
    partition constant text := 'events_' || extract(epoch from upper_bound)::bigint;
begin
    if
        upper_bound > (select archived_until from watermark)
        -- One that was made by hand, for a time that is archived already.
        or not exists (select from pg_trigger where tgrelid = partition::regclass and tgname = 'closed')
    then
        raise 'partition % is not sealed', partition;
    end if;
    execute format('drop table %I', partition);
end
$$;
