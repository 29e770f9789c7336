-- The time for the events of a batch: this database's clock, but never before what announce_archiving has
-- announced. After a failover the clock may be behind that; until it has caught up each batch gets a
-- millisecond more than the one before, so that events keep their order.
create or replace function present_stamp() returns timestamptz
language plpgsql
as $$
declare
    present constant timestamptz := clock_timestamp();
    announced constant timestamptz := (select archiving_until from watermark);
begin
    if present > announced + (select last_value from stamps_ahead) * interval '1 millisecond' then
        return present;
    end if;
    return announced + nextval('stamps_ahead') * interval '1 millisecond';
end
$$;
