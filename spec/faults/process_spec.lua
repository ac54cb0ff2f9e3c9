--- What happens within the process: no descriptors, signals, a clock that jumps, names that cannot be resolved, very
--- many waiters and cancels, connections that the program loses.
-- Only Lua 5.4: what waits, gives up and repeats is the core.
-- Alone: how soon all is well again depends on who else is busy.
local child = require "spec.support.child"
local lab = require "spec.faults.lab"
local loops = require "spec.support.loops"
local server = require "spec.support.server"
local tidepool = require "tidepool"

local fails = require("spec.support.expect").fails

-- What the programs below begin with. They print "well" at their end.
local PROLOGUE = [[
    local tidepool, server = require "tidepool", require "spec.support.server"
    local process, lfs = require "spec.support.process", require "lfs"
    local url, late = arg[1], tonumber(arg[2])
    local function open(options)
        local where = { url = url, log = { queries = false }, pool = { min = 0, max = 2, acquire_timeout_ms = 300 } }
        for name, value in pairs(options or {}) do where[name] = value end
        return assert(tidepool.open(where))
    end
    local function descriptors()
        local count = 0
        for _ in lfs.dir "/proc/self/fd" do count = count + 1 end
        return count
    end
    local function ends_at(deadline, fn)
        local began = server.now()
        local result, err = fn()
        local took = server.now() - began
        assert(took >= deadline - 1 and took <= deadline + late, ("%.0f ms"):format(took))
        return result, err
    end
]]

local function runs(program, environment, url, through)
    local output, code = child.run(PROLOGUE .. program .. "\nprint 'well'", environment,
        { url or server.url(), tostring(lab.LATE_MS) }, through)
    assert.equal("well\n", output)
    assert.equal(0, code)
end

