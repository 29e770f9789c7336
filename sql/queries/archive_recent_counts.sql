select archive_recent_counts() as event_count
