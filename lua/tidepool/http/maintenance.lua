--- POST /api/db/maintenance: work on the tables of the database, for whoever knows the token.
--
-- Each action works on the tables of which the role is an owner, one after the other, beside the application: nothing
-- that it does keeps others from reading and writing, and a lock that does not come within some seconds is given up.
-- @module tidepool.http.maintenance
local answer = require "tidepool.http.answer"
local core = require "tidepool.core"
local performance = require "tidepool.http.performance"

local M = {}

local BODY_AT_MOST = 4096

-- Of all programs that do this in one database, one at a time.
local LOCK = "hashtextextended('tidepool.maintenance', 0)"

local TABLES = [[
select n.nspname as schema, c.relname as name, c.relkind = 'p' as partitioned
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'm', 'p') and c.relpersistence <> 't' and pg_has_role(c.relowner, 'usage')
    and n.nspname <> 'information_schema' and n.nspname !~ '^pg_'
order by 1, 2]]

-- Indexes that an attempt to build them has left invalid, and B-trees that take more than twice the pages that their
-- entries need: those are reckoned from the number of entries and the average width of their columns (pg_stats), 16
-- bytes of overhead for each entry, and pages that are 90 % full. Small ones are not worth it. REINDEX CONCURRENTLY
-- leaves its own invalid ones under names that end in _ccnew and _ccold, which are for people to drop.
local INDEXES = [[
with size as (
    select c.oid, c.relpages, c.reltuples, sum(coalesce(s.avg_width, nullif(a.attlen, -1), 32)) as width
    from pg_index i join pg_class c on c.oid = i.indexrelid
        join pg_am m on m.oid = c.relam and m.amname = 'btree'
        join pg_attribute a on a.attrelid = c.oid
        join pg_class t on t.oid = i.indrelid join pg_namespace tn on tn.oid = t.relnamespace
        left join pg_attribute ta on ta.attrelid = t.oid and ta.attnum = i.indkey[a.attnum - 1] and ta.attnum > 0
        left join pg_stats s on s.schemaname = tn.nspname and s.tablename = t.relname and s.attname = ta.attname
    where c.relkind = 'i' and c.relpages > 128 and c.reltuples >= 0
    group by 1, 2, 3)
select n.nspname as schema, c.relname as name, t.relname as "table", i.indisvalid as valid,
    case when not c.oid = ]] .. performance.LOCKED .. [[ then pg_relation_size(c.oid) end as bytes
from pg_index i join pg_class c on c.oid = i.indexrelid join pg_class t on t.oid = i.indrelid
    join pg_namespace n on n.oid = c.relnamespace left join size z on z.oid = c.oid
where c.relkind = 'i' and not i.indisexclusion and t.relpersistence <> 't' and pg_has_role(c.relowner, 'usage')
    and n.nspname <> 'information_schema' and n.nspname !~ '^pg_' and c.relname !~ '_cc(new|old)[0-9]*$'
    and (not i.indisvalid
        or z.relpages > 2 * (1 + z.reltuples * (z.width + 16) / (0.9 * current_setting('block_size')::int)))
order by 1, 2]]

-- ---------------------------------------------------------------- the work

local function qualified(entry)
    return core.quote_identifier(entry.schema) .. "." .. core.quote_identifier(entry.name)
end

