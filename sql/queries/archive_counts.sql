select
    state,
    event_total
from archive_counts(%(until)s)
