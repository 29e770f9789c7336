delete from seen_events
where seen_at < now() - make_interval(secs => %(age_seconds)s)
