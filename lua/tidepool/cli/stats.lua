--- tidepool stats: what the server, and the pools that share their statistics, have counted.
-- @module tidepool.cli.stats
local database = require "tidepool.cli.database"
local json = require "tidepool.cli.json"
local rows = require "tidepool.cli.rows"
local server = require "tidepool.cli.server"
local terminal = require "tidepool.cli.terminal"
local text = require "tidepool.cli.text"

local M = {
    name = "stats",
    summary = "Show what the server has counted.",
    description = "Shows the server's connections, what it has counted of the database, the statements that took "
        .. "most time (where the extension pg_stat_statements is installed), and what the pools on this machine have "
        .. "counted that share their statistics (option stats.shared) and connect as this command does.",
    examples = [[
  tidepool stats
  tidepool stats --json | jq .database.cache_hit_ratio
  tidepool stats --statements 20
  tidepool stats --budget shop --json | jq .pools.query.p99_ms]],
}

local STATEMENTS = 5
local WIDTH = 120 -- where there is no terminal

function M.configure(command, convert)
    command:option "--statements":argname "<n>":convert(convert.natural):default(tostring(STATEMENTS))
        :description "How many statements are shown."
    command:option "--budget":argname "<name>"
        :description "What pool.budget is of these pools, where it is said."
    command:flag "--json":description "One object."
end

local function counted(n)
    local digits = ("%.0f"):format(n)
    local grouped = digits:reverse():gsub("(%d%d%d)", "%1,"):reverse()
    return (grouped:gsub("^,", ""))
end

local function line(label, format, ...)
    terminal.write(text.pad(label, 16), format:format(...), "\n")
end

local function print_server(figures)
    local s, c, d = figures.server, figures.connections, figures.database
    line("server", "PostgreSQL %s%s, up %s", s.version, s.in_recovery and " (standby)" or "", text.duration(s.uptime_s))
    line("database", "%s as %s, %s", text.plain(s.database), text.plain(s.user), text.bytes(d.size_bytes))
    line("connections", "%d of %d: %d active, %d idle, %d idle in transaction", c.total, s.max_connections, c.active,
        c.idle, c.idle_in_transaction)
    line("locks", "%d waiting, longest transaction %s", c.waiting_for_locks, text.duration(c.longest_transaction_s))
    line("transactions", "%s committed, %s rolled back, %s deadlocks, %s conflicts", counted(d.commits),
        counted(d.rollbacks), counted(d.deadlocks), counted(d.conflicts))
    line("rows", "%s fetched, %s inserted, %s updated, %s deleted", counted(d.rows_fetched), counted(d.rows_inserted),
        counted(d.rows_updated), counted(d.rows_deleted))
    line("cache", "%s of blocks were in memory, %s of temporary files",
        d.cache_hit_ratio and ("%.1f %%"):format(d.cache_hit_ratio * 100) or "none", text.bytes(d.temp_bytes))
end

local columns = {
    { name = "calls", type = "int8" }, { name = "total_ms", type = "float8" }, { name = "mean_ms", type = "float8" },
    { name = "rows", type = "int8" }, { name = "query", type = "text" },
}

local function print_statements(statements)
    terminal.write "\n"
    local format = rows.new("table", { header = true, width = (terminal.size(WIDTH)) })
    format:begin(columns)
    for _, statement in ipairs(statements) do
        format:row { counted(statement.calls), ("%.1f"):format(statement.total_ms),
            ("%.3f"):format(statement.mean_ms), counted(statement.rows), text.one_line(statement.query) }
    end
    format:finish {}
end

local function can_share()
    for _, option in ipairs(require("tidepool").options()) do
        if option.name == "stats.shared" then return true end
    end
    return false
end

-- What the pools of services have counted together, or nil. A pool that counts nothing itself adds nothing to it.
local function shared(args)
    if not can_share() then
        return nil
    end
    local reader = database.open(args, {
        stats = { shared = true }, pool = { min = 0, max_total = 0, budget = args.budget },
    })
    local stats = database.must(nil, true, reader:stats { shared = true })
    return (stats.processes > 0 or stats.queries > 0) and stats or nil
end

local function print_pools(pools)
    terminal.write "\n"
    line("pools", "of %d process%s, %d connections: %d active, %d idle; %d callers wait", pools.processes,
        pools.processes == 1 and "" or "es", pools.total_connections, pools.active_connections, pools.idle_connections,
        pools.waiting_requests)
    line("queries", "%s, %s failed; %s transactions committed, %s rolled back", counted(pools.queries),
        counted(pools.query_failures), counted(pools.transactions.committed), counted(pools.transactions.rolled_back))
    for _, name in ipairs { "wait", "query", "transaction", "held" } do
        local latency = pools[name]
        line("  " .. name, "p50 %.2f ms, p95 %.2f ms, p99 %.2f ms, longest %.2f ms", latency.p50_ms, latency.p95_ms,
            latency.p99_ms, latency.max_ms)
    end
end

local function plain_copy(list)
    local copy = json.list {}
    for i, row in ipairs(list) do
        copy[i] = row
    end
    return copy
end

function M.run(args)
    local db = database.open(args)
    local figures = database.must(nil, true, server.figures(db))
    local statements, err = server.statements(db, args.statements)
    if err then
        database.fail(err)
    end
    local pools = shared(args)
    if args.json then
        figures.pools = pools or json.null
        figures.statements = statements and plain_copy(statements) or json.null
        terminal.write(json.encode(figures), "\n")
        return
    end
    print_server(figures)
    if pools then
        print_pools(pools)
    end
    if statements and #statements > 0 then
        print_statements(statements)
    end
end

return M
