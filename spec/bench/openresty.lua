--- The benchmark of nginx: one worker, 64 connections of wrk, a row by its key.
--
-- Contestants: a handler that only answers, tidepool, and pgmoon (LUA_PATH, or pgmoon=FOLDER) with its keepalive and a
-- parameter that is an integer. Each is an nginx of its own; they take turns, beginning with another one in every
-- round. The figures are medians of the rounds, the ratios medians of the ratios of each round. The processor time of
-- a request is that of the whole worker process, threads and kernel included. `make bench-openresty` runs it.
local figures = require "spec.bench.figures"
local nginx = require "spec.support.nginx"
local server = require "spec.support.server"

local settings = { rounds = 5, seconds = 3, connections = 64, pool = 16, pgmoon = "", bin = "build/default/bench" }
for _, word in ipairs(arg) do
    local name, value = word:match "^(%w+)=(.*)$"
    if settings[name or ""] == nil then
        error("bench-openresty: unknown setting " .. word, 0)
    elseif value ~= "" then
        settings[name] = math.tointeger(tonumber(value)) or value
    end
end

local files = {
    ["point_tidepool.lua"] = ([[
        local tidepool = require "tidepool"
        local db = assert(tidepool.open { pool = { min = %d, max = %d }, log = { queries = false } })
        return function(id)
            return assert(db:one("select * from bench_point where id = $1", id)).name
        end
    ]]):format(settings.pool, settings.pool),
    ["point_pgmoon.lua"] = ([[
        local pgmoon = require "pgmoon"
        -- Without the type it would send a numeric, and the index would not be used.
        local int4 = { pgmoon_serialize = function(value) return 23, tostring(value[1]) end }
        return function(id)
            local pg = pgmoon.new { socket_path = %q, port = %q, database = %q, user = %q }
            assert(pg:connect())
            local rows = assert(pg:query("select * from bench_point where id = $1", setmetatable({ id }, int4)))
            pg:keepalive(60000, %d)
            return rows[1].name
        end
    ]]):format(server.socket .. "/.s.PGSQL." .. server.port, server.port, server.database, server.user,
        settings.connections),
}

local function handler(text)
    return ("location = /point { content_by_lua_block { ngx.print(%s) } }"):format(text)
end

local contestants = {
    { key = "hello", label = "hello world", server = handler [["name ", math.random(100000)]] },
    { key = "tidepool", label = "tidepool", server = handler [[require "point_tidepool"(math.random(100000))]] },
    { key = "pgmoon", label = "pgmoon", server = handler [[require "point_pgmoon"(math.random(100000))]] },
}

