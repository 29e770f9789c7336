select create_events_partition(%(lower_bound)s, %(upper_bound)s)
