--- What a scrape costs: an nginx of one worker under the load of wrk, with /metrics asked for beside it.
--
-- How long scrapes take, and how the answers to the load are with them and without: rounds of both take turns, the
-- figures are medians. `make bench-http` runs it.
local figures = require "spec.bench.figures"
local nginx = require "spec.support.nginx"
local server = require "spec.support.server"

local settings = { rounds = 3, seconds = 5, connections = 32, every_ms = 100 }
for _, word in ipairs(arg) do
    local name, value = word:match "^([%w_]+)=(.*)$"
    if settings[name or ""] == nil then
        error("bench-http: unknown setting " .. word, 0)
    elseif value ~= "" then
        settings[name] = math.tointeger(tonumber(value))
    end
end

local FILES = {
    ["db.lua"] = [[return assert(require "tidepool".open {
        name = "bench", pool = { min = 8, max = 8 }, log = { queries = false } })]],
}
-- What waits for nothing (/metrics) keeps the worker from all others for as long as it runs: /own tells the longest.
local SERVER = [[
    location / { content_by_lua_block { require("tidepool.http").nginx(require "db") } }
    location = /metrics {
        content_by_lua_block {
            local now = require "tidepool.core".now
            local began = now()
            require("tidepool.http").nginx(require "db")
            own = own or {}
            own[#own + 1] = now() - began
        }
    }
    location = /own {
        content_by_lua_block {
            table.sort(own)
            ngx.print(("%.3f %.3f"):format(own[math.ceil(#own / 2)], own[#own]))
        }
    }
    location = /point { content_by_lua_block { ngx.print(require "db":value("select $1::int", 42)) } }
]]

local wrk_report = [[
function done(summary, latency)
    local errors = summary.errors
    io.write(string.format("figures %d %d %d %d %d %d\n", summary.requests, summary.duration, latency:percentile(50),
        latency:percentile(99), latency.max,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
]]

-- Scrapes in the background until `ends`, one after the other; how long each took goes to the file, in seconds.
local function scrape(url, path, file)
    server.sh(("(end=$(($(date +%%s) + %d)); while [ $(date +%%s) -lt $end ]; do curl -s -o /dev/null -w "
        .. "'%%{time_starttransfer} %%{time_connect} %%{http_code}\\n' %s%s >>%s; sleep %g; done) >/dev/null 2>&1 &")
        :format(settings.seconds, url, path, file, settings.every_ms / 1000))
end

-- Milliseconds from a connection that stands to the first byte of the answer.
local function read_scrapes(file)
    local times = {}
    for line in io.lines(file) do
        local answered, connected, status = line:match "^(%S+) (%S+) (%d+)$"
        assert(status == "200", "a scrape has failed: " .. line)
        times[#times + 1] = (tonumber(answered) - tonumber(connected)) * 1000
    end
    table.sort(times)
    return times
end

local function load_of(url, script)
    local output = server.sh(("wrk -t 1 -c %d -d %ds -s %s %s/point"):format(settings.connections, settings.seconds,
        script, url))
    local requests, us, p50, p99, max, errors =
        output:match "figures (%d+) (%d+) (%d+) (%d+) (%d+) (%d+)"
    assert(requests and errors == "0", output)
    return { rate = requests / us * 1e6, p50 = p50 / 1000, p99 = p99 / 1000, max = max / 1000 }
end

local function median(rounds, name)
    local values = {}
    for i, round in ipairs(rounds) do
        values[i] = round[name]
    end
    return figures.median(values)
end

local function run(site, url, script, file)
    local paths = { "/metrics", "/tidepool/data.json", "/api/db/metrics" }
    local without, with = {}, {}
    load_of(url, script) -- to warm up
    for round = 1, settings.rounds do
        without[round] = load_of(url, script)
        for _, path in ipairs(paths) do
            with[path] = with[path] or { scrapes = {} }
            os.remove(file)
            scrape(url, path, file)
            with[path][round] = load_of(url, script)
            for _, ms in ipairs(read_scrapes(file)) do
                table.insert(with[path].scrapes, ms)
            end
        end
    end
    print(("%-32s %10s %8s %8s %8s   %s"):format("", "requests/s", "p50 ms", "p99 ms", "max ms",
        "scrapes: p50, p99, max ms"))
    local function tell(title, rounds)
        local scrapes, text = rounds.scrapes, ""
        if scrapes then
            table.sort(scrapes)
            text = ("%d: %.2f, %.2f, %.2f"):format(#scrapes, scrapes[math.ceil(#scrapes / 2)],
                scrapes[math.ceil(#scrapes * 0.99)], scrapes[#scrapes])
        end
        print(("%-32s %10.0f %8.2f %8.2f %8.2f   %s"):format(title, median(rounds, "rate"), median(rounds, "p50"),
            median(rounds, "p99"), median(rounds, "max"), text))
    end
    tell("load alone", without)
    for _, path in ipairs(paths) do
        tell("with " .. path, with[path])
    end
    local middle, longest = site:get "/own":match "(%S+) (%S+)"
    print(("/metrics takes the worker %s ms in the median, %s ms at most"):format(middle, longest))
end

local script, file = os.tmpname(), os.tmpname()
local out = assert(io.open(script, "w"))
out:write(wrk_report)
out:close()
local port = math.random(20000, 32000)
local site = nginx.start { log = "error", files = FILES, server = SERVER, listen = "127.0.0.1:" .. port,
    main = "worker_processes 1;", http = "keepalive_requests 100000000;" }
local good, problem = pcall(run, site, "http://127.0.0.1:" .. port, script, file)
site:stop()
os.remove(script)
os.remove(file)
if not good then
    io.stderr:write(tostring(problem), "\n")
    os.exit(1)
end