-- What wrk says at the end, in numbers.
local wrk_report = [[
function done(summary, latency)
    local errors = summary.errors
    io.write(string.format("figures %d %d %d %d %d\n", summary.requests, summary.duration, latency:percentile(50),
        latency:percentile(99), errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
]]

-- Ports below those that the kernel gives to outgoing connections.
local function start_on_free_port(contestant)
    for _ = 1, 20 do
        local port = math.random(20000, 32000)
        local started, site = pcall(nginx.start, {
            log = "error", files = files, listen = "127.0.0.1:" .. port, server = contestant.server,
            main = "worker_processes 1; worker_rlimit_nofile 4096;",
            http = "keepalive_requests 100000000;" .. (settings.pgmoon ~= "" and
                (" init_by_lua_block { package.path = '%s/?.lua;%s/?/init.lua;' .. package.path }")
                :format(settings.pgmoon, settings.pgmoon) or ""),
        })
        if started then
            return site, port
        elseif not site:find("Address already in use", 1, true) then
            error(site, 0)
        end
    end
    error("bench-openresty: no free port", 0)
end

local function start(contestant)
    contestant.site, contestant.port = start_on_free_port(contestant)
    contestant.worker = contestant.site:workers()[1]
    contestant.rounds = {}
    local body, status = contestant.site:get "/point"
    if status ~= 200 or not body:find "^name %d+$" then
        local log = contestant.site:log()
        contestant.site:stop()
        return nil, log:match "module '[^']*' not found" or log
    end
    return true
end

-- Seconds of processor time of a process so far, of all its threads.
local function cpu_of(pid)
    local file = assert(io.open(("/proc/%d/stat"):format(pid)))
    local user, system = file:read("a"):match "%) %u %S+ %S+ %S+ %S+ %S+ %S+ %S+ %S+ %S+ %S+ (%d+) (%d+)"
    file:close()
    return (user + system) / 100 -- USER_HZ
end

local function measure(contestant, script, seconds)
    local before = cpu_of(contestant.worker)
    local output = server.sh(("wrk -t 1 -c %d -d %ds -s %s http://127.0.0.1:%d/point")
        :format(settings.connections, seconds, script, contestant.port))
    local requests, us, p50, p99, errors = output:match "figures (%d+) (%d+) (%d+) (%d+) (%d+)"
    if not requests then
        error("bench-openresty: wrk has failed: " .. output, 0)
    elseif tonumber(errors) > 0 then
        error(("bench-openresty: %d requests to %s have failed:\n%s"):format(errors, contestant.label,
            contestant.site:log():sub(1, 2000)), 0)
    end
    return {
        rate = requests / us * 1e6, p50 = p50 / 1000, p99 = p99 / 1000,
        cpu = (cpu_of(contestant.worker) - before) / requests * 1e6,
    }
end

-- A C program on libpq, without nginx and wrk: the processor time of one query, and how many there are in a second
-- when sixteen workers share eight connections. No server for HTTP can answer more requests on the same machine.
local function measure_c()
    local function last_of(workload)
        local answer
        local command = "printf '%s 5000\\n%s 20000\\n' | %s/libpq"
        local output = server.sh(command:format(workload, workload, settings.bin))
        for line in output:gmatch "[^\n]+" do
            answer = figures.parse(line) or answer
        end
        return answer
    end
    local one, many = last_of "W1", last_of "W5"
    return { cpu = one.cpu / one.operations * 1e6, rate = many.operations / many.seconds }
end

local function median(contestant, name, base)
    local values = {}
    for i, round in ipairs(contestant.rounds) do
        values[i] = round[name] / (base and base.rounds[i][name] or 1)
    end
    return figures.median(values)
end

local function present()
    local list, by_key = {}, {}
    for _, contestant in ipairs(contestants) do
        local started, why = start(contestant)
        if started then
            list[#list + 1] = contestant
            by_key[contestant.key] = contestant
        elseif contestant.key == "pgmoon" then
            print("pgmoon is left out (say pgmoon=FOLDER, or install it where LuaJIT finds it): " .. why)
        else
            error(why, 0)
        end
    end
    return list, by_key
end

local function run(list, script)
    local c = { rounds = {} }
    for _, contestant in ipairs(list) do
        measure(contestant, script, 1) -- to warm up
    end
    for round = 1, settings.rounds do
        io.stderr:write(("bench-openresty: round %d of %d\n"):format(round, settings.rounds))
        for i = 1, #list do
            local contestant = list[(i + round - 2) % #list + 1]
            contestant.rounds[round] = measure(contestant, script, settings.seconds)
        end
        c.rounds[round] = measure_c()
    end
    return c
end

local function verdict(text, value, limit, at_least)
    local good = at_least and value >= limit or not at_least and value <= limit
    print(("%-72s %8.2f   (wanted: %s %g) %s"):format(text, value, at_least and "at least" or "at most", limit,
        good and "yes" or "NO"))
end

local function tell(list, by_key, c)
    print(("\n%-14s %12s %10s %10s %16s"):format("", "requests/s", "p50 ms", "p99 ms", "CPU us/request"))
    for _, contestant in ipairs(list) do
        print(("%-14s %12.0f %10.2f %10.2f %16.1f"):format(contestant.label, median(contestant, "rate"),
            median(contestant, "p50"), median(contestant, "p99"), median(contestant, "cpu")))
    end
    local c_cpu = median(c, "cpu")
    print(("%-14s %12.0f %10s %10s %16.1f   (queries)"):format("C on libpq", median(c, "rate"), "", "", c_cpu))
    print()
    local ours, hello, pgmoon = by_key.tidepool, by_key.hello, by_key.pgmoon
    if pgmoon then
        verdict("requests/s, as a multiple of pgmoon's", median(ours, "rate", pgmoon), 7, true)
        print(("%-72s %8.2f"):format("queries/s of C on libpq without nginx, as a multiple of pgmoon's",
            median(c, "rate", pgmoon)))
        verdict("p99, as a part of pgmoon's", median(ours, "p99", pgmoon), 1 / 3)
    end
    verdict("CPU per request, as a part of 2.5 times hello world's and C's query", median(ours, "cpu")
        / (2.5 * median(hello, "cpu") + c_cpu), 1)
end

math.randomseed(os.time())
local script = os.tmpname()
local file = assert(io.open(script, "w"))
file:write(wrk_report)
file:close()
local list, by_key = {}, {}
local good, problem = pcall(function()
    list, by_key = present()
    tell(list, by_key, run(list, script))
end)
os.remove(script)
for _, contestant in ipairs(contestants) do
    if contestant.site then
        contestant.site:stop()
    end
end
if not good then
    io.stderr:write(tostring(problem), "\n")
    os.exit(1)
end
