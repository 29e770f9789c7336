-- The pages of a partition's table, and its parts that are exported.
select
    pg_relation_size(%(name)s::regclass) / current_setting('block_size')::bigint as pages,
    (
        select
            coalesce(
                json_agg(
                    json_build_object('first_page', first_page, 'rows', event_count, 'sha256', sha256)
                    order by first_page
                ),
                '[]'
            )
        from exported_parts
        where upper_bound = %(upper_bound)s
    ) as parts
