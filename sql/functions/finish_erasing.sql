-- Deletes a streamer's counts and name, when all events are erased, and ends the erasure: events that occur
-- later are recorded again. Waits for whoever is archiving. Does nothing if somebody else has ended it.
create or replace function finish_erasing(erased_id text) returns void
language plpgsql
as $$
begin
    perform from watermark for update;
    perform from erased_streamers where streamer_id = erased_id and erased_until = 'infinity' for update;
    if not found then
        return;
    end if;
    -- What was archived in the meantime.
    perform erase_events(erased_id, 1000000);
    delete from streamer_partitions where streamer_id = erased_id;
    delete from archived_events where streamer_id = erased_id;
    delete from archived_totals where streamer_id = erased_id;
    delete from archived_windows where streamer_id = erased_id;
    delete from streamers where streamer_id = erased_id;
    update erased_streamers set erased_until = clock_timestamp() where streamer_id = erased_id;
end
$$;
