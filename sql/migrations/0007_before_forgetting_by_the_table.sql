-- Ids of deliveries are forgotten by the table, not by the row.

-- The ids before those. Recording looks into both tables and adds to the first one, which takes the place of
-- the second from time to time: ids are forgotten without a row being deleted. See forget_seen_events.
create table seen_events_before (like seen_events including all);

-- Since when ids are added to the present seen_events. One row.
create table seen_events_since (
    single boolean primary key default true check (single),
    since timestamptz not null
);

insert into seen_events_since (since) values (now());

-- Forgets the ids of deliveries that were seen at least so long ago, if it is time: those that are kept are
-- between one and two ages old. Waits for whoever is recording; who records meanwhile waits for it, hence the
-- timeout: then try again. Answers whether it did.
create function forget_seen_events(age interval) returns boolean
language plpgsql
set lock_timeout = '500ms'
as $$
begin
    update seen_events_since set since = clock_timestamp() where since <= clock_timestamp() - age;
    if not found then
        return false;
    end if;
    lock table seen_events in access exclusive mode;
    drop table seen_events_before;
    alter table seen_events rename to seen_events_before;
    alter index seen_events_pkey rename to seen_events_before_pkey;
    create table seen_events (like seen_events_before including all);
    return true;
end
$$;

-- Removes whatever is stored of a streamer, counts included. Answers with the number of events removed.
create or replace function erase_streamer(erased_id text) returns bigint
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
    ),

    forgotten_before as (
        delete from seen_events_before where id in (select id from gone)
    )

    select count(*) into erased from gone;
    perform set_config('fanfare.erasing', 'off', true);
    delete from archived_events where streamer_id = erased_id;
    delete from archived_totals where streamer_id = erased_id;
    delete from streamers where streamer_id = erased_id;
    return erased;
end
$$;
