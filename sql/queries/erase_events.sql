select erase_events(%(streamer_id)s, %(most)s) as erased
