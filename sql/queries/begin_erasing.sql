-- From now on nothing is recorded of this streamer.
insert into erased_streamers (streamer_id, erased_until)
values (%(streamer_id)s, 'infinity')
on conflict (streamer_id) do update set erased_until = excluded.erased_until
