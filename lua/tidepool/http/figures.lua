--- The statistics of a pool for the HTTP handler: of all processes that share them, where they do.
-- @module tidepool.http.figures
local core = require "tidepool.core"

local M = {}

local shared = setmetatable({}, { __mode = "k" }) -- databases whose totals of all processes have been had

--- db:stats() with the totals of all processes and the counts that histograms are made of; of this process alone where
-- they can never be had.
-- @return nil and an error when they cannot be had at the moment: counters must not seem to go back
function M.exact(db)
    local stats, err = db:stats { shared = true, buckets = true }
    if stats then
        shared[db] = true
    elseif not shared[db] then
        return db:stats { buckets = true }
    end
    return stats, err
end

--- The same, but rather of this process alone than none.
function M.of(db)
    return M.exact(db) or db:stats { buckets = true }
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

--- How a pool does at this moment, short: gauges, and counters whose differences are rates; nil as M.exact.
function M.sample(db)
    local stats = M.exact(db)
    return stats and {
        time = core.time(), idle = stats.idle_connections, active = stats.active_connections,
        connecting = stats.connecting, mending = stats.mending, waiting = stats.waiting_requests,
        queries = stats.queries, failures = stats.query_failures,
        query = counts(stats.query), wait = counts(stats.wait),
    }
end

return M
