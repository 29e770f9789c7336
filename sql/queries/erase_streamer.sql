select erase_streamer(%(streamer_id)s) as erased
