--- What the server says of itself: for `stats`, `top` and `health`.
-- @module tidepool.cli.server
local M = {}

local SERVER = [[
select current_setting('server_version') as version, pg_is_in_recovery() as in_recovery,
    extract(epoch from clock_timestamp() - pg_postmaster_start_time())::float8 as uptime_s,
    current_setting('max_connections')::int as max_connections, current_database() as database,
    current_user as "user"]]

-- Client connections to all databases, as far as the role may see their states.
local CONNECTIONS = [[
select count(*) as total, count(*) filter (where state = 'active') as active,
    count(*) filter (where state = 'idle') as idle,
    count(*) filter (where state like 'idle in transaction%') as idle_in_transaction,
    count(*) filter (where wait_event_type = 'Lock') as waiting_for_locks,
    coalesce(extract(epoch from max(clock_timestamp() - xact_start)), 0)::float8 as longest_transaction_s
from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()]]

local DATABASE = [[
select pg_database_size(datid) as size_bytes, xact_commit as commits, xact_rollback as rollbacks,
    (blks_hit::float8 / nullif(blks_hit + blks_read, 0)) as cache_hit_ratio, tup_fetched as rows_fetched,
    tup_inserted as rows_inserted, tup_updated as rows_updated, tup_deleted as rows_deleted, deadlocks,
    conflicts, temp_bytes
from pg_stat_database where datname = current_database()]]

-- The question of who blocks whom takes the locks of the lock table, so it is asked of those only who wait.
local BACKENDS = [[
select pid, usename as "user", datname as database, application_name as application, host(client_addr) as client, state,
    wait_event_type, wait_event,
    case when wait_event_type = 'Lock' then pg_blocking_pids(pid) else '{}' end as blocked_by,
    extract(epoch from clock_timestamp() - case when state = 'active' then query_start else state_change end)::float8
        as state_age_s,
    extract(epoch from clock_timestamp() - xact_start)::float8 as transaction_age_s,
    query
from pg_stat_activity
where backend_type = 'client backend' and pid <> pg_backend_pid() and ($1 or state is distinct from 'idle')
order by (state = 'active') desc nulls last, (state like 'idle in%') desc nulls last, state_age_s desc nulls last, pid]]

-- Where the extension pg_stat_statements is, if it is there.
local EXTENSION = [[
select quote_ident(n.nspname) from pg_extension e join pg_namespace n on n.oid = e.extnamespace
where e.extname = 'pg_stat_statements']]

-- Before PostgreSQL 13 the columns had other names.
local STATEMENTS = [[
select query, calls, rows, %s as total_ms, %s as mean_ms from %s.pg_stat_statements
where dbid = (select oid from pg_database where datname = current_database())
order by 4 desc limit $1]]

--- The server, its connections and the database.
-- @return {server =, connections =, database =}, or nil and an error
function M.figures(db)
    local answers, err = db:pipeline(function(p)
        p:one(SERVER)
        p:one(CONNECTIONS)
        p:one(DATABASE)
    end)
    if not answers then
        return nil, err
    end
    return { server = answers[1], connections = answers[2], database = answers[3] }
end

--- The client backends, those that work first.
-- @param all also those that are idle
function M.backends(db, all)
    return db:query(BACKENDS, all or false)
end

--- The statements that took most time by pg_stat_statements.
-- @return a list; nil where the extension is not to be had; nil and an error
function M.statements(db, limit)
    local schema, err = db:value(EXTENSION)
    if not schema then
        return nil, err
    end
    local version = db:value "select current_setting('server_version_num')::int"
    local names = version and version < 130000 and { "total_time", "mean_time" }
        or { "total_exec_time", "mean_exec_time" }
    local rows, why = db:query(STATEMENTS:format(names[1], names[2], schema), limit)
    if not rows and (why.code == "55000" or why.code == "42501") then -- not loaded, or not for this role
        return nil
    end
    return rows, why
end

return M
