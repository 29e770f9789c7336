-- The time in Unix seconds that the names of partitions end in.
create or replace function time_in_name(partition regclass) returns timestamptz
language sql
stable
return to_timestamp(substring(partition::text from '\d+$')::bigint);
