--- Which event loop a call waits with: the one that runs it, the one that open was told of, or none.
local compat = require "tidepool.compat"
local loops = require "spec.support.loops"
local own_loop = require "spec.support.own_loop"
local server = require "spec.support.server"
local tidepool = require "tidepool"

local function open(options)
    local where = { url = server.url(), log = { queries = false }, pool = { min = 0, max = 4 } }
    for name, value in pairs(options or {}) do
        where[name] = value
    end
    return assert(tidepool.open(where))
end

-- A library, or nil where this Lua has none; then the tests that need it say so.
local function library(name)
    local found, lib = pcall(require, name)
    if not found then
        print(("no tests with %s: it is not installed for %s"):format(name, _VERSION))
    end
    return found and lib or nil
end

describe("the option await", function()
    it("raises an error for a name that is not known, which lists those that are", function()
        local ok, err = pcall(open, { await = "libevent" })
        assert.is_false(ok)
        assert.truthy(err:find("no event loop 'libevent' is known (known: blocking, nginx, cqueues, luv, copas)", 1,
            true), err)
    end)

    it("raises an error for what is neither a name nor an adapter", function()
        for _, value in ipairs { 5, true, print } do
            local ok, err = pcall(open, { await = value })
            assert.is_false(ok)
            assert.truthy(err:find("must be a name or an adapter, got a " .. type(value), 1, true), err)
        end
    end)

    it("raises an error for an adapter that lacks a function, and names it", function()
        for _, missing in ipairs { "current", "spawn", "wait", "token", "park", "wake" } do
            local adapter = {}
            for name, value in pairs(own_loop.adapter) do
                adapter[name] = value
            end
            adapter[missing] = nil
            local ok, err = pcall(open, { await = adapter })
            assert.is_false(ok)
            assert.truthy(err:find("the adapter has no function '" .. missing .. "'", 1, true), err)
        end
    end)
end)

describe("without a loop", function()
    it("the main program blocks", function()
        local db = open()
        assert.equal("", db:value "select pg_sleep(0.01)::text")
        db:close()
    end)

    it("a coroutine that nobody else would resume blocks, too", function()
        local db = open()
        local value = coroutine.wrap(function() return db:value "select 5 from pg_sleep(0.01)" end)
        assert.equal(5, value())
        db:close()
    end)

    it("a database that waits with a loop blocks as long as none runs", function()
        for _, await in ipairs { own_loop.adapter, library "cqueues" and "cqueues", library "luv" and "luv" } do
            local db = open { await = await }
            assert.equal(5, db:value "select 5 from pg_sleep(0.01)")
            db:close()
        end
    end)
end)

-- Runs while a statement does: true when another task of the loop went on meanwhile.
local function goes_on(loop, db)
    local ticks, ended = 0, false
    loop.run(function()
        assert.equal("", db:value "select pg_sleep(0.1)::text")
        ended = true
    end, function()
        while not ended do
            ticks = ticks + 1
            loop.sleep(5)
        end
    end)
    return ticks > 2
end

loops.each(function(loop)
    it("others go on while a task waits", function()
        assert.is_true(goes_on(loop, loop.open()))
    end)

    it("nobody goes on while a task waits that was told to block", function()
        assert.is_false(goes_on(loop, loop.open { await = "blocking" }))
    end)

    it("a database serves the main program, tasks and the main program again", function()
        local db = loop.open { pool = { min = 0, max = 1 } }
        assert.equal(1, db:value "select 1")
        loop.run(function() assert.equal(2, db:value "select 2") end, function()
            assert.equal(3, db:value "select 3")
        end)
        assert.equal(4, db:value "select 4")
    end)

    it("a connection may be taken in the main program and used in a task", function()
        local db = loop.open { pool = { min = 0, max = 1 } }
        local conn = assert(db:acquire())
        loop.run(function() assert.equal("", conn:value "select pg_sleep(0.01)::text") end)
        assert.equal(1, conn:value "select 1")
        conn:release()
    end)

    it("one loop after the other waits with the same pool", function()
        local db = loop.open { pool = { min = 0, max = 2 } }
        for i = 1, 10 do
            loop.run(function() assert.equal(i, db:value("select $1::int", i)) end,
                function() assert.equal(-i, db:value("select $1::int", -i)) end)
        end
        assert.is_true(db:stats().total_connections <= 2)
    end)
end, loops.concurrent)

