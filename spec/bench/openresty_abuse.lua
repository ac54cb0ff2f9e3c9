--- Requests that end in every way, and reloads, while the server is asked how many connections there are.
--
-- Two workers with one budget of connections serve requests of several kinds; clients are killed in the middle, some
-- requests end themselves within a transaction, the workers are replaced again and again. Reports what was served, the
-- most connections that were ever seen, what is left at the end, and what nginx has logged. Fails when the budget was
-- exceeded, anything is left or something else than the abuse was logged. `make soak-openresty` runs it.
local nginx = require "spec.support.nginx"
local server = require "spec.support.server"
local tidepool = require "tidepool"

local settings = { requests = 100000, reloads = 20, budget = 12, port = 18181, deadline = 420 }
for _, word in ipairs(arg) do
    local name, value = word:match "^(%w+)=(%d+)$"
    if not name and not word:find "=$" or name and not settings[name] then
        error("soak-openresty: unknown setting " .. word, 0)
    elseif name then
        settings[name] = tonumber(value)
    end
end

local files = {
    ["abuse.lua"] = ([[
        local tidepool = require "tidepool"
        local db = assert(tidepool.open {
            url = os.getenv "DATABASE_URL", application_name = "abuse", log = { queries = false },
            pool = { min = 1, max = 8, max_total = %d, acquire_timeout_ms = 10000 },
        })
        local served = ngx.shared.served
        local function fail(err)
            served:incr("failed", 1, 0)
            ngx.log(ngx.ERR, "failed: ", tostring(err))
        end
        local kinds = {
            function() return db:value("select name from bench_point where id = $1", math.random(100000)) end,
            function() return db:value("select name from bench_point where id = $1", math.random(100000)) end,
            function() return db:value("select name from bench_point where id = $1", math.random(100000)) end,
            function()
                return db:transaction(function(tx)
                    tx:exec("update abuse set n = n + 1 where id = $1", math.random(100))
                    return tx:value "select 1"
                end)
            end,
            function()
                return db:transaction(function(tx)
                    tx:exec("update abuse set n = n + 1000000 where id = $1", math.random(100))
                    served:incr("exits", 1, 0)
                    ngx.exit(math.random() < 0.5 and 500 or 444)
                end)
            end,
            function() return db:value("select count(*) from pg_sleep($1)", math.random() / 50) end,
            function()
                local sum = 0
                for row in db:each("select g from generate_series(1, 200) g") do sum = sum + row.g end
                return sum
            end,
        }
        return function()
            local value, err = kinds[math.random(#kinds)]()
            if value == nil then
                fail(err)
                return ngx.exit(500)
            end
            served:incr("served", 1, 0)
            ngx.print(value)
        end
    ]]):format(settings.budget),
}

server.psql [[drop table if exists abuse;
    create table abuse as select g as id, 0::bigint as n from generate_series(1, 100) g]]

local site = nginx.start {
    main = "worker_processes 2; worker_shutdown_timeout 10s;",
    http = "lua_shared_dict served 1m;",
    log = "warn",
    listen = "127.0.0.1:" .. settings.port,
    files = files,
    server = [[
        location = /work { lua_check_client_abort on; content_by_lua_block { require "abuse"() } }
        location = /count { content_by_lua_block { local s = ngx.shared.served
            ngx.print(s:get "served" or 0, " ", s:get "exits" or 0, " ", s:get "failed" or 0) } }
    ]],
}

local watch = assert(tidepool.open { url = server.url(), pool = { max = 1 }, log = { queries = false } })
local function connections(where)
    local sql = "select count(*) from pg_stat_activity where application_name = 'abuse' "
    return assert(watch:value(sql .. (where or "")))
end

local function counts()
    local body = site:get("/count", { timeout_ms = 5000 }) or "0 0 0"
    local served, exits, failed = body:match "(%d+) (%d+) (%d+)"
    return tonumber(served), tonumber(exits), tonumber(failed)
end

-- Clients in the background, until they are killed.
local function clients()
    local pid = server.sh(("wrk -t 1 -c 48 -d 60 --timeout 5 http://127.0.0.1:%d/work >/dev/null 2>&1 & echo $!")
        :format(settings.port))
    return tonumber(pid)
end

math.randomseed(os.time())
local core = require "tidepool.core"
local began, samples, most, reloads, kills = core.now(), 0, 0, 0, 0
local served = 0
local last_kill, last_reload = core.now(), core.now()
local load = clients()
local old = {}
while (served < settings.requests or reloads < settings.reloads) and core.now() - began < settings.deadline * 1000 do
    most = math.max(most, connections())
    samples = samples + 1
    local now = core.now()
    if now - last_kill > 300 + math.random(700) then
        server.sh("kill -9 " .. load)
        kills, last_kill = kills + 1, now
        load = clients()
        served = counts()
    end
    if reloads < settings.reloads and now - last_reload > 1500 then
        for _, pid in ipairs(site:reload()) do old[#old + 1] = pid end
        reloads, last_reload = reloads + 1, now
    end
end
server.sh("kill -9 " .. load)
site:wait_end(old, 15000)
local exits, failed
served, exits, failed = counts()
local seconds = (core.now() - began) / 1000
local quiet = server.wait(function() return connections "and state <> 'idle'" == 0 end, 10000)
local left = connections()
local log = site:log()
site:stop()
local gone = server.wait(function() return connections() == 0 end, 10000)
local rolled_back = watch:value "select max(n) < 1000000 from abuse"

local strange = {}
for line in log:gmatch "[^\n]+" do
    if line:find "%[error%]" or line:find "%[crit%]" or line:find "%[alert%]" or line:find "%[emerg%]" then
        strange[#strange + 1] = line
    end
end

print(("requests: %d served, %d ended by ngx.exit in a transaction, %d failed, in %.0f s; clients killed %d times (48 "
    .. "connections each), %d reloads"):format(served, exits, failed, seconds, kills, reloads))
print(("connections: %d at most in %d samples (budget %d); %d left at rest after the load, none in use: %s; "
    .. "all gone after the end: %s"):format(most, samples, settings.budget, left, tostring(quiet == true),
    tostring(gone == true)))
print(("every transaction that was left in the middle was rolled back: %s"):format(tostring(rolled_back)))
print(("error.log: %d lines of errors"):format(#strange))
for i = 1, math.min(#strange, 10) do print("  " .. strange[i]) end
watch:close()
local good = served >= settings.requests and reloads >= settings.reloads and most <= settings.budget and quiet and gone
    and rolled_back and #strange == 0 and failed == 0
os.exit(good and 0 or 1)
