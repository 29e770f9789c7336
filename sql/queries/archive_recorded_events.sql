select archive_recorded_events() as event_count
