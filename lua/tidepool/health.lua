--- db:health: whether the database can be worked with, asked of the server within a bounded time.
-- @module tidepool.health
local core = require "tidepool.core"
local failure = require "tidepool.failure"

local M = { methods = {} }

local DEFAULT_TIMEOUT_MS = 2000

--- A server that takes longer than this for a round trip is degraded.
local SLOW_MS = 1000

-- States in which nothing is asked: what is said of them, and what that makes of the status.
local unasked = {
    unconfigured = { "unhealthy", "nothing says where the database is" },
    closed = { "unhealthy", "the pool is closed" },
    draining = { "unhealthy", "the pool is draining" },
    suspended = { "degraded", "the pool is suspended" },
}

-- What went wrong in words that have no value of the program's: the kind of the error, and its SQLSTATE.
local function outline(err)
    if err.code and err.code ~= "" then
        return ("%s %s%s"):format(err.kind, err.code, err.name and " (" .. err.name .. ")" or "")
    end
    return err.kind
end

local function add(health, status, reason)
    if health.status ~= "unhealthy" then
        health.status = status
    end
    health.reasons[#health.reasons + 1] = reason
end

-- A full pool says nothing about the server: while it is connected, its callers only wait for one another.
local function judge_failure(health, err)
    health.error = err
    local full = err.kind == "pool_timeout" or err.kind == "busy"
    if full and health.is_connected and health.breaker == "closed" then
        add(health, "degraded", "no connection came free in time")
    else
        add(health, "unhealthy", "the server does not answer: " .. outline(err))
    end
end

local function judge_success(health)
    if health.latency_ms > SLOW_MS then
        add(health, "degraded", ("the server took %.0f ms to answer"):format(health.latency_ms))
    end
    if health.breaker ~= "closed" then
        add(health, "degraded", "no new connection can be made (the breaker is " .. health.breaker .. ")")
    elseif health.error_count > 0 then
        add(health, "degraded", "the last attempts to connect have failed")
    end
end

local function ask(db, health, timeout_ms)
    local began = core.now()
    local alive, err = db:ping(timeout_ms)
    health.latency_ms = core.now() - began
    local state = db:state() -- asking has told more
    health.state, health.is_connected, health.breaker = state.state, state.is_connected, state.breaker
    health.error_count, health.last_error = state.error_count, state.last_error
    if alive then
        judge_success(health)
    else
        judge_failure(health, err)
    end
end

local function read_timeout(timeout_ms)
    if timeout_ms == nil then
        return DEFAULT_TIMEOUT_MS
    elseif type(timeout_ms) ~= "number" or timeout_ms < 0 then
        failure.misuse("db:health: timeout_ms must be milliseconds")
    end
    return timeout_ms
end

--- db:health(timeout_ms): one round trip to the server, and what the pool knows of itself.
-- @param timeout_ms how long it may take at most, waiting for a connection included (2000)
-- @return {status = "healthy", "degraded" or "unhealthy", reasons = why it is not healthy, ...}; it never fails
function M.methods.health(db, timeout_ms)
    timeout_ms = read_timeout(timeout_ms)
    local state, stats = db:state(), db:stats()
    local health = {
        status = "healthy", reasons = {}, checked_at = core.time(), state = state.state,
        is_connected = state.is_connected, error_count = state.error_count, last_error = state.last_error,
        breaker = state.breaker, total_connections = stats.total_connections, waiting_requests = stats.waiting_requests,
    }
    local verdict = unasked[state.state]
    if verdict then
        add(health, verdict[1], verdict[2])
        return health
    end
    ask(db, health, timeout_ms)
    health.total_connections = db:stats().total_connections
    return health
end

return M
