--- A soak: load of several processes and event loops while faults befall the server and the way to it; then it is
--- found out whether every promise was kept. `make soak` runs it beside a throwaway server, which it harms.
--
--     main.lua seconds=60 seed=1 luas="5.1 jit" build=FOLDER slack=1
--
-- luas: which Luas besides 5.4 there are builds for; slack: by how much bounds of time are widened. What the workers
-- have written, and the server's log, stay in build/soak. The last line counts the promises.
local child = require "spec.support.child"
local faults = require "spec.soak.faults"
local judge = require "spec.soak.judge"
local ledger = require "spec.soak.ledger"
local process = require "spec.support.process"
local proxy = require "spec.faults.proxy"
local server = require "spec.support.server"

local settings = { seconds = 60, seed = os.time() % 1000000, luas = "", build = "build", slack = 1 }
for _, word in ipairs(arg) do
    local name, value = word:match "^(%w+)=(.*)$"
    if not settings[name or word] then
        error("soak: unknown setting " .. word, 0)
    elseif value ~= "" then
        settings[name] = tonumber(value) or value
    end
end

local READY_MS, END_MS = 60000, 45000
-- No fault in so many milliseconds before the load ends, so that what recovers is seen to.
local QUIET_MS = 5000
local GAP = settings.seconds > 60 and { 5000, 15000 } or { 3000, 8000 }

-- Name, Lua, loop, whether through the proxy.
local kinds = {
    { "blocking direct", "5.4", "blocking", false },
    { "blocking proxy", "5.4", "blocking", true },
    { "cqueues direct", "5.4", "cqueues", false },
    { "cqueues proxy", "5.4", "cqueues", true },
    { "luv proxy", "5.4", "luv", true },
    { "copas on 5.1 proxy", "5.1", "copas", true },
    { "luv on LuaJIT direct", "jit", "luv", false },
}

local PROGRAM = [[
local settings = {}
for _, word in ipairs(arg) do
    local name, value = word:match "^(%w+)=(.*)$"
    settings[name] = value
end
require("spec.soak.worker").main(settings)
]]

local PID = assert(io.open "/proc/self/stat"):read "n"
local folder = settings.build .. "/soak"

-- --------------------------------------------------------------------- workers

local function environment_of(version)
    local environment = { LUA_PATH = os.getenv "LUA_PATH" }
    if version == "5.4" then
        environment.LUA_CPATH = os.getenv "LUA_CPATH"
    else
        environment.LUA_CPATH = ("%s/lua%s/lua/?.so;;"):format(settings.build, version)
        environment.LUA = version == "jit" and settings.build .. "/luajit/test-bin/lua_host" or "lua" .. version
    end
    return environment
end

