-- Lets nobody write any more into the partition that ends at upper_bound, so that its counts are final.
-- "create trigger" waits for the transactions that have written into it; reads, and writes into other
-- partitions, go on. Writes into this one queue behind it meanwhile, hence the timeout: then call it again.
create or replace function close_events_partition(upper_bound timestamptz) returns void
language plpgsql
set lock_timeout = '500ms'
as $$
declare
    partition constant text := 'events_' || extract(epoch from upper_bound)::bigint;
begin
    if upper_bound > clock_timestamp() then
        raise 'partition % still takes events', partition;
    end if;
    if not exists (select from pg_trigger where tgrelid = partition::regclass and tgname = 'closed') then
        execute format(
            'create or replace trigger closed before insert or update or delete on %I '
            'for each row execute function refuse_closed_partition()',
            partition
        );
    end if;
end
$$;
