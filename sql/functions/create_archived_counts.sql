-- Creates the table of archived counts of the partition that ends at upper_bound, if it does not exist.
create or replace function create_archived_counts(upper_bound timestamptz) returns void
language plpgsql
as $$
declare
    counts constant text := 'archived_events_' || extract(epoch from upper_bound)::bigint;
begin
    if to_regclass(counts) is null then
        execute format(
            'create table %I (like archived_events including indexes) with (fillfactor = 70)', counts
        );
        execute format(
            'alter table archived_events attach partition %I for values in (%L)', counts, upper_bound
        );
    end if;
end
$$;
