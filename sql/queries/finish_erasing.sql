select finish_erasing(%(streamer_id)s)
