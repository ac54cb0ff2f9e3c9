--- The statistics of a pool for the HTTP handler: of all processes that share them, where they do.
-- @module tidepool.http.figures
local core = require "tidepool.core"

local M = {}

--- db:stats() with the totals of all processes and the counts that histograms are made of.
function M.of(db)
    local shares, stats = pcall(db.stats, db, { shared = true, buckets = true })
    return shares and stats or db:stats { buckets = true }
end

--- The name that a pool has in metrics: its own, or that of its database.
function M.pool_name(db)
    return db:option "name" or db:option "database" or "default"
end

-- The counts of a histogram, one for each bucket and the last for what is above them all.
local function counts(latency)
    local list = core.array {}
    for i, bucket in ipairs(latency.buckets or {}) do
        list[i] = bucket.count
    end
    list[#list + 1] = latency.count
    return list
end

--- How a pool does at this moment, short: gauges, and counters whose differences are rates.
function M.sample(db)
    local stats = M.of(db)
    return {
        time = core.time(), idle = stats.idle_connections, active = stats.active_connections,
        connecting = stats.connecting, mending = stats.mending, waiting = stats.waiting_requests,
        queries = stats.queries, failures = stats.query_failures,
        query = counts(stats.query), wait = counts(stats.wait),
    }
end

return M
