-- Deletes at most so many events of a streamer whose erasure has begun and not ended, and returns how many;
-- the next call goes on.
create or replace function erase_events(erased_id text, most bigint) returns bigint
language plpgsql
as $$
declare
    erased bigint := 0;
    found_here bigint;
    partition_end timestamptz;
begin
    -- Nobody else ends the erasure meanwhile: what is recorded afterwards stays.
    perform from erased_streamers where streamer_id = erased_id and erased_until = 'infinity' for update;
    if not found then
        return 0;
    end if;
    for partition_end in
        select upper_bound
        from events_partitions
        where
            upper_bound > (select archived_until from watermark)
            or upper_bound in (select upper_bound from streamer_partitions where streamer_id = erased_id)
    loop
        execute format(
            'delete from %1$I where ctid = any(array(select ctid from %1$I where streamer_id = $1 limit $2))',
            'events_' || extract(epoch from partition_end)::bigint
        )
        using erased_id, most - erased;
        get diagnostics found_here = row_count;
        erased := erased + found_here;
        exit when erased = most;
        delete from streamer_partitions where streamer_id = erased_id and upper_bound = partition_end;
    end loop;
    return erased;
end
$$;
