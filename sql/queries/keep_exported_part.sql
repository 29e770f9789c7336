insert into exported_parts (upper_bound, first_page, event_count, sha256)
values (%(upper_bound)s, %(first_page)s, %(rows)s, %(sha256)s)
on conflict (upper_bound, first_page) do update
    set
        event_count = excluded.event_count,
        sha256 = excluded.sha256
