--- What is particular to cqueues and to luv: several controllers, some that are dropped, callbacks.
local server = require "spec.support.server"
local expect = require "spec.support.expect"

local open = expect.opener { log = { queries = false }, pool = { min = 0, max = 4 } }

-- A library, or nil where this Lua has none.
local function library(name)
    local found, lib = pcall(require, name)
    if not found then
        print(("no tests with %s: it is not installed for %s"):format(name, _VERSION))
    end
    return found and lib or nil
end

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
                local next_value = auxlib.wrap(function()
                    for i = 1, 3 do
                        coroutine.yield(db:value("select $1::int from pg_sleep(0.01)", i))
                    end
                end)
                local value = next_value()
                while value do -- in Lua 5.1 the iterator of a generic for cannot wait
                    sum = sum + value
                    value = next_value()
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

        -- What the controller had, and what that had, may take a collection each. Machine code of LuaJIT's keeps the
        -- functions that it was made of, and what they refer to.
        local function collected(condition)
            local jit = rawget(_G, "jit")
            assert.is_true(server.wait(function()
                if jit then jit.flush() end
                collectgarbage()
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
            collected(function() return db:stats().active_connections == 0 end)
            assert.equal(1, db:value "select 1")
            assert.is_true(server.wait(function() return not sleeps() end), "the statement was ended")
            assert.equal(1, db:stats().closed.in_doubt)
            db:close()
        end)

        it("a controller that is dropped while it waits for a connection leaves the queue", function()
            local db = open { pool = { min = 0, max = 1 } }
            local conn = assert(db:acquire())
            drop_in(function() db:value "select 1" end, function() return db:stats().waiting_requests == 1 end)
            collected(function() return db:stats().waiting_requests == 0 end)
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
                assert.equal("", db:value "select pg_sleep(0.5)::text")
                timer:close()
            end)
            uv.run()
            assert.is_true(ticks > 5)
            db:close()
        end)
    end)
end
