-- The role that functions sign in as, with an IAM token instead of a password. Harmless when repeated.
do $$
begin
    if not exists (select from pg_roles where rolname = 'fanfare') then
        create role fanfare login;
    end if;
    grant rds_iam to fanfare;
    -- What a connection through RDS Proxy starts with; one without it says more exactly what it wants.
    alter role fanfare set statement_timeout = '10s';
    alter role fanfare set timezone = 'UTC';
    grant connect, create, temporary on database fanfare to fanfare;
    grant usage, create on schema public to fanfare;
    -- To see for how long others' transactions are open. Not to be allowed to grant it is no reason to fail.
    begin
        grant pg_monitor to fanfare;
    exception when insufficient_privilege then
        raise notice 'pg_monitor was not granted';
    end;
end
$$
