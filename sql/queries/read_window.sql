-- Which days are in the sums of a window, and the watermark.
select
    first_day,
    end_day,
    (select watermark.archived_until from watermark) as archived_until
from archived_window_spans
where day_count = %(days)s
