-- Deletes everything stored of a streamer, counts included. Returns the number of events deleted.
create or replace function erase_streamer(erased_id text) returns bigint
language plpgsql
as $$
declare
    erased bigint;
begin
    perform from watermark for update;
    perform set_config('fanfare.erasing', 'on', true);
    with deleted as (
        delete from events where streamer_id = erased_id
        returning id
    ),

    forgotten as (
        delete from seen_events where id in (select id from deleted)
    ),

    forgotten_before as (
        delete from seen_events_before where id in (select id from deleted)
    )

    select count(*) into erased from deleted;
    perform set_config('fanfare.erasing', 'off', true);
    delete from archived_events where streamer_id = erased_id;
    delete from archived_totals where streamer_id = erased_id;
    delete from archived_leaders where streamer_id = erased_id;
    delete from streamers where streamer_id = erased_id;
    return erased;
end
$$;