local function start_worker(number, kind, link)
    local name, version, loop, by_proxy = table.unpack(kind)
    local path = folder .. "/" .. name:gsub(" ", "-")
    local options = { application_name = "soak " .. name }
    local words = {
        name = name, number = number, loop = loop, seconds = settings.seconds, seed = settings.seed + number,
        parent = PID, notes = path .. ".notes", book = path .. ".book",
        url = by_proxy and link:url(options) or server.url { tcp = true, sslmode = "disable" },
    }
    local arguments = {}
    for word, value in pairs(words) do
        arguments[#arguments + 1] = word .. "=" .. value
    end
    os.remove(words.notes)
    return { name = name, words = words, handle = child.start(PROGRAM, environment_of(version), arguments) }
end

local function start_workers(link)
    local workers, there = {}, " 5.4 " .. settings.luas .. " "
    for number, kind in ipairs(kinds) do
        if there:find(" " .. kind[2] .. " ", 1, true) then
            workers[#workers + 1] = start_worker(number, kind, link)
        else
            print(("no worker %s: there is no build for Lua %s"):format(kind[1], kind[2]))
        end
    end
    return workers
end

-- Waits until all workers have noted something.
local function await(workers, what, ms)
    return server.wait(function()
        for _, worker in ipairs(workers) do
            worker.noted = judge.read(worker.words.notes)
            if not worker.noted[what] then
                server.sleep(20)
                return false
            end
        end
        return true
    end, ms)
end

-- Ends those that have not ended by themselves. Returns how many, and what all of them have said.
local function finish(workers)
    local hung, output = 0, {}
    for _, worker in ipairs(workers) do
        if not worker.noted.ended then
            hung = hung + 1
            if worker.noted.pid then server.sh("kill -9 " .. worker.noted.pid) end
        end
    end
    for _, worker in ipairs(workers) do
        local text, code = worker.handle.finish()
        if text ~= "" or code ~= 0 then
            output[#output + 1] = ("%s ended with %s: %s"):format(worker.name, code, text)
        end
    end
    return hung, table.concat(output, "\n    "), #output
end

-- ------------------------------------------------------------------------ run

local function sessions()
    return tonumber(server.psql "select count(*) from pg_stat_activity where application_name like 'soak %'")
end

-- Ends what still runs when something has failed here.
local function give_up(link, workers, err)
    for _, worker in ipairs(workers) do worker.noted = judge.read(worker.words.notes) end
    local _, output = finish(workers)
    link:stop()
    error(err .. "\n" .. output, 0)
end

local function run(link, workers)
    assert(await(workers, "began", READY_MS), "not all workers have begun")
    local began = server.now()
    local count = faults.run(link, began + settings.seconds * 1000 - QUIET_MS, GAP, function(name)
        print(("%7.1f s  %s"):format((server.now() - began) / 1000, name))
        io.flush()
    end)
    await(workers, "ended", math.max(began + settings.seconds * 1000 - server.now(), 0) + END_MS)
    local hung, output, ends = finish(workers)
    server.wait(function() return sessions() == 0 end, 5000)
    return {
        { name = "workers that hung or died", count = hung + ends, examples = output },
        { name = "connections that were left", count = sessions() },
    }, count
end

local function report(results, lines)
    local passed, failed = 0, 0
    print()
    for _, line in ipairs(lines) do print(line) end
    print()
    for _, result in ipairs(results) do
        print(("%s %8d  %s"):format(result.count == 0 and "kept  " or "BROKEN", result.count, result.name))
        if result.count > 0 and result.examples then
            print("    " .. result.examples)
        end
        passed = passed + (result.count == 0 and 1 or 0)
        failed = failed + (result.count == 0 and 0 or 1)
    end
    if failed > 0 then
        print(("the soak with SEED=%d has broken promises; what was written is in %s"):format(settings.seed, folder))
    end
    print(("\n%d passed, %d failed, 0 skipped"):format(passed, failed))
    return failed == 0
end

local function append(list, more)
    for _, value in ipairs(more) do list[#list + 1] = value end
end

process.alarm(settings.seconds + (READY_MS + END_MS) // 1000 + 120)
print(("soak of %d s, SEED=%d"):format(settings.seconds, settings.seed))
math.randomseed(settings.seed)
server.sh("mkdir -p " .. folder)
server.psql "alter system set deadlock_timeout = '100ms'"
server.psql "select pg_reload_conf()"
ledger.create()
local link = proxy.start()
local workers = start_workers(link)
local ran, results, count = xpcall(run, debug.traceback, link, workers)
if not ran then give_up(link, workers, results) end
link:stop()
local log = folder .. "/server.log"
server.sh(("cp %s/server.log %s"):format(server.socket, log))
local judged, lines = judge.judge(workers, log, settings.slack)
local books = {}
for _, worker in ipairs(workers) do books[#books + 1] = worker.words.book end
local reconciled, figures = ledger.reconcile(books)
append(reconciled, results)
append(reconciled, judged)
append(figures, lines)
figures[#figures + 1] = ("%-24s %d"):format("faults", count)
os.exit(report(reconciled, figures), true)
