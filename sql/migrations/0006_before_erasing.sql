create or replace function refuse_closed_partition() returns trigger
language plpgsql
as $$
begin
    if tg_op = 'DELETE' and current_setting('fanfare.erasing', true) = 'on' then
        return old;
    end if;
    raise check_violation using
        message = format('partition %I is closed', tg_table_name),
        hint = 'Record the event again: it then falls into the present partition.';
end
$$;

-- Removes whatever is stored of a streamer, counts included. Answers with the number of events removed.
create function erase_streamer(erased_id text) returns bigint
language plpgsql
as $$
declare
    erased bigint;
begin
    perform from watermark for update;
    perform set_config('fanfare.erasing', 'on', true);
    with gone as (
        delete from events where streamer_id = erased_id
        returning id
    ),

    forgotten as (
        delete from seen_events where id in (select id from gone)
    )

    select count(*) into erased from gone;
    perform set_config('fanfare.erasing', 'off', true);
    delete from archived_events where streamer_id = erased_id;
    delete from archived_totals where streamer_id = erased_id;
    delete from streamers where streamer_id = erased_id;
    return erased;
end
$$;
