-- What a pool counts and measures.
--
--     DATABASE_URL=postgresql://... lua5.4 examples/statistics.lua
local tidepool = require "tidepool"

local db <close> = assert(tidepool.open { pool = { min = 2, max = 5 }, log = { queries = false } })
assert(db:wait_ready(5000))

for i = 1, 1000 do
    assert(db:value("select $1::int * 2", i) == i * 2)
end
db:query("select no_such_column")

local stats = db:stats()
print(("connections: %d open, %d idle, %d active, at most %d; %d callers wait"):format(stats.total_connections,
    stats.idle_connections, stats.active_connections, stats.max, stats.waiting_requests))
print(("queries: %d, %d failed, %.1f %% succeeded; %d retries"):format(stats.queries, stats.query_failures,
    100 * stats.success_rate, stats.retries))
print(("statements: %d prepared, used again %d times"):format(stats.statements_prepared, stats.statement_hits))
print(("acquires: %d, %d timed out"):format(stats.acquires, stats.acquire_timeouts))

-- Errors by their kind, and connections that were closed by the reason.
for kind, count in pairs(stats.errors) do
    print(("errors of kind %s: %d"):format(kind, count))
end
for reason, count in pairs(stats.closed) do
    if count > 0 then
        print(("connections closed, %s: %d"):format(reason, count))
    end
end

-- Latencies of waiting for a connection, of connecting and of queries.
for _, name in ipairs { "wait", "connect", "query" } do
    local latency = stats[name]
    print(("%-8s %5d times, p50 %.3f ms, p95 %.3f ms, p99 %.3f ms, max %.3f ms"):format(name, latency.count,
        latency.p50_ms, latency.p95_ms, latency.p99_ms, latency.max_ms))
end

-- A pool that stops: drain waits until all connections are back, close ends them.
assert(db:drain(1000))
assert(db:close())
print("after close: " .. db:state().state)
