select
    message_id,
    body
from dead_letters
order by refused_at
