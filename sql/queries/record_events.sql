-- Records a batch in one round trip: the events not seen before, once each, in the order of the batch, with
-- this database's clock as created_at. Returns how many were new.
--
-- Rows are inserted in the order of their keys, and into seen_events before streamers, so that batches
-- recorded at the same time do not deadlock. What an erased streamer did before the erasure is left out.
-- Arrays are sent in binary (b): text would have to be quoted, which takes a recorder longer than everything
-- else.
with batch as (
    select
        unnest(%(ids)b::text[]) as id,
        unnest(%(streamer_ids)b::text[]) as streamer_id,
        unnest(%(streamer_names)b::text[]) as streamer_name,
        unnest(%(event_types)b::text[]) as event_type,
        unnest(%(occurred_ats)b::timestamptz[]) as occurred_at,
        unnest(%(payloads)b::text[])::jsonb as payload,
        generate_subscripts(%(ids)b::text[], 1) as batch_position
),

incoming as (
    select distinct on (batch.id) batch.*
    from batch
    left join erased_streamers as erased on batch.streamer_id = erased.streamer_id
    where erased.streamer_id is null or erased.erased_until < batch.occurred_at
    order by batch.id, batch.batch_position
),

fresh as (
    insert into seen_events (id)
    select incoming.id
    from incoming
    left join seen_events_before on incoming.id = seen_events_before.id
    where seen_events_before.id is null
    order by incoming.id
    on conflict do nothing
    returning id
),

-- One time for all events, taken after their IDs are inserted, which may have waited for another recorder.
present as (
    select present_stamp() as stamp
    from (select count(*) from fresh) as inserted
),

recorded as (
    insert into events (id, streamer_id, streamer_name, event_type, occurred_at, created_at, payload)
    select
        incoming.id,
        incoming.streamer_id,
        -- The known name, if the event tells none.
        coalesce(nullif(incoming.streamer_name, ''), streamers.streamer_name, '') as streamer_name,
        incoming.event_type,
        incoming.occurred_at,
        -- A microsecond apart, so that created_at keeps the order of the batch.
        present.stamp + incoming.batch_position * interval '1 microsecond' as created_at,
        incoming.payload
    from incoming
    inner join fresh on incoming.id = fresh.id
    left join streamers on incoming.streamer_id = streamers.streamer_id
    cross join present
    order by incoming.batch_position
),

named as (
    insert into streamers (streamer_id, streamer_name, named_at)
    select distinct on (incoming.streamer_id)
        incoming.streamer_id,
        incoming.streamer_name,
        incoming.occurred_at
    from incoming
    inner join fresh on incoming.id = fresh.id
    -- Only news about names: an upsert locks its row, and a busy streamer's batches would queue for it. A
    -- known name is news if another streamer had it in between.
    left join streamers as known
        on
            incoming.streamer_id = known.streamer_id
            and (
                (
                    incoming.streamer_name = known.streamer_name
                    and known.next_name is null
                    and not exists (
                        select from streamers as other
                        where other.streamer_name = known.streamer_name and other.named_at > known.named_at
                    )
                )
                or (
                    incoming.streamer_name = known.next_name
                    and incoming.occurred_at < known.next_named_at + interval '1 hour'
                )
            )
    where incoming.streamer_name != '' and known.streamer_id is null
    order by incoming.streamer_id asc, incoming.occurred_at desc
    on conflict (streamer_id) do update
        set
            streamer_name = case
                when excluded.streamer_name = streamers.next_name then streamers.next_name
                -- An ID, which the first event had in place of a name.
                when streamers.streamer_name !~ '\D' then excluded.streamer_name
                else streamers.streamer_name
            end,
            named_at = case
                when excluded.streamer_name = streamers.next_name then streamers.next_named_at
                when excluded.streamer_name = streamers.streamer_name or streamers.streamer_name !~ '\D'
                    then excluded.named_at
                else streamers.named_at
            end,
            next_name = case
                when streamers.streamer_name ~ '\D'
                    then nullif(nullif(excluded.streamer_name, streamers.streamer_name), streamers.next_name)
            end,
            next_named_at = excluded.named_at
        -- Neither late events nor an ID in place of a name rename anybody.
        where
        excluded.named_at > coalesce(streamers.next_named_at, streamers.named_at)
        and excluded.streamer_name ~ '\D'
        and (
            excluded.streamer_name is distinct from streamers.next_name
            or excluded.named_at >= streamers.next_named_at + interval '1 hour'
        )
)

select count(*) as recorded from fresh
