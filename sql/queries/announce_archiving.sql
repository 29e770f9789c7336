select
    state,
    until
from announce_archiving(%(most)s, %(only_ended)s)
