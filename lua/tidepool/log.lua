--- The log of a database: queries, slow queries, connections, warnings.
--
-- A sink is a function(level, message, fields); "stderr" writes lines to standard error, as text or
-- as JSON (log.format), and "ngx" to nginx's error log, which is the default there. A query is
-- logged with the first 200 characters of its text and the number of its parameters, and with
-- their values only where log.parameters says so.
-- @module tidepool.log
-- luacheck: std +ngx_lua
local core = require "tidepool.core"
local events = require "tidepool.events"
local json = require "tidepool.json_text"
local repeats = require "tidepool.repeats"
local slow = require "tidepool.slow"
local sorted_keys = require "tidepool.sorted_keys"
local tags = require "tidepool.tags"

local M = {}

local Logger = { __name = "tidepool.logger" }
Logger.__index = Logger

local function timestamp(seconds)
    local whole = math.floor(seconds)
    return os.date("!%Y-%m-%dT%H:%M:%S", whole) .. "Z"
end

-- --------------------------------------------------------------------- lines

local function one_line(value)
    if type(value) == "table" then
        return json.encode(value)
    end
    return (tostring(value):gsub("[%s%c]+", " "))
end

local function text_of(level, message, fields)
    local parts = { "tidepool", level .. ":", one_line(message) }
    for _, name in ipairs(sorted_keys(fields)) do
        parts[#parts + 1] = ("%s=%s"):format(name, one_line(fields[name]))
    end
    return table.concat(parts, " ")
end

local function json_of(level, message, fields)
    local parts = {
        json.pair("time", timestamp(os.time())), json.pair("level", level), json.pair("message", message),
    }
    for _, name in ipairs(sorted_keys(fields)) do
        if name ~= "timestamp" then
            parts[#parts + 1] = json.pair(name, fields[name])
        end
    end
    return "{" .. table.concat(parts, ",") .. "}"
end

-- --------------------------------------------------------------------- sinks

local formats = {}

function formats.text(level, message, fields)
    return timestamp(os.time()) .. " " .. text_of(level, message, fields)
end

formats.json = json_of

local function to_stderr(format)
    local line_of = formats[format]
    return function(level, message, fields)
        io.stderr:write(line_of(level, message, fields), "\n")
    end
end

-- nginx writes the time itself.
local function to_nginx(format)
    local line_of = format == "json" and json_of or text_of
    local levels = { error = ngx.ERR, warning = ngx.WARN, info = ngx.INFO }
    return function(level, message, fields)
        ngx.log(levels[level] or ngx.NOTICE, line_of(level, message, fields))
    end
end

local function is_in_nginx()
    local found = rawget(_G, "ngx")
    return type(found) == "table" and type(found.log) == "function" and found.ERR ~= nil
end

local function sink_of(db, given)
    local name, format = db:option "log.sink", db:option "log.format"
    if given then
        return given
    elseif is_in_nginx() and name ~= "stderr" then
        return to_nginx(format)
    end
    return to_stderr(format)
end

--- Writes one entry. A sink that raises an error loses the entry, nothing else.
function Logger:write(level, message, fields)
    pcall(self.sink, level, message, fields or {})
end

-- ------------------------------------------------------------------- queries

--- The first 200 characters of a text, whatever their length in UTF-8.
function M.excerpt(sql)
    if #sql <= 200 then
        return sql
    end
    local characters = 0
    for at in sql:sub(1, 804):gmatch("()[^\128-\191]") do
        characters = characters + 1
        if characters > 200 then
            return sql:sub(1, at - 1)
        end
    end
    return sql:sub(1, 800)
end

-- What went wrong in words that cannot hold a value: the server's messages quote them.
local function outline(err)
    if not err.code then
        return err.kind
    end
    return ("%s %s (%s)"):format(err.kind, err.code, err.constraint or err.name or "")
end

local VALUE_BYTES = 200

local function shown(value)
    if value == nil or value == core.null then
        return core.null
    elseif type(value) == "string" then
        return #value > VALUE_BYTES and value:sub(1, VALUE_BYTES) .. "..." or value
    elseif type(value) == "number" or type(value) == "boolean" then
        return value
    end
    return type(value)
end

local function shown_values(params)
    local values = {}
    for i = 1, params.n do
        values[i] = shown(params[i])
    end
    return values
end

-- What of a call is written.
local function fields_of(call)
    return {
        sql = M.excerpt(call.sql),
        parameters = call.parameters,
        values = call.values,
        duration_ms = call.duration_ms,
        rows = call.rows,
        error = call.error and outline(call.error) or nil,
        place = call.place,
        tags = call.tags,
        timestamp = timestamp(os.time()),
    }
end

-- The table of a call, which handlers get at its start and its end: with room for all that it will have.
local function new_call(sql, parameters)
    return {
        event = "query_start", sql = sql, parameters = parameters, span = {}, time = os.time(),
        tags = nil, duration_ms = nil, rows = nil, command = nil, error = nil,
    }
end

local function on_start(state, settings)
    return function(sql, parameters, params, own_tags, key)
        local call = new_call(sql, parameters)
        call.tags = own_tags or tags.of(state, key)
        if settings.parameters and params then
            call.values = shown_values(params)
        end
        events.emit(state, "query_start", call)
        return call
    end
end

local function on_slow(state, settings, call, whole)
    call.place = core.place()
    state.logger:write("warning", "slow query", fields_of(call))
    local entry = slow.note(state, call, M.excerpt(call.sql))
    events.emit(state, "slow", {
        event = "slow", sql = call.sql, parameters = call.parameters, duration_ms = call.duration_ms, rows = call.rows,
        error = call.error, place = call.place, time = call.time,
    })
    if whole and not call.error then
        slow.explain(state, settings, call.sql, call.parameters, entry)
    end
end

local function on_query(state, settings)
    return function(sql, parameters, duration_ms, err, call, rows, command, whole)
        local explaining = state.explaining -- a plan of an earlier query, so that nobody waits for that of his own
        call = call or new_call(sql, parameters)
        call.event, call.duration_ms, call.rows = "query_end", math.floor(duration_ms * 1000 + 0.5) / 1000, rows
        call.command, call.error = command, err
        if settings.repeats then
            repeats.note(state, settings, sql)
        end
        if settings.slow_ms > 0 and duration_ms >= settings.slow_ms and not slow.is_own() then
            on_slow(state, settings, call, whole)
        elseif settings.queries then
            state.logger:write("info", "query", fields_of(call))
        end
        events.emit(state, "query_end", call)
        if explaining and settings.db[1] then
            slow.look(settings.db[1], state)
        end
    end
end

local function on_lease(state)
    return function(name, ms, backend_pid)
        events.emit(state, name, {
            event = name, backend_pid = backend_pid, time = os.time(),
            wait_ms = name == "acquire" and ms or nil, held_ms = name == "release" and ms or nil,
        })
    end
end

-- ---------------------------------------------------------------- connections

-- Logged whatever log.connections says.
local warned = {
    leak = "warning", held = "warning", returned = "info", idle_in_transaction = "warning",
    tls_expiring = "warning", tls_reload = "warning", overflow = "warning", gap = "warning", rollback = "warning",
}

local logged = { connect = "info", remove = "info", error = "warning", breaker = "warning" }

-- What happens in a pool is told to all its database objects, and logged by the first that hears of it.
local function on_event(state, settings)
    return function(event, first)
        if first and warned[event.event] then
            state.logger:write(warned[event.event], event.message, { event = event.event })
        end
        if first and settings.connections and logged[event.event] then
            state.logger:write(logged[event.event], "connection " .. event.event,
                { reason = event.message, backend_pid = event.backend_pid, code = event.code })
        end
        events.emit(state, event.event, event)
    end
end

local function settings_of(db)
    local most = tonumber(db:option "log.repeats") or 0
    return {
        queries = db:option "log.queries" == "true",
        connections = db:option "log.connections" == "true",
        parameters = db:option "log.parameters" == "true",
        slow_ms = tonumber(db:option "log.slow_ms") or 0,
        explain = tonumber(db:option "log.explain") or 0,
        repeats = most > 0 and most or nil,
        db = setmetatable({ db }, { __mode = "v" }),
    }
end

--- Gives a new database its logger and the functions that the core calls.
-- @param db the database
-- @param sinks {sink = function or nil}
function M.attach(db, sinks)
    local state = db:_state()
    local settings = settings_of(db)
    state.logger = setmetatable({ sink = sink_of(db, sinks.sink) }, Logger)
    state.on_start = on_start(state, settings)
    state.on_query = on_query(state, settings)
    state.on_lease = on_lease(state)
    state.on_event = on_event(state, settings)
    state.watched = { queries = settings.queries, starts = settings.parameters, tasks = settings.repeats ~= nil }
    repeats.on = repeats.on or settings.repeats ~= nil
    events.watch(db, state)
    if state.joined then
        return -- whoever opened the pool has warned
    end
    for _, warning in ipairs(state.warnings) do
        state.logger:write("warning", warning)
    end
    if not db:is_configured() then
        state.logger:write("warning", "the database is not configured; calls will fail with not_configured")
    end
end

return M
