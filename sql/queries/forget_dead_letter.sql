delete from dead_letters
where message_id = %(message_id)s