describe("an adapter of the program's", function()
    -- The loop of own_loop.lua with changes to its adapter.
    local function run(changes, fn, count)
        local adapter = { name = "changed" }
        for name, value in pairs(own_loop.adapter) do
            adapter[name] = adapter[name] or value
        end
        for name, value in pairs(changes) do
            adapter[name] = value
        end
        local db = open { await = adapter, pool = { min = 0, max = 2 } }
        local loop, failure = own_loop.new(), nil
        for i = 1, count do
            loop:spawn(function()
                local ok, err = compat.pcall(fn, db, i)
                failure = failure or not ok and err
            end)
        end
        local deadline = server.now() + 10000
        while loop:is_busy() and server.now() < deadline do
            loop:step(0.05)
        end
        assert.falsy(failure)
        assert.is_false(loop:is_busy(), "all tasks have ended")
        assert.equal(0, db:stats().active_connections)
        db:close()
    end

    local function work(db, i)
        for k = 1, 5 do
            assert.equal(i * k, db:value("select $1::int from pg_sleep(0.002)", i * k))
        end
    end

    it("may end a wait early", function()
        run({ wait = function(fd) own_loop.adapter.wait(fd, 0.0005) end }, work, 6)
    end)

    it("needs no timers", function()
        run({ timers = false, wait = function(fd, seconds)
            assert(seconds == nil)
            own_loop.adapter.wait(fd)
        end }, function(db, i)
            work(db, i)
            local result, err = db:query { "select pg_sleep(30)", timeout_ms = 50 }
            assert.is_nil(result)
            assert.equal("timeout", err.kind)
        end, 2)
    end)

    it("may say that its tasks can be ended, so that a task of its own always watches", function()
        run({ shared = true }, work, 6)
    end)
end)

