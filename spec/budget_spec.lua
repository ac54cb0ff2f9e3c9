--- pool.max_total: one budget of connections for all processes.
-- Only Lua 5.4: who may connect when is decided by the core.
local tidepool = require "tidepool"
local child = require "spec.support.child"
local lfs = require "lfs"
local server = require "spec.support.server"


-- A name of its own for each test's budget and application.
local function new_name()
    return server.new_name "budget_spec"
end

local function options(name, pool)
    local where = {
        url = server.url { application_name = name }, log = { queries = false, slow_ms = 0 },
        pool = { min = 0, max = 4, max_total = 4, budget = name },
    }
    for key, value in pairs(pool or {}) do
        where.pool[key] = value
    end
    return where
end

-- What the tests have opened; it is closed after each, and what was acquired ends with it.
local opened = {}

local function open_at(where)
    local db = assert(tidepool.open(where))
    opened[#opened + 1] = db
    return db
end

local function open(name, pool)
    return open_at(options(name, pool))
end

local function segments(name)
    local found = 0
    for file in lfs.dir "/dev/shm" do
        found = found + (file:find(name, 1, true) and 1 or 0)
    end
    return found
end

-- What every child begins with: where the server is, and a pool of the budget that is its first argument.
local prelude = [[
local tidepool, system = require "tidepool", require "system"
local name, total, options = arg[1], tonumber(arg[2]), { min = 0, max = 4, max_total = tonumber(arg[2]) }
local pid = io.open("/proc/self/stat"):read("*n")
local function open(pool)
    for key, value in pairs(pool or {}) do options[key] = value end
    options.budget = name
    local log = { queries = false, slow_ms = 0 }
    return assert(tidepool.open { url = os.getenv "DATABASE_URL", log = log, pool = options })
end
io.stdout:setvbuf "line"
]]

local function start(name, total, text, more)
    local url = server.url { application_name = name }
    if more then
        url = url .. "&" .. more
    end
    return child.start(prelude .. text, { DATABASE_URL = url }, { name, total })
end

-- A process that holds `count` connections and then says "PID ready".
local function start_holder(name, total, count, sql)
    local handle = start(name, total, ([[
        local db, held = open(), {}
        for i = 1, %d do held[i] = assert(db:acquire()) end
        print(pid)
        %s
        system.sleep(60)
    ]]):format(count, sql and ("held[1]:query [[%s]]"):format(sql) or ""))
    handle.pid = tonumber(handle.lines()())
    return handle
end

local function kill(handle)
    server.sh("kill -9 " .. handle.pid)
    handle.killed = server.now()
end

-- Looks at pg_stat_activity without pause until the function that it returns is called, which returns the most that
-- was seen and how often it has looked.
local function sample(name)
    local stop_table = '"stop ' .. name .. '"'
    server.psql("create table " .. stop_table .. " ()")
    local function stop()
        server.psql("insert into " .. stop_table .. " default values")
    end
    finally(stop) -- also when the test fails: the sampler would go on
    local handle = child.start([[
        local server = require "spec.support.server"
        print "looking"
        print(server.psql(([=[
            create temp table seen (most int, times int);
            do $$
            declare most int := 0; times int := 0; now int; until_ timestamptz := clock_timestamp() + '100 s';
            begin
                while clock_timestamp() < until_ and not exists (select from STOP) loop
                    perform pg_stat_clear_snapshot();
                    select count(*) into now from pg_stat_get_activity(null)
                        where application_name = 'NAME' and backend_type = 'client backend';
                    most := greatest(most, now);
                    times := times + 1;
                end loop;
                insert into seen values (most, times);
            end $$;
            select most || ' ' || times from seen]=]):gsub("STOP", arg[2]):gsub("NAME", arg[1])))
    ]], nil, { name, stop_table })
    assert.equal("looking", handle.lines()())
    return function()
        stop()
        local output = handle.finish()
        local most, times = output:match "(%d+) (%d+)"
        assert.is_truthy(most, output)
        return tonumber(most), tonumber(times)
    end
end

-- The most that was seen is no more than there may be, and it was really looked.
local function assert_never_more_than(total, stop)
    local most, times = stop()
    assert.is_true(most >= 1 and most <= total, ("%d connections of %d were seen"):format(most, total))
    assert.is_true(times > 100, times .. " looks")
end

describe("pool.max_total", function()
    after_each(function()
        for i = #opened, 1, -1 do
            opened[i]:close()
            opened[i] = nil
        end
        collectgarbage() -- connections that a test still had
    end)

    -- A budget whose last process was killed is left for the next one that names it; here nobody will.
    teardown(function()
        for file in lfs.dir "/dev/shm" do
            if file:find "^tidepool%-%d+%-budget_spec%-" then
                os.remove("/dev/shm/" .. file)
            end
        end
    end)

    it("is refused where it makes no sense", function()
        local function refused(pool, message)
            local db, err = tidepool.open { url = server.url(), pool = pool }
            assert.is_nil(db)
            assert.equal("validation", err.kind)
            assert.equal(message, err.message)
        end
        refused({ max_total = -1 }, "pool.max_total must be a whole number from 0 to 100000")
        refused({ max_total = 2, min = 3 }, "pool.min (3) is greater than pool.max_total (2)")
        refused({ budget = "shop" }, "pool.budget needs pool.max_total")
        refused({ max_total = 2, budget = "../shop" },
            "pool.budget must be at most 64 letters, digits, '_', '-' and '.', and not begin with '.'")
    end)

    it("is read from DB_POOL_MAX_TOTAL and DB_POOL_BUDGET", function()
        local name = new_name()
        local output = child.run([[
            local db = assert(require "tidepool".open())
            assert(db:value "select 1")
            print(db:option "pool.budget", db:stats().budget.max, db:stats().max, db:stats().min)
            db:close()
        ]], { DATABASE_URL = server.url(), DB_POOL_MAX_TOTAL = "1", DB_POOL_BUDGET = name, DB_LOG_QUERIES = "false" })
        assert.equal(name .. "\t1\t1\t1\n", output)
        assert.matches("DB_POOL_MAX_TOTAL must be a whole number", (child.run(
            [[print(select(2, require "tidepool".open()))]],
            { DATABASE_URL = server.url(), DB_POOL_MAX_TOTAL = "some" })))
    end)

    it("is in the statistics, with what all have and how many processes they are", function()
        local name = new_name()
        local db = open(name)
        assert.is_nil(open_at(server.url()):stats().budget)
        assert.same({ max = 4, used = 0, processes = 1 }, db:stats().budget)
        local holder = start_holder(name, 4, 2)
        local conn = assert(db:acquire())
        assert.is_truthy(conn)
        assert.same({ max = 4, used = 3, processes = 2 }, db:stats().budget)
        kill(holder)
        holder.finish()
    end)

    it("is shared by the pools of one process that name the same budget, and not by others", function()
        local name = new_name()
        local a = open(name, { max_total = 2 })
        local b = open(name, { max_total = 2 })
        local other = open(new_name(), { max_total = 2 })
        local held = { assert(a:acquire()), assert(a:acquire()) }
        local conn, err = b:acquire(50)
        assert.is_nil(conn)
        assert.equal("pool_timeout", err.kind)
        assert.matches("budget: 2 of 2 connections are taken, by 1 process %(pool.max_total%)", err.message)
        assert.equal(1, other:value "select 1")
        held[1]:release()
        assert.equal(1, b:value "select 1")
        held[2]:release()
    end)

    it("is one for each server, database and role when no budget is named", function()
        local url = server.url { application_name = new_name() }
        local function pool(where)
            return open_at({
                url = where, log = { queries = false }, pool = { min = 0, max_total = 1, acquire_timeout_ms = 50 } })
        end
        local a = pool(url)
        local b = pool(url)
        local c = pool(server.url { database = "postgres" })
        local held = assert(a:acquire())
        assert.is_truthy(held)
        assert.equal("pool_timeout", select(2, b:query "select 1").kind)
        assert.equal(1, c:value "select 1")
    end)

    it("is what the least of its members says", function()
        local name = new_name()
        local a = open(name, { max_total = 4 })
        local b = open(name, { max_total = 2 })
        assert.equal(1, b:value "select 1")
        assert.equal(2, a:stats().budget.max)
        b:close()
        assert.equal(4, a:stats().budget.max)
    end)

    for _, tcp in ipairs { false, true } do
        local link = tcp and "TCP" or "socket"
        it("is free again with the end of close, when the server has ended (" .. link .. ")", function()
            local name = new_name()
            local url = server.url { application_name = name, tcp = tcp }
            for _ = 1, 20 do
                local db = assert(tidepool.open { url = url, pool = { min = 0, max_total = 2, budget = name } })
                local a, b = assert(db:acquire()), assert(db:acquire())
                a:release()
                b:release()
                db:close()
                assert.equal(0, server.backends(name))
            end
            assert.equal(0, segments(name))
        end)
    end

    it("is never exceeded by many processes that come, ask and go", function()
        local name, total, processes, tries = new_name(), 4, 6, 5
        local stop = sample(name)
        local handles = {}
        for i = 1, processes do
            handles[i] = start(name, total, ([[
                math.randomseed(pid)
                for try = 1, %d do
                    local db = open { min = 1, acquire_timeout_ms = 20000 }
                    for i = 1, math.random(40) do
                        assert(db:value("select pg_sleep($1)::text", math.random() / 200))
                        if math.random(10) == 1 then system.sleep(0.1) end
                    end
                    db:query { "select pg_sleep(5)", timeout_ms = 20 }
                    if try %% 2 == 0 then assert(db:drain(1000)) else db:close() end
                end
                print "done"
                os.exit(0, math.random(2) == 1) -- with and without closing the state
            ]]):format(tries))
        end
        for i = 1, processes do
            assert.same({ "done\n", 0 }, { handles[i].finish() })
        end
        assert_never_more_than(total, stop)
    end)

    it("is never exceeded while processes are replaced again and again, as at a reload", function()
        local name, total, workers, reloads = new_name(), 4, 3, 6
        local stop = sample(name)
        local function generation()
            local handles = {}
            for i = 1, workers do
                handles[i] = start(name, total, [[
                    local db, till = open { min = 2 }, system.monotime() + 0.6
                    print "up"
                    while system.monotime() < till do assert(db:value "select pg_sleep(0.002)::text") end
                    db:close()
                ]])
            end
            for i = 1, workers do
                assert.equal("up", handles[i].lines()())
            end
            return handles
        end
        local old = {}
        for _ = 1, reloads do
            local new = generation() -- while the old one still works
            for _, handle in ipairs(old) do
                assert.same({ "", 0 }, { handle.finish() })
            end
            old = new
        end
        for _, handle in ipairs(old) do
            assert.same({ "", 0 }, { handle.finish() })
        end
        assert_never_more_than(total, stop)
        assert.equal(0, segments(name))
    end)

    it("has the places of a killed process back within a second, and is not exceeded meanwhile", function()
        local name = new_name()
        local stop = sample(name)
        local db = open(name)
        for _ = 1, 5 do
            local holder = start_holder(name, 4, 4)
            kill(holder)
            assert.equal(1, db:value "select 1")
            local took = server.now() - holder.killed
            assert.is_true(took < 1000, took .. " ms")
            holder.finish()
        end
        assert_never_more_than(4, stop)
    end)

    it("is not exceeded by what a killed process has left running, when the server looks for its clients", function()
        local name = new_name()
        local stop = sample(name)
        local holder = start(name, 2, [[
            local db = open()
            print(pid)
            db:script "set client_connection_check_interval = 100; select pg_sleep(60)"
        ]])
        holder.pid = tonumber(holder.lines()())
        assert.is_true(server.wait(function()
            return server.psql("select count(*) from pg_stat_activity where query ~ 'pg_sleep.60' and state = 'active' "
                .. "and application_name = '" .. name .. "'") == "1"
        end))
        local db = open(name, { max_total = 1 })
        kill(holder)
        assert.equal(1, db:value "select 1")
        holder.finish()
        assert_never_more_than(1, stop)
    end)

    it("has connections that rest given up for a process that waits for one", function()
        local name = new_name()
        local holder = start(name, 4, [[
            local db, held = open { min = 2, idle_timeout_ms = 0 }, {}
            for i = 1, 4 do held[i] = assert(db:acquire()) end
            for i = 1, 4 do held[i]:release() end
            print(pid)
            system.sleep(60)
        ]])
        holder.pid = tonumber(holder.lines()())
        assert.equal(4, server.backends(name))
        local db = open(name)
        local began = server.now()
        local a = assert(db:acquire())
        assert.is_true(server.now() - began < 1000)
        local b = assert(db:acquire())
        assert.is_truthy(a and b)
        assert.equal(4, server.backends(name))
        kill(holder)
        holder.finish()
    end)

    it("names the processes that have it when a caller has waited in vain", function()
        local name = new_name()
        local one, other = start_holder(name, 3, 2), start_holder(name, 3, 1)
        local db = open(name, { max_total = 3, acquire_timeout_ms = 100 })
        local conn, err = db:acquire()
        assert.is_nil(conn)
        assert.equal("pool_timeout", err.kind)
        assert.matches("budget: 3 of 3 connections are taken, by 3 processes %(pool.max_total%)", err.message)
        kill(one)
        kill(other)
        one.finish()
        other.finish()
    end)
end)
