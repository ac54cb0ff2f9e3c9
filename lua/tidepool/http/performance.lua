--- What the server itself counts: of the database, its largest tables and indexes, and indexes that nothing has used.
-- @module tidepool.http.performance
local core = require "tidepool.core"

local M = {}

local DEFAULT_TIMEOUT_MS = 2000

local MOMENT = [[to_char(%s at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')]]

local DATABASE = [[
select d.datname as "name", pg_database_size(d.datid) as "sizeBytes", d.numbackends as "connections",
    current_setting('max_connections')::int as "maxConnections", d.xact_commit as "commits",
    d.xact_rollback as "rollbacks", d.blks_read as "blocksRead", d.blks_hit as "blocksHit",
    (d.blks_hit::float8 / nullif(d.blks_hit + d.blks_read, 0)) as "cacheHitRatio",
    d.tup_returned as "rowsReturned", d.tup_fetched as "rowsFetched", d.tup_inserted as "rowsInserted",
    d.tup_updated as "rowsUpdated", d.tup_deleted as "rowsDeleted", d.deadlocks as "deadlocks",
    d.conflicts as "conflicts", d.temp_files as "tempFiles", d.temp_bytes as "tempBytes",
    ]] .. MOMENT:format "d.stats_reset" .. [[ as "statsReset", current_setting('server_version') as "serverVersion"
from pg_stat_database d where d.datname = current_database()]]

--- To take a size the server waits for the relation's lock, so it is not taken of what somebody has locked exclusively
-- (ALTER TABLE, VACUUM FULL, REINDEX) or waits to: an oid is "= " this.
M.LOCKED = [[any (array(select relation from pg_locks where locktype = 'relation' and mode = 'AccessExclusiveLock'
    and database = (select oid from pg_database where datname = current_database())))]]

-- The size of an index, or null.
local INDEX_BYTES = "case when not s.indexrelid = " .. M.LOCKED
    .. " then pg_relation_size(s.indexrelid) end as \"bytes\""

-- The size of a relation is a look at its files; the server takes it behind the limit, of those that are shown only.
local TABLES = [[
select s.schemaname || '.' || s.relname as key, case when not s.relid = ]] .. M.LOCKED .. [[ and not exists (
        select from pg_index i where i.indrelid = s.relid and i.indexrelid = ]] .. M.LOCKED .. [[)
    then pg_total_relation_size(s.relid) end as "totalBytes",
    s.n_live_tup as "liveRows", s.n_dead_tup as "deadRows", s.seq_scan as "sequentialScans",
    s.seq_tup_read as "sequentialRowsRead", coalesce(s.idx_scan, 0) as "indexScans",
    s.n_tup_ins as "rowsInserted", s.n_tup_upd as "rowsUpdated", s.n_tup_del as "rowsDeleted",
    ]] .. MOMENT:format "greatest(s.last_vacuum, s.last_autovacuum)" .. [[ as "lastVacuum",
    ]] .. MOMENT:format "greatest(s.last_analyze, s.last_autoanalyze)" .. [[ as "lastAnalyze"
from pg_stat_user_tables s join pg_class c on c.oid = s.relid
order by c.relpages desc, s.schemaname, s.relname limit 100]]

local INDEXES = [[
select s.schemaname || '.' || s.indexrelname as key, s.relname as "table", ]] .. INDEX_BYTES .. [[,
    s.idx_scan as "scans", s.idx_tup_read as "rowsRead", s.idx_tup_fetch as "rowsFetched",
    i.indisunique as "unique", i.indisvalid as "valid"
from pg_stat_user_indexes s join pg_index i on i.indexrelid = s.indexrelid join pg_class c on c.oid = s.indexrelid
order by c.relpages desc, s.schemaname, s.indexrelname limit 100]]

-- An index that keeps a rule is of use without ever being read.
local UNUSED = [[
select s.schemaname as "schema", s.relname as "table", s.indexrelname as "index",
    ]] .. INDEX_BYTES .. [[

from pg_stat_user_indexes s join pg_index i on i.indexrelid = s.indexrelid join pg_class c on c.oid = s.indexrelid
where s.idx_scan = 0 and not i.indisunique and not i.indisexclusion and i.indisvalid
order by c.relpages desc, s.schemaname, s.indexrelname limit 100]]

-- {[key] = row} of rows with a key.
local function by_key(rows)
    local object = {}
    for _, row in ipairs(rows) do
        local fields = {}
        for name, value in pairs(row) do
            if name ~= "key" then
                fields[name] = value
            end
        end
        object[row.key] = fields
    end
    return object
end

local function list(rows)
    local copy = core.array {}
    for i, row in ipairs(rows) do
        copy[i] = row
    end
    return copy
end

--- Asks the server, in one round trip.
-- @param timeout_ms how long it may take (2000)
-- @return {database =, tables =, indexes =, unusedIndexes =}, or nil and an error
function M.read(db, timeout_ms)
    local answers, err = db:pipeline(function(p)
        p:one { DATABASE, nulls = true }
        p:query { TABLES, nulls = true }
        p:query { INDEXES, nulls = true }
        p:query { UNUSED, nulls = true }
    end, { timeout_ms = timeout_ms or DEFAULT_TIMEOUT_MS })
    if not answers then
        return nil, err
    end
    return {
        database = answers[1], tables = by_key(answers[2]), indexes = by_key(answers[3]),
        unusedIndexes = list(answers[4]),
    }
end

return M
