-- Trigger: refuses events before the time until which events are counted next; they might never be counted.
-- Once for each statement, because a trigger for each row would take longer than the insertion.
create or replace function refuse_before_watermark() returns trigger
language plpgsql
as $$
begin
    if exists (select from inserted where created_at < (select archiving_until from watermark)) then
        raise check_violation using
            message = 'events before the watermark are counted already',
            hint = 'Record the event again: it then gets a time after the watermark.';
    end if;
    return null;
end
$$;
