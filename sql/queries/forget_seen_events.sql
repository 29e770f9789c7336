select forget_seen_events(%(age)s) as forgotten
