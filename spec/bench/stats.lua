--- What the statistics cost: a query on a connection that is held, and one that takes a connection and gives it back,
--- with them, without them (a build with -DTP_NO_STATS) and with a hook beside them.
---
---     make bench-stats [N=5000] [ROUNDS=5]
---
--- Instructions are callgrind's, of the whole process without the kernel and without reading the clock, which the
--- kernel does under valgrind. Time is this process's on a processor, most of it in the kernel: the least of all
--- rounds, which take turns. What the core counts and times is measured alone in C.
local callgrind = require "spec.support.callgrind"
local server = require "spec.support.server"

local built, without = arg[1], arg[2]
local n, rounds = tonumber(os.getenv "N") or 5000, tonumber(os.getenv "ROUNDS") or 5

local PROGRAM = [[
    local tidepool = require "tidepool"
    local hot, hook, n = arg[1], arg[2] == "hook", tonumber(arg[3])
    local db = assert(tidepool.open { log = { queries = false, slow_ms = 0 }, pool = { min = 0, max = 1 } })
    local heard = 0
    if hook then db:on("query_end", function() heard = heard + 1 end) end
    local function run(times)
        if hot == "held" then
            local conn = assert(db:acquire())
            for i = 1, times do assert(conn:value("select $1::int", i) == i) end
            conn:release()
        else
            for i = 1, times do assert(db:value("select $1::int", i) == i) end
        end
    end
    run(100)
    local began = os.clock()
    run(n)
    print((os.clock() - began) / n * 1e9)
]]

local variants = {
    { name = "with", path = built },
    { name = "without", path = without },
    { name = "with a hook", path = built, hook = "hook" },
}

local function environment(variant)
    return { LUA_CPATH = variant.path .. "/lua/?.so;;", DATABASE_URL = server.url() }
end

local function with_script(fn)
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write(PROGRAM)
    file:close()
    local ok, err = pcall(fn, path)
    os.remove(path)
    assert(ok, err)
end

local function instructions(script, hot, variant)
    local parts = callgrind.per_operation({ script, hot, variant.hook or "" }, 500, 2500, environment(variant))
    local sum = 0
    for _, count in pairs(parts) do sum = sum + count end
    return sum
end

local function time(script, hot, variant)
    local env = environment(variant)
    local output, code = server.sh(("env LUA_CPATH='%s' DATABASE_URL='%s' %s %s %s '%s' %d"):format(env.LUA_CPATH,
        env.DATABASE_URL, os.getenv "LUA" or "lua5.4", script, hot, variant.hook or "", n))
    assert(code == 0, output)
    return tonumber(output)
end

local function in_c(path, what)
    return tonumber((server.sh(("%s/bench/stats_rate %s"):format(path, what))))
end

local function row(title, format, values)
    print(("%-44s %12s %12s %12s"):format(title, format:format(values[1]), format:format(values[2]),
        values[3] and format:format(values[3]) or ""))
end

with_script(function(script)
    print(("%-44s %12s %12s %12s"):format("per query", variants[1].name, variants[2].name, variants[3].name))
    for _, hot in ipairs { "held", "each" } do
        local title = hot == "held" and "on a connection that is held" or "with acquire and release"
        local least, counts = {}, {}
        if not callgrind.absent() then
            for i, variant in ipairs(variants) do counts[i] = instructions(script, hot, variant) end
            row(title .. ": instructions", "%.0f", counts)
        end
        for _ = 1, rounds do
            for i, variant in ipairs(variants) do
                local took = time(script, hot, variant)
                least[i] = math.min(least[i] or took, took)
            end
        end
        row(title .. ": ns", "%.0f", least)
    end
    for _, what in ipairs { "count", "lease" } do
        local title = what == "count" and "in C: what is counted of a query, ns" or "in C: acquire and release, ns"
        row(title, "%.1f", { in_c(built, what), in_c(without, what) })
    end
end)