local cqueues = library "cqueues"
if cqueues then
    describe("with cqueues", function()
        local function run_all(...)
            local controllers, deadline = { ... }, server.now() + 20000
            local busy = true
            while busy and server.now() < deadline do
                busy = false
                for _, controller in ipairs(controllers) do
                    assert(controller:step(0.001))
                    busy = busy or not controller:empty()
                end
            end
            assert.is_false(busy, "all tasks have ended")
        end

        it("two controllers of one thread wait with one pool", function()
            local db = open { pool = { min = 0, max = 1 } }
            local a, b, order = cqueues.new(), cqueues.new(), {}
            for i = 1, 20 do
                (i % 2 == 0 and a or b):wrap(function()
                    local conn = assert(db:acquire())
                    order[#order + 1] = i
                    assert.equal(i, conn:value("select $1::int", i))
                    conn:release()
                end)
            end
            run_all(a, b)
            assert.equal(20, #order)
            db:close()
        end)

        it("a controller within a task of another waits, too", function()
            local db = open()
            local outer, inner = cqueues.new(), cqueues.new()
            local value
            inner:wrap(function() value = db:value "select 5 from pg_sleep(0.02)" end)
            outer:wrap(function() assert(inner:loop(10)) end)
            outer:wrap(function() assert.equal(6, db:value "select 6 from pg_sleep(0.01)") end)
            run_all(outer)
            assert.equal(5, value)
            db:close()
        end)

        it("a coroutine within a task waits, when it is one of cqueues'", function()
            local auxlib = require "cqueues.auxlib"
            local db = open()
            local controller, sum = cqueues.new(), 0
            controller:wrap(function()
                for value in auxlib.wrap(function()
                    for i = 1, 3 do
                        coroutine.yield(db:value("select $1::int from pg_sleep(0.01)", i))
                    end
                end) do
                    sum = sum + value
                end
            end)
            controller:wrap(function() assert.equal(1, db:value "select 1") end)
            run_all(controller)
            assert.equal(6, sum)
            db:close()
        end)

        -- Has a task of a controller begin fn, and drops the controller when the condition holds.
        local function drop_in(fn, condition)
            local controller = cqueues.new()
            controller:wrap(fn)
            assert.is_true(server.wait(function()
                assert(controller:step(0.005))
                return condition()
            end))
        end

        it("a controller that is dropped in the middle of a statement costs one connection", function()
            local name = "await dropped"
            local db = open { url = server.url { application_name = name }, pool = { min = 0, max = 2 } }
            local function sleeps()
                return server.psql(("select count(*) from pg_stat_activity where state = 'active' "
                    .. "and application_name = '%s'"):format(name)) == "1"
            end
            drop_in(function() db:value "select pg_sleep(60)" end, sleeps)
            collectgarbage()
            collectgarbage()
            assert.equal(0, db:stats().active_connections)
            assert.equal(1, db:value "select 1")
            assert.is_true(server.wait(function() return not sleeps() end), "the statement was ended")
            assert.equal(1, db:stats().closed.in_doubt)
            db:close()
        end)

        it("a controller that is dropped while it waits for a connection leaves the queue", function()
            local db = open { pool = { min = 0, max = 1 } }
            local conn = assert(db:acquire())
            drop_in(function() db:value "select 1" end, function() return db:stats().waiting_requests == 1 end)
            collectgarbage()
            collectgarbage()
            assert.equal(0, db:stats().waiting_requests)
            conn:release()
            assert.equal(1, db:value "select 1")
            db:close()
        end)

        it("a controller that is dropped with a connection in a transaction gives it up", function()
            local db = open { pool = { min = 0, max = 1 } }
            local inside = false
            drop_in(function()
                db:transaction(function(tx)
                    assert.equal(1, tx:value "select 1")
                    inside = true
                    cqueues.sleep(60)
                end)
            end, function() return inside end)
            collectgarbage()
            collectgarbage()
            assert.equal(1, db:value "select 1")
            db:close()
        end)
    end)
end

local uv = library "luv"
if uv then
    describe("with luv", function()
        local function resume(fn, ...)
            local task = coroutine.create(fn)
            assert(coroutine.resume(task, ...))
            return task
        end

        it("coroutines that are started before the loop wait when the database was opened for it", function()
            local db = open { await = "luv" }
            local values = {}
            for i = 1, 4 do
                resume(function() values[i] = db:value("select $1::int from pg_sleep(0.02)", i) end)
            end
            assert.same({}, values, "nothing has blocked")
            uv.run()
            assert.same({ 1, 2, 3, 4 }, values)
            db:close()
        end)

        it("a callback that is no coroutine must not block the loop", function()
            local db = open { await = "luv" }
            local value, err
            local timer = uv.new_timer()
            timer:start(0, 0, function()
                timer:close()
                value, err = db:value "select 1"
            end)
            uv.run()
            assert.is_nil(value)
            assert.equal("validation", err.kind)
            assert.truthy(err.message:find("coroutine", 1, true))
            db:close()
        end)

        it("the loop ends when nobody waits", function()
            local db = open { await = "luv" }
            resume(function() assert.equal(1, db:value "select 1") end)
            uv.run()
            assert.is_false(uv.loop_alive())
            db:close()
        end)

        it("the loop of another program's part goes on beside", function()
            local db = open { await = "luv" }
            local ticks, timer = 0, uv.new_timer()
            timer:start(0, 5, function() ticks = ticks + 1 end)
            resume(function()
                assert.equal("", db:value "select pg_sleep(0.1)::text")
                timer:close()
            end)
            uv.run()
            assert.is_true(ticks > 5)
            db:close()
        end)
    end)
end
