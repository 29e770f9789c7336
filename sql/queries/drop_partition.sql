select drop_events_partition(%(upper_bound)s)
