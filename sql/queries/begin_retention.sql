select pg_try_advisory_lock(hashtext('retention')) as begun
