--- What the pool does when things go wrong, and what it has counted.
local tidepool = require "tidepool"
local terminal = require "demo.terminal"

local M = {}

local application = "tidepool-demo"

--- The name under which the server knows the demo's connections.
M.application = application

-- ------------------------------------------------------------------ faults

-- So that there are several idle connections to lose.
local function fill(db, wanted)
    local held = {}
    for i = 1, wanted do
        held[i] = assert(db:acquire())
    end
    for _, conn in ipairs(held) do
        assert(conn:release())
    end
end

-- An administrator ends all idle connections, and waits until the server has done so. (A query that
-- is on its way already when the server ends its connection fails: it may have been carried out.)
local function terminate_idle()
    local admin <close> = assert(tidepool.open { pool = { min = 0, max = 1 }, log = { queries = false } })
    return assert(admin:value([[
        select count(*) filter (where pg_terminate_backend(pid, 5000)) from pg_stat_activity
         where application_name = $1 and state = 'idle']], application))
end

local function show_terminated(db)
    fill(db, 3)
    local before = db:stats()
    local ended = terminate_idle()
    assert(ended >= 3, "there were no idle connections to end")
    local began = terminal.now()
    for i = 1, 100 do
        assert(assert(db:value("select $1::int", i)) == i, "a query gave a wrong answer")
    end
    local took = terminal.now() - began
    local after = db:stats()
    assert(after.query_failures == before.query_failures, "a query failed")
    terminal.tick("Lost connections", ("pg_terminate_backend ended %d idle connections. 100 queries right after it: "
        .. "no error, %s ms in all."):format(ended, terminal.ms(took)))
end

local function show_exhausted()
    local small <close> = assert(tidepool.open { pool = { min = 0, max = 2 }, log = { queries = false } })
    local first <close> = assert(small:acquire())
    local second <close> = assert(small:acquire())
    assert(first:value("select 1") == 1 and second:value("select 'an answer, and the connection is kept'"))
    local began = terminal.now()
    local third, err = small:acquire()
    local took = terminal.now() - began
    assert(not third and err.kind == "busy", "a third connection of two came out")
    terminal.tick("An exhausted pool", ("Two connections, both held here, and a third acquire: the answer comes after "
        .. "%s ms and says who holds what:"):format(terminal.ms(took)))
    terminal.warning(tostring(err))
end

--- Shows how the pool answers to trouble.
function M.show_faults(db)
    show_terminated(db)
    show_exhausted()
end

-- -------------------------------------------------------------- statistics

-- "dead 3, discarded 1" of what is not zero.
local function list_counts(counts)
    local names = {}
    for name, count in pairs(counts) do
        if count > 0 then
            names[#names + 1] = name
        end
    end
    table.sort(names)
    for i, name in ipairs(names) do
        names[i] = ("%s %s"):format(name, terminal.count(counts[name]))
    end
    return #names > 0 and table.concat(names, ", ") or "none"
end

local function percent(part, whole)
    return whole > 0 and 100 * part / whole or 100
end

local function counters(stats)
    local count = terminal.count
    local runs = stats.statements_prepared + stats.statement_hits
    return {
        { "connections", ("%d open (%d idle, %d in use), %d being made; %d to %d allowed"):format(
            stats.total_connections, stats.idle_connections, stats.active_connections, stats.connecting,
            stats.min, stats.max) },
        { "waiting", ("%s callers now, %s have timed out"):format(count(stats.waiting_requests),
            count(stats.acquire_timeouts)) },
        { "made", ("%s, %s attempts failed"):format(count(stats.created), count(stats.connect_failures)) },
        { "closed", list_counts(stats.closed) },
        { "acquires", count(stats.acquires) },
        { "queries", ("%s, %s failed; %.2f %% succeeded"):format(count(stats.queries), count(stats.query_failures),
            100 * stats.success_rate) },
        { "errors", list_counts(stats.errors) },
        { "retries", count(stats.retries) },
        { "statements", ("%s prepared, %s runs of prepared ones (%.1f %%)"):format(count(stats.statements_prepared),
            count(stats.statement_hits), percent(stats.statement_hits, runs)) },
    }
end

local function latency_cells(name, latency)
    local cells = { name, terminal.count(latency.count) }
    for _, field in ipairs { "mean_ms", "p50_ms", "p95_ms", "p99_ms", "max_ms" } do
        cells[#cells + 1] = terminal.ms(latency[field])
    end
    return cells
end

--- Prints the statistics of a pool.
function M.show_stats(db)
    local stats = db:stats()
    terminal.note("The failed queries are those that were made to fail above.")
    terminal.fields(counters(stats))
    print()
    local columns = { { title = "milliseconds" } }
    for _, title in ipairs { "count", "mean", "p50", "p95", "p99", "max" } do
        columns[#columns + 1] = { title = title, right = true }
    end
    terminal.table(columns, {
        latency_cells("waiting for a connection", stats.wait),
        latency_cells("connecting", stats.connect),
        latency_cells("queries", stats.query),
    })
    return stats
end

return M
