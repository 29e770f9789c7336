-- Whose erasure has begun and not ended.
select streamer_id
from erased_streamers
where erased_until = 'infinity'
