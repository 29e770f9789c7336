-- The trigger of a closed partition (see close_events_partition): refuses everything but erase_streamer.
create or replace function refuse_closed_partition() returns trigger
language plpgsql
as $$
begin
    if tg_op = 'DELETE' and current_setting('fanfare.erasing', true) = 'on' then
        return old;
    end if;
    raise check_violation using
        message = format('partition %I is closed', tg_table_name),
        hint = 'Record the event again: it then belongs to the present partition.';
end
$$;
