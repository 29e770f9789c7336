select close_events_partition(%(upper_bound)s)
