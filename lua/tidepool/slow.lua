--- The slow queries of a database: the last ones, where the program made them, and their plans.
--
-- A plan is asked for on another connection, when one is idle, behind the back of the program: as a
-- task of its event loop, or where there is none after its later calls. The statement is never
-- executed for it.
-- @module tidepool.slow
local await = require "tidepool.await"
local compat = require "tidepool.compat"
local core = require "tidepool.core"
local events = require "tidepool.events"
local failure = require "tidepool.failure"

local M = { methods = {} }

local KEPT = 100
local PLAN_BYTES = 4000
-- How long a plan may take.
local PATIENCE_MS = 1000

--- Keeps a slow query; the oldest goes.
-- @param sql the beginning of its text
-- @return the entry
function M.note(state, call, sql)
    local list = state.slow or { first = 1, last = 0 }
    state.slow = list
    local entry = {
        time = call.time, query = sql, duration_ms = call.duration_ms, parameters = call.parameters, place = call.place,
    }
    list.last = list.last + 1
    list[list.last] = entry
    if list.last - list.first >= KEPT then
        list[list.first] = nil
        list.first = list.first + 1
    end
    return entry
end

-- ---------------------------------------------------------------------- plans

-- What the server plans. EXPLAIN of these executes nothing.
local planned = {
    select = true, insert = true, update = true, delete = true, merge = true, with = true, values = true, table = true,
}

local function is_planned(sql)
    local rest = sql:gsub("^[%s(;]+", "")
    while rest:find "^%-%-" or rest:find "^/%*" do
        local behind = rest:find "^%-%-" and rest:gsub("^%-%-[^\r\n]*", "") or rest:gsub("^/%*.-%*/", "")
        if behind == rest then
            return false
        end
        rest = behind:gsub("^[%s(;]+", "")
    end
    return planned[(rest:match "^%a+" or ""):lower()] == true
end

local function lines_of(rows, err)
    if not rows then
        return nil, err
    end
    local lines = {}
    for i, row in ipairs(rows) do
        lines[i] = row[1]
    end
    local plan = table.concat(lines, "\n")
    return #plan > PLAN_BYTES and plan:sub(1, PLAN_BYTES) .. "..." or plan
end

-- Servers before 16 plan a statement with parameters only once it is prepared. All of it is undone.
local function explain_prepared(tx, sql, parameters)
    local nulls = {}
    for i = 1, parameters do
        nulls[i] = "null"
    end
    local ok, err = tx:exec("set local plan_cache_mode = force_generic_plan")
    ok, err = ok and tx:exec("prepare tidepool_explain as " .. sql), err
    if not ok then
        return nil, err
    end
    local execute = ("explain (format text) execute tidepool_explain(%s)"):format(table.concat(nulls, ", "))
    local plan, why = lines_of(tx:query { execute, as = "arrays", timeout_ms = PATIENCE_MS })
    tx:exec "deallocate tidepool_explain"
    return plan, why
end

-- In a transaction that can only read, with deadlines, and rolled back.
local function plan_of(db, sql, parameters)
    local plan, why
    local _, err = db:transaction(function(tx)
        local said, failed = tx:value "show server_version_num"
        local version = tonumber(said)
        if not version then
            why = failed
            return nil, "undone"
        end
        if parameters == 0 then
            plan, why = lines_of(tx:query { "explain (format text) " .. sql, as = "arrays" })
        elseif version >= 160000 then
            plan, why = lines_of(tx:query { "explain (format text, generic_plan) " .. sql, as = "arrays" })
        else
            plan, why = explain_prepared(tx, sql, parameters)
        end
        return nil, "undone"
    end, { read_only = true, timeout_ms = 0, deadline_ms = PATIENCE_MS })
    return plan, why or err
end

local function finish(state, entry, sql, plan, err)
    entry.plan = plan
    state.logger:write(plan and "warning" or "info", plan and "plan of a slow query" or "no plan of a slow query", {
        sql = entry.query, place = entry.place, plan = plan,
        error = not plan and (type(err) == "table" and err.code or tostring(err)) or nil, bytes = #sql,
    })
end

-- The tasks that ask for plans.
local own = setmetatable({}, { __mode = "k" })

--- Whether the running task asks for a plan: what it has to wait for is no slow query of the program's.
function M.is_own()
    local co = compat.running()
    return co ~= nil and own[co] == true
end

--- Has a slow query explained, if it is its turn.
-- @param settings the log's: explain (percent) and db (weak)
-- @param entry of M.note: gets the field plan
function M.explain(state, settings, sql, parameters, entry)
    local db = settings.db[1]
    if settings.explain == 0 or state.explaining or not db or math.random(100) > settings.explain
        or not is_planned(sql) or db:stats().idle_connections == 0 then
        return
    end
    state.explaining = await.apart(db, function()
        own[compat.running()] = true
        local ok, plan, err = compat.pcall(plan_of, db, sql, parameters)
        finish(state, entry, sql, ok and plan or nil, ok and err or plan)
    end)
    events.watch(db, state)
end

--- Goes on with the plan that is under way, without waiting for more than some milliseconds.
function M.look(db, state)
    local task = state.explaining
    if task then
        state.explaining = nil -- what it asks is a query, too
        state.explaining = not task() and task or nil
        events.watch(db, state)
    end
end

-- The connection of a plan that is under way is waited for, since nobody else knows of it.
local function settled(name)
    local method = core.db_methods[name]
    M.methods[name] = function(db, ...)
        local ms = ...
        if ms ~= nil and type(ms) ~= "number" then
            failure.misuse("milliseconds expected, got %s", type(ms))
        end
        local state, deadline = db:_state(), core.now() + 2 * PATIENCE_MS
        while state.explaining and core.now() < deadline do
            M.look(db, state)
            core.sleep(1)
        end
        return method(db, ...)
    end
end

settled "drain"
settled "close"

--- db:slow_queries(): the last slow queries that this object has made, the latest first.
-- @return a list of {time, query, duration_ms, parameters, place, plan}
function M.methods.slow_queries(db)
    local state = db:_state()
    local list, out = state.slow, {}
    M.look(db, state)
    for i = list and list.last or 0, list and list.first or 1, -1 do
        local copy = {}
        for name, value in pairs(list[i]) do copy[name] = value end
        out[#out + 1] = copy
    end
    return out
end

return M
