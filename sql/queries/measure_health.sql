-- What may slow the store down: how many seconds the watermark is behind, the age in seconds of the oldest
-- open transaction, which reads or writes, and the dead rows of the totals in percent of the live ones.
select
    extract(epoch from clock_timestamp() - watermark.archived_until)::float8 as watermark_lag,
    (
        select coalesce(max(extract(epoch from clock_timestamp() - activity.xact_start)), 0)::float8
        from pg_stat_activity as activity
        where activity.backend_type = 'client backend' and activity.pid <> pg_backend_pid()
    ) as oldest_transaction,
    (
        select 100 * totals.n_dead_tup::float8 / greatest(totals.n_live_tup, 1000)
        from pg_stat_user_tables as totals
        where totals.relid = 'archived_totals'::regclass
    ) as dead_totals
from watermark
