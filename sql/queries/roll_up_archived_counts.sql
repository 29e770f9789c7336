select roll_up_archived_counts(%(max_timestamps)s, %(keep_days)s) as done
