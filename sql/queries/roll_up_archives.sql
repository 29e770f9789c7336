select roll_up_archives(%(max_timestamps)s, %(keep_days)s) as done
