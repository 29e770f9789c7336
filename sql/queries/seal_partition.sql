select seal_events_partition(%(upper_bound)s) as event_count