-- Runs one statement and notes what came of it. Whether the connection may go on is returned.
local function run(work, sql, entry)
    local began = core.now()
    local done, err = work.conn:exec { sql, timeout_ms = work.timeout_ms }
    entry.status = done and "done" or "failed"
    entry.error = err and err.message
    entry.durationMs = answer.ms(core.now() - began)
    work.failed = work.failed + (done and 0 or 1)
    work.list[#work.list + 1] = entry
    work.stopped = err ~= nil and err.code == nil -- no answer of the server's
    return not work.stopped
end

local function each_table(work, command, filter)
    local tables, err = work.conn:query(TABLES)
    if not tables then
        return nil, err
    end
    for _, found in ipairs(tables) do
        if not (filter and filter(found))
            and not run(work, command .. " " .. qualified(found), { table = found.schema .. "." .. found.name }) then
            break
        end
    end
    return true
end

local actions = {}

function actions.analyzeTables(work)
    return each_table(work, "analyze")
end

local function is_partitioned(found)
    return found.partitioned -- its partitions are vacuumed as the tables that they are
end

function actions.vacuumTables(work)
    return each_table(work, "vacuum (analyze)", is_partitioned)
end

-- First the tables, since what is known of the indexes is old until then.
function actions.optimizeStorage(work)
    local done, err = each_table(work, "vacuum (analyze)", is_partitioned)
    if not done or work.stopped then
        return done, err
    end
    local indexes
    indexes, err = work.conn:query(INDEXES)
    if not indexes then
        return nil, err
    end
    for _, found in ipairs(indexes) do
        local entry = {
            table = found.schema .. "." .. found.table, index = found.schema .. "." .. found.name,
            bytesBefore = found.bytes, wasValid = found.valid,
        }
        local good = run(work, "reindex index concurrently " .. qualified(found), entry)
        if not good then
            break
        end
        if entry.status == "done" then
            entry.bytesAfter = work.conn:value("select pg_relation_size(to_regclass($1))", qualified(found))
        end
    end
    return true
end

-- An entry of `indexes`: {name =, on = "users (email)", unique = true or nil, where = nil or a condition}.
local function index_sql(entry)
    return ("create %sindex concurrently if not exists %s on %s%s"):format(entry.unique and "unique " or "",
        core.quote_identifier(entry.name), entry.on, entry.where and " where " .. entry.where or "")
end

-- An index is in the schema of its table; that of another schema may have the same name.
local EXISTS = [[select bool_and(i.indisvalid) from pg_index i join pg_class c on c.oid = i.indexrelid
    where c.relname = $1 and c.relkind in ('i', 'I')
    and coalesce(c.relnamespace = (select relnamespace from pg_class where oid = to_regclass($2)), true)]]

-- The table of "users (email)" and "only app.users using gin (tags)".
local function table_of(on)
    return (on:gsub("^%s*[oO][nN][lL][yY]%s+", ""):gsub("%s*%(.*$", ""):gsub("%s+[uU][sS][iI][nN][gG]%s.*$", ""))
end

function actions.createIndexes(work)
    for _, index in ipairs(work.indexes) do
        local valid, err = work.conn:value(EXISTS, index.name, table_of(index.on))
        if err then
            return nil, err
        end
        local entry = { index = index.name, on = index.on }
        if valid ~= nil then
            entry.status, entry.durationMs = valid and "exists" or "invalid", 0
            entry.error = not valid and "an earlier attempt has failed; optimizeStorage builds it anew" or nil
            work.list[#work.list + 1] = entry
        elseif not run(work, index_sql(index), entry) then
            break
        end
    end
    return true
end

local function names()
    local list = {}
    for name in pairs(actions) do
        list[#list + 1] = name
    end
    table.sort(list)
    return table.concat(list, ", ")
end

local function message_of(work, action)
    if action == "createIndexes" and #work.indexes == 0 then
        return "the application names no indexes (option indexes)"
    end
    local count = #work.list - work.failed
    return ("%s: %d done%s%s"):format(action, count, work.failed > 0 and (", %d failed"):format(work.failed) or "",
        work.stopped and ", stopped before its end" or "")
end

-- ------------------------------------------------------------- around it

-- The session's own limits would end what has to take its time, and a lock that is waited for holds up those behind.
local BEFORE = "set statement_timeout = 0; set lock_timeout = '10s'; set idle_in_transaction_session_timeout = 0"
local AFTER = "reset statement_timeout; reset lock_timeout; reset idle_in_transaction_session_timeout; "
    .. "select pg_advisory_unlock(" .. LOCK .. ")"

local function fail(err)
    return answer.failure(503, "the database cannot do it now: " .. err.kind, { ["retry-after"] = "1" })
end

local function work_on(conn, action, options)
    local mine, err = conn:value("select pg_try_advisory_lock(" .. LOCK .. ")")
    if mine == nil then
        return fail(err)
    elseif not mine then
        return answer.failure(409, "maintenance is under way already", { ["retry-after"] = "60" })
    end
    local began = core.now()
    local work = {
        conn = conn, list = core.array {}, failed = 0, stopped = false, indexes = options.indexes or {},
        timeout_ms = options.maintenance_timeout_ms or 3600000,
    }
    local done
    done, err = conn:script(BEFORE)
    if done then
        done, err = actions[action](work)
    end
    if work.stopped or not conn:script(AFTER) then
        conn:discard() -- with it its lock
    end
    if not done then
        return fail(err)
    end
    return answer.json(work.failed > 0 and 500 or 200, {
        action = action, status = work.failed > 0 and "failed" or "completed", timestamp = answer.timestamp(),
        durationMs = answer.ms(core.now() - began), message = message_of(work, action), results = work.list,
    })
end

-- A page of another site that a browser shows must not be able to send this. Browsers say where a page is from.
local function is_foreign(headers)
    local origin = headers.origin
    if not origin then
        return false
    end
    local host = origin:match "^%a[%w+.-]*://([^/]+)$"
    return not host or host:lower() ~= (headers.host or ""):lower()
end

-- What keeps a request from being done: nothing, or the answer to it.
local function refuse(request, options)
    local headers = request.headers
    if not options.token or options.token == "" then
        return { answer.failure(403, "maintenance is off: the service has no token (option token)") }
    elseif is_foreign(headers) then
        return { answer.failure(403, "requests from another origin are not taken") }
    end
    local given = (headers.authorization or ""):match "^[Bb][Ee][Aa][Rr][Ee][Rr] +(%S+) *$"
    if not given or not core.same_secret(given, options.token) then
        return { answer.failure(401, "the token is missing or wrong (Authorization: Bearer ...)",
            { ["www-authenticate"] = 'Bearer realm="tidepool"' }) }
    end
    return nil
end

--- POST /api/db/maintenance
function M.handle(db, request, options)
    local refused = refuse(request, options)
    if refused then
        return refused[1], refused[2], refused[3]
    end
    local body = request.body or ""
    if #body > BODY_AT_MOST then
        return answer.failure(413, ("the body is longer than %d bytes"):format(BODY_AT_MOST))
    end
    local value = core.json_decode(body)
    local action = type(value) == "table" and value.action
    if not actions[type(action) == "string" and action] then
        return answer.failure(400, "a JSON object with an action is needed, one of " .. names())
    end
    local status, headers, text = db:with(function(conn) return work_on(conn, action, options) end,
        options.health_timeout_ms or 2000)
    if not status then
        return fail(headers) -- the error of acquire
    end
    return status, headers, text
end

M.BODY_AT_MOST = BODY_AT_MOST

return M
