--- The JSON of /health, /api/db/health and /api/db/metrics, to the key.
-- @module tidepool.http.shapes
local answer = require "tidepool.http.answer"
local core = require "tidepool.core"
local figures = require "tidepool.http.figures"
local memory = require "tidepool.http.memory"
local performance = require "tidepool.http.performance"

local M = {}

-- For how long what the server is asked for is shown again. A scrape costs little then, however often it comes.
local KEEP_MS = 5000

local function merge(into, extra, db)
    local more = type(extra) == "function" and extra(db) or extra
    for name, value in pairs(type(more) == "table" and more or {}) do
        into[name] = value
    end
    return into
end

--- GET /health: whether the service runs, which does not depend on its database.
function M.service(db, options)
    return answer.json(200, merge({
        status = "ok", timestamp = answer.timestamp(),
        service = options.service or db:option "application_name" or "tidepool",
        version = options.version or core.version,
    }, options.extra, db))
end

local messages = {
    healthy = "Database health check completed successfully",
    degraded = "Database is degraded: ",
    unhealthy = "Database health check failed: ",
}

local function connection_word(health)
    if health.state == "unconfigured" then
        return "not_configured"
    end
    return health.status ~= "unhealthy" and health.is_connected and "connected" or "disconnected"
end

local function performance_of(stats, health)
    return {
        responseTimeMs = health.latency_ms and answer.ms(health.latency_ms) or core.null,
        totalConnections = stats.total_connections, idleConnections = stats.idle_connections,
        activeConnections = stats.active_connections,
        waitingRequests = stats.waiting_requests, maxConnections = stats.max, totalQueries = stats.queries,
        failedQueries = stats.query_failures, successRate = stats.success_rate, retries = stats.retries,
        averageQueryMs = stats.query.mean_ms, p95QueryMs = stats.query.p95_ms, p99QueryMs = stats.query.p99_ms,
        averageWaitMs = stats.wait.mean_ms, p95WaitMs = stats.wait.p95_ms,
    }
end

--- GET /api/db/health: 200 while the database can be worked with, else 503.
function M.health(db, options)
    local health = db:health(options.health_timeout_ms)
    local stats = figures.of(db)
    return answer.json(health.status == "unhealthy" and 503 or 200, {
        status = health.status, timestamp = answer.timestamp(),
        database = {
            connection = connection_word(health), lastHealthCheck = answer.timestamp(health.checked_at),
            connectionCount = stats.total_connections, errorCount = health.error_count,
        },
        performance = performance_of(stats, health),
        message = messages[health.status] .. table.concat(health.reasons, "; "),
    })
end

--- GET /api/db/metrics: the pool's queries, and the server's own statistics of this database.
function M.metrics(db, options)
    local server, err = memory.kept(db, "performance", KEEP_MS, function()
        return performance.read(db, options.health_timeout_ms)
    end)
    if not server then
        return answer.failure(503, "the server's statistics are not to be had: " .. err.kind, { ["retry-after"] = "1" })
    end
    local stats = figures.of(db)
    return answer.json(200, {
        timestamp = answer.timestamp(),
        queryOptimization = {
            cache = { size = 0, maxSize = 0, enabled = false },
            metrics = {
                total = stats.queries, slowQueries = stats.slow_queries or 0,
                slowQueryThreshold = tonumber(db:option "log.slow_ms") or 0,
            },
        },
        databasePerformance = server,
    })
end

return M
