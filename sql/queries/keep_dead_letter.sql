insert into dead_letters (message_id, body, reason)
values (%(message_id)s, %(body)b, %(reason)s)
on conflict do nothing