describe("a process without descriptors (EMFILE)", function()
    it("uses the connections that it has, fails to make others in time, and recovers", function()
        runs [[
            local db = open()
            local conn = assert(db:acquire())
            local before = descriptors()
            process.limit_files(before + 20)
            local files = {}
            while true do
                local file = io.open "/dev/null"
                if not file then break end
                files[#files + 1] = file
            end
            assert(#files >= 15)
            assert(conn:value "select 1" == 1)
            local _, err = ends_at(300, function() return db:query "select 1" end)
            assert(err.kind == "pool_timeout" and err.message:find("open files", 1, true), tostring(err))
            local other, why = tidepool.open { url = url, log = { queries = false } }
            assert(other == nil and why.kind == "memory", tostring(why))
            _, err = conn:query { "select pg_sleep(5)", timeout_ms = 50 } -- a cancel needs one, too
            assert(err.kind == "timeout", tostring(err))
            for _, file in ipairs(files) do file:close() end
            conn:release()
            assert(db:value { "select 2", timeout_ms = 3000 } == 2)
            local a, b = assert(db:acquire(3000)), assert(db:acquire(3000))
            assert(a:value "select 3" == 3 and b:value "select 4" == 4)
            a:release()
            b:release()
            assert(db:close())
            assert(server.wait(function() return descriptors() < before end))
        ]]
    end)
end)

describe("signals", function()
    it("that interrupt system calls (EINTR) are not noticed", function()
        runs [[
            local db = open { pool = { min = 0, max = 2, acquire_timeout_ms = 5000 } }
            process.interrupt(200)
            for i = 1, 300 do
                assert(db:value("select $1::int", i) == i)
                if i % 30 == 0 then
                    assert(#assert(db:query "select repeat('x', 1000) from generate_series(1, 2000)") == 2000)
                    assert(db:copy_out("(select generate_series(1, 5000))", function() end))
                    assert(db:transaction(function(tx) return tx:value "select 1" end) == 1)
                    db:with(function(conn) conn:discard() end)
                end
            end
            local _, err = ends_at(100, function() return db:query { "select pg_sleep(5)", timeout_ms = 100 } end)
            assert(err.kind == "timeout", tostring(err))
            local a, b = assert(db:acquire()), assert(db:acquire())
            a:release()
            b:release()
            assert(process.interrupt(0) > 100)
            assert(db:close())
        ]]
    end)

    it("that tell of a closed socket (SIGPIPE) do not end the process", function()
        runs [[
            for line in io.lines "/proc/self/status" do
                local ignored = line:match "^SigIgn:%s+(%x+)"
                assert(not ignored or tonumber(ignored, 16) & (1 << 12) == 0, "SIGPIPE is not ignored here")
            end
            local db, killer = open(), open()
            local large = ("x"):rep(8 * 1024 * 1024)
            for i = 1, 5 do
                local conn = assert(db:acquire())
                assert(conn:value("select length($1)", "abc") == 3)
                killer:value("select pg_terminate_backend($1, 5000)", conn:backend_pid())
                local _, err = conn:query("select length($1)", large)
                assert(err.kind == "connection", tostring(err))
                conn:release()
                local text = assert(db:acquire())
                killer:value("select pg_terminate_backend($1, 5000)", text:backend_pid())
                _, err = text:script("select length('" .. large .. "')")
                assert(err.kind == "connection", tostring(err))
                text:release()
            end
            assert(db:value "select 1" == 1)
            assert(db:close() and killer:close())
        ]]
    end)
end)

-- Sanitizers want to be loaded before anything else.
local function preloads(what)
    if lab.slow then
        print "nothing is preloaded beside sanitizers: no failing malloc, no clock that jumps"
        return nil
    end
    return { LD_PRELOAD = package.searchpath("spec.support." .. what, package.cpath) }
end

describe("memory that the core does not get, whichever call it is", function()
    local environment = preloads "failing_malloc"
    if not environment then return end

    it("is an error or not noticed, and the pool goes on", function()
        runs([[
            local large = ("x"):rep(20000)
            local options = { pool = { min = 0, max = 2, acquire_timeout_ms = 3000 }, retry = { base_ms = 1 } }
            local steady = open(options)
            assert(steady:script "create table if not exists short_of_memory (id int, t text)")
            local kinds = {}
            local function note(result, err)
                if result == nil and err then
                    kinds[err.kind] = (kinds[err.kind] or 0) + 1
                    assert(err.kind == "memory" or err.kind == "connection" or err.kind == "database", tostring(err))
                end
                return result
            end
            local function use(db)
                note(db:value("select length($1)", large))
                note(db:query "select i, 'text' as t, array[i] as a from generate_series(1, 300) i")
                note(db:script "select 1; select 2")
                note(db:transaction(function(tx) return tx:value "select 1" end))
                note(db:copy_in("short_of_memory", { { 1, "one" }, { 2, large } }))
                note(db:pipeline(function(p) for i = 1, 3 do p:value("select $1::int", i) end end))
                local conn = note(db:acquire())
                if conn then
                    note(conn:one "select 1 as a")
                    conn:release()
                end
            end
            local function work()
                use(steady)
                local db = note(tidepool.open { url = url, log = { queries = false, sink = function() end },
                    pool = options.pool, retry = options.retry })
                if db then
                    use(db)
                    db:close()
                end
            end
            work()
            local before, n = descriptors(), 0
            repeat
                n = n + 1
                process.fail_malloc(n)
                local ok, err = pcall(work)
                local failed = process.fail_malloc(0)
                assert(ok or tostring(err):find "memory", err)
                assert(steady:value("select $1::int", n) == n)
                assert(server.wait(function()
                    local stats = steady:stats()
                    return stats.active_connections + stats.mending == 0
                end, 1000), "none is stuck")
            until not failed
            assert(n > 50, n)
            assert(kinds.memory and kinds.memory > 10, kinds.memory)
            local a, b = assert(steady:acquire()), assert(steady:acquire())
            a:release()
            b:release()
            assert(steady:script "drop table short_of_memory")
            assert(steady:close())
            assert(server.wait(function() return descriptors() < before end))
        ]], environment)
    end)
end)

describe("a wall clock that jumps by hours at every look", function()
    local environment = preloads "jumping_clock"
    if not environment then return end

    it("changes no deadline, no lifetime and no measured time", function()
        runs([[
            local first, second = os.time(), os.time()
            assert(math.abs(first - second) > 3600, "the clock jumps")
            local db = open { pool = { min = 0, max = 1, acquire_timeout_ms = 150, idle_timeout_ms = 60000 } }
            local pid = db:value "select pg_backend_pid()"
            local _, err = ends_at(100, function() return db:query { "select pg_sleep(5)", timeout_ms = 100 } end)
            assert(err.kind == "timeout", tostring(err))
            assert(db:value { "select pg_backend_pid()", timeout_ms = 3000 } == pid)
            local other = open { pool = { min = 0, max = 2, acquire_timeout_ms = 150 } }
            local slept = coroutine.wrap(function() return other:query "select pg_sleep(0.05)" end)
            assert(slept())
            local held = assert(other:acquire())
            local loop = require "cqueues".new()
            local late
            loop:wrap(function()
                local mine = assert(other:acquire())
                _, late = ends_at(120, function() return other:acquire(120) end)
                mine:release()
            end)
            assert(loop:loop())
            assert(late.kind == "pool_timeout" or late.kind == "busy", tostring(late))
            held:release()
            local stats = db:stats()
            assert(stats.query.max_ms < 1000 and stats.wait.max_ms < 1000, stats.query.max_ms)
            assert(stats.closed.max_lifetime == 0 and stats.closed.idle_timeout == 0)
            assert(db:value "select pg_backend_pid()" == pid)
            assert(db:close() and other:close())
        ]], environment)
    end)
end)

describe("names that cannot be resolved", function()
    local silent_net = "spec/support/silent_net.sh"
    if select(2, server.sh(silent_net .. " true")) ~= 0 then
        print "no network namespaces here: names are not looked up"
        return
    end

    -- In a network whose name server is silent, or not there at all.
    local function without_names(program)
        runs(program, nil, nil, silent_net)
    end

    it("fail a call at its deadline with the reason, and no other pool feels it", function()
        without_names [[
            local good, bad = open(), open { url = "postgresql://u:p@db.invalid/d" }
            assert(good:value "select 1" == 1)
            local _, err = ends_at(300, function() return bad:query "select 1" end)
            assert(err.message:find("db.invalid", 1, true), tostring(err))
            assert(err.kind == "connection", tostring(err))
            assert(good:value "select 2" == 2)
            assert(bad:close() and good:close())
        ]]
    end)

    it("that hang fail a call at its deadline, and closing does not wait for them", function()
        without_names [[
            local silent = assert(require "socket".udp())
            assert(silent:setsockname("127.0.0.1", 53))
            local good, bad = open(), open { url = "postgresql://u:p@db.invalid/d" }
            assert(good:value "select 1" == 1)
            local _, err = ends_at(300, function() return bad:query "select 1" end)
            assert(err.kind == "pool_timeout", tostring(err))
            _, err = ends_at(100, function() return bad:acquire(100) end)
            assert(err.kind == "pool_timeout", tostring(err))
            assert(good:value "select 2" == 2)
            local began = server.now()
            assert(bad:close() and good:close())
            assert(server.now() - began < late)
        ]]
    end)
end)

loops.each(function(loop)
    it("ten thousand who wait for eight connections are all told when the pool is closed", function()
        local db = loop.open { pool = { min = 8, max = 8, acquire_timeout_ms = 60000 } }
        assert(db:wait_ready(5000))
        local before = lab.descriptors()
        local count, told, most = lab.slow and 1000 or 10000, 0, 0
        loop.run(function()
            local held = {}
            for i = 1, 8 do held[i] = assert(db:acquire()) end
            for _ = 1, count do
                loop.spawn(function()
                    fails("pool_closed", db:acquire())
                    told = told + 1
                end)
            end
            assert.is_true(loop.wait(function() return db:stats().waiting_requests == count end, 20000))
            most = lab.descriptors()
            local began = server.now()
            assert(db:close())
            assert.is_true(loop.wait(function() return told == count end))
            assert.is_true(server.now() - began < 5000)
            for _, conn in ipairs(held) do conn:release() end
        end)
        assert.equal(count, told)
        assert.is_true(most <= before + 16, ("%d descriptors, %d before"):format(most, before))
        assert.equal(0, db:stats().waiting_requests)
        assert.equal(0, db:stats().total_connections)
    end)

    -- CANCELS=10000 make spec FILE=spec/faults/process_spec.lua
    it("a storm of cancels hits nobody else", function()
        local cancels = tonumber(os.getenv "CANCELS") or (lab.slow and 60 or 400)
        local db = loop.open { pool = { min = 4, max = 4, acquire_timeout_ms = 60000 }, retry = { attempts = 1 } }
        local cancelled, innocent, victims, left = 0, 0, {}, cancels
        local tasks = {}
        for i = 1, 8 do
            tasks[i] = function()
                while left > 0 do
                    left = left - 1
                    -- Some end at about the time of their deadline.
                    local ms = left % 3 == 0 and 5000 or left % 3
                    local _, err = db:query({ "select pg_sleep($1 / 1000.0)", timeout_ms = left % 4 + 1 }, ms)
                    if err and err.kind == "timeout" then cancelled = cancelled + 1 end
                    for k = 1, 3 do
                        local value, wrong = db:value("select $1::int", k)
                        innocent = innocent + 1
                        if value ~= k then victims[#victims + 1] = tostring(wrong or value) end
                    end
                end
            end
        end
        loop.run(table.unpack(tasks))
        assert.same({}, victims)
        assert.is_true(cancelled >= cancels / 4, ("%d of %d"):format(cancelled, cancels))
        assert.equal(innocent, 3 * cancels)
        assert.equal(0, db:stats().closed.dead)
        assert.is_true(server.wait(function() return db:stats().idle_connections == 4 end))
    end)
end, { "cqueues" })

describe("a connection that the program has lost", function()
    it("is closed, and the log and an event say where it was acquired", function()
        lab.leaves_nothing(function(name)
            local lines, events = {}, {}
            local db <close> = assert(tidepool.open {
                url = server.url { application_name = name }, pool = { min = 0, max = 2 },
                log = { queries = false, sink = function(level, text) lines[#lines + 1] = level .. ": " .. text end },
            })
            db:on("leak", function(event) events[#events + 1] = event end)
            local pid
            local function lose()
                pid = assert(db:acquire()):backend_pid()
            end
            local line = debug.getinfo(lose, "S").linedefined + 1
            lose()
            assert.is_true(server.wait(function()
                collectgarbage()
                return db:stats().closed.discarded == 1
            end))
            assert.equal(1, db:value "select 1")
            assert.equal(1, #events)
            assert.equal(pid, events[1].backend_pid)
            local where = ("process_spec.lua:%d"):format(line)
            assert.truthy(events[1].message:find(where, 1, true), events[1].message)
            assert.equal(1, #lines)
            assert.truthy(lines[1]:find "^warning: a connection was lost" and lines[1]:find(where, 1, true), lines[1])
        end)
    end)

    it("in a transaction whose coroutine is dropped is told of, too, and what it did is undone", function()
        lab.leaves_nothing(function(name)
            local db <close> = lab.open { url = server.url { application_name = name } }
            assert(db:script "drop table if exists process_lost; create table process_lost (id int)")
            local events = {}
            db:on("leak", function(event) events[#events + 1] = event.message end)
            local stuck = coroutine.wrap(function()
                db:transaction(function(tx)
                    assert(tx:exec "insert into process_lost values (1)")
                    coroutine.yield()
                end)
            end)
            stuck()
            stuck = nil
            assert.is_true(server.wait(function()
                collectgarbage()
                return db:stats().closed.discarded == 1
            end))
            assert.equal(0, db:value "select count(*) from process_lost")
            assert.equal(1, #events)
            assert.truthy(events[1]:find("process_spec.lua:", 1, true), events[1])
            assert.is_nil(stuck)
            assert(db:exec "drop table process_lost")
        end)
    end)

    it("is not told of when it was released, discarded or closed", function()
        local db <close> = lab.open()
        local told = 0
        db:on("leak", function() told = told + 1 end)
        assert(db:acquire()):release()
        assert(db:acquire()):discard()
        do
            local conn <close> = assert(db:acquire())
            assert.equal(1, conn:value "select 1")
        end
        collectgarbage()
        assert.equal(1, db:value "select 1")
        assert.equal(0, told)
    end)
end)
