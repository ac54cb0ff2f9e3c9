--- What may go on beside the tasks of an event loop: a load for each thing that a database does, and for each that may
--- go wrong with it. A task looks at the clock every millisecond meanwhile.
---
---     for _, line in ipairs(loads.watch(loop, places, 1000, { "queries", "silent_tls" })) do ... end
---
--- `loop` has a name, spawn(fn) and sleep(ms); `places` has URLs: `good`, and those where something is
--- wrong by the name of the load.
local core = require "tidepool.core"
local tidepool = require "tidepool"

local M = {}

M.names = { "idle", "queries", "transactions", "rows", "copy_out", "copy_in", "cancelled", "reconnecting", "refused",
    "full_backlog", "silent_server", "silent_tls", "silent_names" }

local TASKS = 16

local loads = {}

-- Tasks that sleep: what the loop and the machine do by themselves.
function loads.idle(run)
    return run(nil, function(_, loop) loop.sleep(1) end)
end

function loads.queries(run)
    return run({}, function(db) assert(db:one("select $1::int as i, repeat('x', 100) as text", 5)) end)
end

function loads.transactions(run)
    return run({}, function(db) assert(db:transaction(function(tx) return tx:value "select 1" end)) end)
end

-- More rows than anybody reads: the next ones are always there.
function loads.rows(run)
    return run({}, function(db, _, is_over)
        for row in db:each "select i, repeat('x', 200) as text from generate_series(1, 20000) i" do
            assert(row.i)
            if is_over() then
                break
            end
        end
    end, 2)
end

function loads.copy_out(run)
    return run({}, function(db, _, is_over)
        local query = "copy (select i, repeat('x', 200) from generate_series(1, 20000) i) to stdout"
        assert(db:copy_out(query, function() return not is_over() end))
    end, 2)
end

function loads.copy_in(run)
    return run({}, function(db, _, is_over)
        assert(db:with(function(conn)
            assert(conn:exec "create temp table if not exists into_here (i int, text text)")
            local i, text = 0, ("x"):rep(200)
            assert(conn:copy_in("into_here", function()
                i = i + 1
                return i <= 20000 and not is_over() and { i, text } or nil
            end))
            return assert(conn:exec "truncate into_here")
        end))
    end, 2)
end

function loads.cancelled(run)
    return run({}, function(db)
        local _, err = db:query { "select pg_sleep(60)", timeout_ms = 10 }
        assert(err.kind == "timeout" or err.kind == "pool_timeout", tostring(err))
    end)
end

function loads.reconnecting(run)
    return run({}, function(db)
        local conn = db:acquire()
        if conn then
            assert(conn:value "select 1")
            conn:discard()
        end
    end)
end

-- A server that is away in one way or another: whoever asks is told so in time.
local function away(run, url)
    if not url then
        return nil, "no such place here"
    end
    return run({ url = url }, function(db, loop)
        assert(not db:query "select 1", "somebody has answered")
        loop.sleep(1)
    end)
end

local function open(loop, url, options)
    local all = {
        url = url, await = loop.name, log = { queries = false, slow_ms = 1000000, sink = function() end },
        pool = { min = 0, max = 8, acquire_timeout_ms = 200 }, retry = { base_ms = 1, max_ms = 20 },
    }
    for name, value in pairs(options) do
        all[name] = value
    end
    return assert(tidepool.open(all))
end

-- How late a task is that wants to be woken every millisecond: sorted milliseconds.
local function tick(loop, ms)
    local late, stop = {}, core.now() + ms
    while core.now() < stop do
        local due = core.now() + 1
        loop.sleep(1)
        late[#late + 1] = core.now() - due
    end
    table.sort(late)
    return late
end

local function watch(loop, name, places, ms)
    local over, left = false, 0
    local function is_over() return over end
    local function run(options, fn, tasks)
        local db = options and open(loop, places.good, options)
        for _ = 1, tasks or TASKS do
            left = left + 1
            loop.spawn(function()
                while not over do
                    fn(db, loop, is_over)
                end
                left = left - 1
            end)
        end
        return db or true
    end
    local db, why
    if loads[name] then
        db, why = loads[name](run)
    else
        db, why = away(run, places[name])
    end
    if not db then
        return { name = name, why = why }
    end
    loop.sleep(20)
    local late = tick(loop, ms)
    over = true
    local deadline = core.now() + 5000
    while left > 0 and core.now() < deadline do
        loop.sleep(5)
    end
    assert(left == 0, name .. ": tasks that do not end")
    if db ~= true then
        db:close()
    end
    return {
        name = name, ticks = #late, p50 = late[math.ceil(#late / 2)], p99 = late[math.ceil(#late * 0.99)],
        max = late[#late],
    }
end

--- Watches one load after the other, each for `ms`. Call it in a task of the loop. Returns a list of { name, ticks,
--- p50, p99, max } in milliseconds, or { name, why } of what cannot be had here.
function M.watch(loop, places, ms, names)
    local found = {}
    for _, name in ipairs(names or M.names) do
        found[#found + 1] = watch(loop, name, places, ms)
        collectgarbage()
    end
    return found
end

return M
