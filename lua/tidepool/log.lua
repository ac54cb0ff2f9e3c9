--- The log of a database: queries, slow queries, connections, warnings.
--
-- A sink is a function(level, message, fields); the default writes one line to standard
-- error. A query is logged with the first 200 characters of its text and the number of
-- its parameters, never with their values.
-- @module tidepool.log
local events = require "tidepool.events"

local M = {}

local Logger = { __name = "tidepool.logger" }
Logger.__index = Logger

local function timestamp(seconds)
    local whole = math.floor(seconds)
    return os.date("!%Y-%m-%dT%H:%M:%S", whole) .. "Z"
end

local function one_line(text)
    return (tostring(text):gsub("[%s%c]+", " "))
end

local function line_of(level, message, fields)
    local parts = { timestamp(os.time()), "tidepool", level .. ":", message }
    local names = {}
    for name in pairs(fields) do
        names[#names + 1] = name
    end
    table.sort(names)
    for _, name in ipairs(names) do
        parts[#parts + 1] = ("%s=%s"):format(name, one_line(fields[name]))
    end
    return table.concat(parts, " ") .. "\n"
end

local function to_stderr(level, message, fields)
    io.stderr:write(line_of(level, message, fields))
end

--- Writes one entry. A sink that raises an error loses the entry, nothing else.
function Logger:write(level, message, fields)
    pcall(self.sink, level, message, fields or {})
end

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

local function query_fields(sql, parameters, duration_ms, err)
    return {
        sql = M.excerpt(sql),
        parameters = parameters,
        duration_ms = ("%.3f"):format(duration_ms),
        error = err and outline(err) or nil,
        timestamp = timestamp(os.time()),
    }
end

local function on_query(state, settings)
    return function(sql, parameters, duration_ms, err)
        local slow = settings.slow_ms > 0 and duration_ms >= settings.slow_ms
        if slow then
            state.logger:write("warning", "slow query", query_fields(sql, parameters, duration_ms, err))
        elseif settings.queries then
            state.logger:write("info", "query", query_fields(sql, parameters, duration_ms, err))
        end
        events.emit(state, "query", {
            sql = sql, parameters = parameters, duration_ms = duration_ms, error = err,
        })
    end
end

-- Logged whatever log.connections says.
local warned = {
    leak = "warning", held = "warning", returned = "info", idle_in_transaction = "warning",
    tls_expiring = "warning", tls_reload = "warning", overflow = "warning",
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
                { message = event.message, backend_pid = event.backend_pid, code = event.code })
        end
        events.emit(state, event.event, event)
    end
end

--- Gives a new database its logger and the functions that the core calls.
-- @param db the database
-- @param sinks {sink = function or nil}
function M.attach(db, sinks)
    local state = db:_state()
    local settings = {
        queries = db:option("log.queries") == "true",
        connections = db:option("log.connections") == "true",
        slow_ms = tonumber(db:option("log.slow_ms")) or 0,
    }
    state.logger = setmetatable({ sink = sinks.sink or to_stderr }, Logger)
    state.on_query = on_query(state, settings)
    state.on_event = on_event(state, settings)
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
