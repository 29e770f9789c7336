with parts as (
    delete from exported_parts
    where upper_bound <= %(upper_bound)s
)

delete from streamer_partitions
where upper_bound <= %(upper_bound)s
