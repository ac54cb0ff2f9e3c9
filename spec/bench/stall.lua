--- Does anything hold up an event loop? A task looks at the clock every millisecond, beside whatever a database can be
--- asked to do and whatever may go wrong with it (stall_loads.lua). Prints how late it came, a line for each load:
---
---     loop  load  ticks  p50_ms  p99_ms  max_ms
---
---     stall.lua [loops=cqueues,luv,nginx] [ms=1000] [only=queries,silent_tls,...] [max_ms=MS]
---
--- With max_ms it ends with 1 when a task was later than that. `make bench-loops` runs it in the network of
--- silent_net.sh, where a name can be looked up for ever.
local core = require "tidepool.core"
local loads = require "spec.bench.stall_loads"
local server = require "spec.support.server"
local socket = require "socket"

local settings = { loops = "cqueues,luv,nginx", ms = "1000", only = table.concat(loads.names, ","), max_ms = "" }
for _, word in ipairs(arg) do
    local name, value = word:match "^([%w_]+)=(.*)$"
    if settings[name or ""] == nil then
        error("bench-loops: unknown setting " .. word, 0)
    elseif value ~= "" then
        settings[name] = value
    end
end

local function words(text)
    local list = {}
    for word in text:gmatch "[^,]+" do
        list[#list + 1] = word
    end
    return list
end

local watched_ms, only, max_ms = tonumber(settings.ms), words(settings.only), tonumber(settings.max_ms)

-- ---------------------------------------------------------------------- places

local held = {} -- sockets that only have to be there

-- A port of ours on which nobody answers; with `full`, one that takes no connection either.
local function silent_port(full)
    local listener = assert(socket.bind("127.0.0.1", 0, full and 0 or 64))
    local _, port = listener:getsockname()
    held[#held + 1] = listener
    for _ = 1, full and 4 or 0 do
        local caller = socket.tcp()
        caller:settimeout(0)
        caller:connect("127.0.0.1", port)
        held[#held + 1] = caller
    end
    return port
end

local function at(port, sslmode)
    return server.url { host = "127.0.0.1", port = port, sslmode = sslmode }
end

local places = {
    good = server.url(),
    refused = at(1, "disable"),
    full_backlog = at(silent_port(true), "disable"),
    silent_server = at(silent_port(false), "disable"),
    silent_tls = at(silent_port(false), "require"),
}
local names = socket.udp()
if names:setsockname("127.0.0.1", 53) then
    held[#held + 1] = names
    places.silent_names = server.url { host = "db.silent.test", port = 5432 }
end

-- ----------------------------------------------------------------------- loops

local run = {}

function run.cqueues()
    local cqueues = require "cqueues"
    local controller, found = cqueues.new(), nil
    local loop = {
        name = "cqueues",
        spawn = function(fn) controller:wrap(fn) end,
        sleep = function(ms) cqueues.sleep(ms / 1000) end,
    }
    controller:wrap(function() found = loads.watch(loop, places, watched_ms, only) end)
    assert(controller:loop())
    return found
end

function run.luv()
    local uv = require "luv"
    local found
    local function resume(task) assert(coroutine.resume(task)) end
    local loop = { name = "luv", spawn = function(fn) resume(coroutine.create(fn)) end }
    function loop.sleep(ms)
        local task, timer = coroutine.running(), uv.new_timer()
        uv.update_time()
        timer:start(ms, 0, function()
            timer:close()
            resume(task)
        end)
        coroutine.yield()
    end
    loop.spawn(function() found = loads.watch(loop, places, watched_ms, only) end)
    uv.run()
    return found
end

-- A request to a worker, with the loads as its light threads and the ticks as timers of nginx.
function run.nginx()
    local nginx = require "spec.support.nginx"
    local function list(values)
        local quoted = {}
        for key, value in pairs(values) do
            quoted[#quoted + 1] = ("[%q] = %q"):format(key, value):gsub('^%["(%d+)"%]', "[%1]")
        end
        return "{ " .. table.concat(quoted, ", ") .. " }"
    end
    local here = debug.getinfo(1, "S").source:match "^@(.*)stall%.lua$"
    local file <close> = assert(io.open(here .. "stall_loads.lua"))
    local site = nginx.start {
        files = {
            ["stall_loads.lua"] = file:read "a",
            ["stall.lua"] = ([[
                local loop = { name = "nginx", spawn = ngx.thread.spawn }
                function loop.sleep(ms) ngx.sleep(ms / 1000) end
                for _, one in ipairs(require "stall_loads".watch(loop, %s, %d, %s)) do
                    ngx.say(one.name, "\t", one.why or table.concat({ one.ticks, one.p50, one.p99, one.max }, "\t"))
                end
            ]]):format(list(places), watched_ms, list(only)),
        },
        server = [[location /stall { content_by_lua_file stall.lua; }]],
    }
    local answer, status = site:get("/stall", { timeout_ms = 60000 + 2 * watched_ms * #only })
    local log = site:log()
    site:stop()
    if status ~= 200 then
        error(("nginx: %s\n%s"):format(tostring(status), log), 0)
    end
    local found = {}
    for name, rest in answer:gmatch "([%w_]+)\t([^\n]*)\n" do
        local ticks, p50, p99, max = rest:match "^(%d+)\t(%-?[%d.e-]+)\t(%-?[%d.e-]+)\t(%-?[%d.e-]+)$"
        found[#found + 1] = { name = name, ticks = tonumber(ticks), p50 = tonumber(p50), p99 = tonumber(p99),
            max = tonumber(max), why = not ticks and rest or nil }
    end
    return found
end

-- --------------------------------------------------------------------- figures

io.stdout:setvbuf "line"
print("loop\tload\tticks\tp50_ms\tp99_ms\tmax_ms")
local good, began = true, core.now()
for _, name in ipairs(words(settings.loops)) do
    for _, one in ipairs(run[name]()) do
        if one.why then
            print(("%s\t%s\tnot measured: %s"):format(name, one.name, one.why))
        else
            print(("%s\t%s\t%d\t%.2f\t%.2f\t%.2f"):format(name, one.name, one.ticks, one.p50, one.p99, one.max))
            good = good and not (max_ms and one.max > max_ms)
        end
    end
end
print(("%.1f s"):format((core.now() - began) / 1000))
os.exit(good and 0 or 1)
