--- Tasks that share a pool: they wait side by side, in turn, each for its own time, and none for ever.
local loops = require "spec.support.loops"
local server = require "spec.support.server"
local fails = require("spec.support.expect").fails

local function repeated(n, fn)
    local tasks = {}
    for i = 1, n do
        tasks[i] = function() fn(i) end
    end
    return (table.unpack or unpack)(tasks) -- luacheck: ignore
end

loops.each(function(loop)
    it("as many statements run at once as there are connections", function()
        local name = "await overlap " .. loop.name
        local db = loop.open { url = server.url { application_name = name }, pool = { min = 0, max = 9 } }
        local over = false
        loop.run(function()
            assert.is_true(loop.wait(function()
                return db:value([[select count(*) from pg_stat_activity
                    where application_name = $1 and query like 'select pg_sleep(%' and state = 'active']], name) == 8
            end), "all eight are under way")
            over = true
            assert(db:exec([[select pg_cancel_backend(pid) from pg_stat_activity
                where application_name = $1 and query like 'select pg_sleep(%']], name))
        end, repeated(8, function()
            fails("database", db:query "select pg_sleep(60)")
            assert.is_true(over)
        end))
    end)

    -- Those that are served in the same turn of a loop run in the order of the loop, which is another one with copas;
    -- and with cqueues within a pcall of Lua 5.1.
    local is_5_1 = _VERSION == "Lua 5.1" and not rawget(_G, "jit")
    local in_order = loop.name ~= "copas" and not (loop.name == "cqueues" and is_5_1)

    it("more tasks than connections are served in the order in which they asked", function()
        local db = loop.open { pool = { min = 0, max = 3 } }
        local asked, served, most, out = 0, {}, 0, 0
        loop.run(repeated(60, function(i)
            asked = asked + 1
            assert.equal(i, asked)
            local conn = assert(db:acquire())
            served[#served + 1] = i
            out = out + 1
            most = math.max(most, out)
            assert.equal(i, conn:value("select $1::int + pg_backend_pid() - pg_backend_pid()", i))
            out = out - 1
            conn:release()
        end))
        for position, i in ipairs(served) do
            local off = math.abs(position - i)
            assert.is_true(off == 0 or off < 3 and not in_order, ("task %d came %d places off"):format(i, off))
        end
        assert.equal(60, #served)
        assert.is_true(most <= 3)
        assert.is_true(db:stats().total_connections <= 3)
    end)

    it("a connection that is given back goes to who waited first, not to who asks next", function()
        local db = loop.open { pool = { min = 0, max = 1 } }
        local order = {}
        loop.run(function()
            local conn = assert(db:acquire())
            assert.is_true(loop.wait(function() return db:stats().waiting_requests == 2 end))
            conn:release()
            assert.equal(1, db:value "select 1") -- behind those two
            order[#order + 1] = "asked again"
        end, function()
            assert.equal(1, db:value "select 1")
            order[#order + 1] = "first"
        end, function()
            assert.equal(1, db:value "select 1")
            order[#order + 1] = "second"
        end)
        assert.same({ "first", "second", "asked again" }, order)
    end)

    it("connections that are given back at once go to those who wait in their order", function()
        local db = loop.open { pool = { min = 0, max = 4 } }
        local order = {}
        local function ask(name)
            return function()
                local conn = assert(db:acquire())
                order[#order + 1] = name
                loop.sleep(20)
                conn:release()
            end
        end
        loop.run(function()
            local own = assert(db:acquire())
            local conns = { assert(db:acquire()), assert(db:acquire()), assert(db:acquire()) }
            for i, name in ipairs { "first", "second", "third" } do
                loop.spawn(ask(name))
                assert.is_true(loop.wait(function() return db:stats().waiting_requests == i end))
            end
            for _, conn in ipairs(conns) do
                conn:release()
            end
            assert.equal(1, own:value "select 1") -- those three hear of it in the middle of this
            own:release()
        end)
        assert.same(in_order and { "first", "second", "third" } or order, order)
    end)

    it("the only one that waits goes on when another one, that does not wait, gives a connection back", function()
        local db = loop.open { pool = { min = 0, max = 1 } }
        local took
        loop.run(function()
            local next_row = db:each "select repeat('x', 2000) from generate_series(1, 200)"
            assert.truthy(next_row())
            loop.spawn(function()
                local began = server.now()
                assert.equal(1, db:value "select 1")
                took = server.now() - began
            end)
            assert.is_true(loop.wait(function() return db:stats().waiting_requests == 1 end))
            loop.sleep(50) -- all rows are here by now
            while next_row() do end -- luacheck: ignore
            assert.is_true(loop.wait(function() return took end) ~= false)
        end)
        assert.is_true(took < 2000, ("it waited for %.0f ms"):format(took))
    end)

    it("a loop ends when its last task does", function()
        local db = loop.open { pool = { min = 0, max = 1 } }
        local began = server.now()
        loop.run(function()
            assert.equal(1, db:value "select 1")
        end, repeated(5, function()
            for _ = 1, 5 do
                assert.equal(1, db:value "select 1")
            end
        end))
        assert.is_true(server.now() - began < 4000, "and not with a deadline that nobody waits for any more")
    end)

    it("a waiter with a short time between others gives up alone, and they are served", function()
        local db = loop.open { pool = { min = 0, max = 1 } }
        local results, gave_up = {}, false
        loop.run(function() assert.equal(1, db:value "select 1") end) -- the connection is there
        local function patient(name)
            return function()
                local conn = assert(db:acquire(10000))
                results[#results + 1] = name
                conn:release()
            end
        end
        loop.run(function()
            local conn = assert(db:acquire())
            assert.is_true(loop.wait(function() return gave_up end))
            assert.equal(2, db:stats().waiting_requests)
            conn:release()
        end, patient "before", function()
            local began = server.now()
            local err = fails("pool_timeout", db:acquire(60))
            assert.is_true(server.now() - began >= 59, "not before its time")
            assert.truthy(err.message:find "no connection came free within %d+ ms %(max 1: 1 in use", err.message)
            gave_up = true
        end, patient "behind")
        assert.same({ "before", "behind" }, results)
        assert.equal(1, db:stats().acquire_timeouts)
    end)

    it("a statement that finds no connection to be repeated on says what it failed of before", function()
        local db = loop.open { pool = { min = 0, max = 1 } }
        local lost = false
        loop.run(function()
            local err = fails("pool_timeout", db:query {
                "select pg_terminate_backend(pg_backend_pid())", idempotent = true, timeout_ms = 800,
            })
            assert.equal(1, err.attempts)
            assert.matches("^It was to be repeated: terminating connection", err.detail)
            lost = true
        end, function()
            local conn = assert(db:acquire(10000)) -- it was in the queue first
            assert.is_true(loop.wait(function() return lost end))
            conn:release()
        end)
    end)

    it("a time that is shorter than those of all others wakes the loop in time", function()
        local db = loop.open { pool = { min = 0, max = 1 } }
        local times = {}
        loop.run(function()
            local conn = assert(db:acquire())
            assert.is_true(loop.wait(function() return #times == 3 end))
            conn:release()
        end, repeated(3, function(i)
            local wait = 400 - 100 * i -- the later asks for less
            local began = server.now()
            fails("pool_timeout", db:acquire(wait))
            times[#times + 1] = wait
            assert.is_true(server.now() - began >= wait - 1)
        end))
        assert.same({ 100, 200, 300 }, times)
    end)

    it("an acquire that need not wait does not, with a time of zero", function()
        local db = loop.open { pool = { min = 0, max = 1 } }
        loop.run(function()
            assert.equal(1, db:value "select 1")
            local conn = assert(db:acquire(0))
            loop.spawn(function() fails("pool_timeout", db:acquire(0)) end)
            assert.is_true(loop.wait(function() return db:stats().acquire_timeouts == 1 end))
            conn:release()
        end)
    end)

    it("a queue that is as long as it may be turns away whoever comes next", function()
        local db = loop.open { pool = { min = 0, max = 1, max_waiting = 2 } }
        loop.run(function() assert.is_true(db:wait_ready()) end) -- which waits, too
        loop.run(function()
            local conn = assert(db:acquire())
            assert.is_true(loop.wait(function() return db:stats().waiting_requests == 2 end))
            local err = fails("busy", db:query "select 1")
            assert.truthy(err.message:find("max_waiting", 1, true))
            conn:release()
        end, repeated(2, function() assert.equal(1, db:value "select 1") end))
    end)

    describe("a deadlock of tasks with themselves", function()
        it("is an error for who acquires in its own transaction when the pool is exhausted", function()
            local db = loop.open { pool = { min = 0, max = 1, acquire_timeout_ms = 15000 } }
            local began = server.now()
            loop.run(function()
                assert.equal("went on", db:transaction(function(tx)
                    local err = fails("busy", db:query "select 1")
                    assert.truthy(err.message:find("would never end", 1, true), err.message)
                    assert.equal(1, tx:value "select 1")
                    return "went on"
                end))
            end)
            assert.is_true(server.now() - began < 10000)
        end)

        it("is an error for the last of several that all hold one and want another", function()
            local db = loop.open { pool = { min = 0, max = 3, acquire_timeout_ms = 15000 } }
            local holding, refused, served = 0, 0, 0
            loop.run(repeated(3, function()
                local conn = assert(db:acquire())
                holding = holding + 1
                assert.is_true(loop.wait(function() return holding == 3 end))
                local second, err = db:acquire()
                if second then
                    served = served + 1
                    second:release()
                else
                    assert.equal("busy", err.kind, tostring(err))
                    refused = refused + 1
                end
                conn:release()
            end))
            assert.equal(1, refused, "one gives way")
            assert.equal(2, served, "and the others go on")
        end)

        it("is none as long as one of those who hold a connection can go on", function()
            local db = loop.open { pool = { min = 0, max = 2 } }
            loop.run(function()
                local conn = assert(db:acquire())
                assert.is_true(loop.wait(function() return db:stats().waiting_requests == 1 end))
                conn:release()
            end, function()
                local conn = assert(db:acquire())
                local second = assert(db:acquire())
                second:release()
                conn:release()
            end)
        end)

        it("is none when a lost connection can be collected", loop.tasks(function()
            local db = loop.open { pool = { min = 0, max = 1 } }
            assert(db:acquire())
            assert.equal(1, db:value "select 1")
        end))
    end)

    describe("a connection whose statement is under way", function()
        it("gives the statement's task an error at once when another task releases it", function()
            local db = loop.open { pool = { min = 0, max = 1 } }
            local conn, ended
            loop.run(function()
                conn = assert(db:acquire())
                local began = server.now()
                local err = fails("validation", conn:query "select pg_sleep(30)")
                assert.truthy(err.message:find("released", 1, true), err.message)
                assert.is_true(server.now() - began < 10000)
                ended = true
            end, function()
                assert.is_true(loop.wait(function() return conn ~= nil end))
                loop.sleep(20)
                assert.is_true(conn:release())
                assert.is_true(loop.wait(function() return ended end))
                assert.equal(1, db:value "select 1") -- the statement was cancelled
            end)
        end)

        it("gives the statement's task an error at once when another task discards it", function()
            local db = loop.open { pool = { min = 0, max = 1 } }
            local conn, ended
            loop.run(function()
                conn = assert(db:acquire())
                fails("validation", conn:query "select pg_sleep(30)")
                ended = true
            end, function()
                assert.is_true(loop.wait(function() return conn ~= nil end))
                loop.sleep(20)
                assert.is_true(conn:discard())
                assert.is_true(loop.wait(function() return ended end))
                assert.equal(1, db:value "select 1")
            end)
        end)

        it("is busy for every other task", function()
            local db = loop.open { pool = { min = 0, max = 1 } }
            local conn
            loop.run(function()
                conn = assert(db:acquire())
                assert.equal("", conn:value "select pg_sleep(0.2)::text")
                conn:release()
            end, function()
                assert.is_true(loop.wait(function() return conn ~= nil end))
                loop.sleep(20)
                local err = fails("busy", conn:query "select 1")
                assert.truthy(err.message:find("under way", 1, true))
            end)
        end)
    end)

    describe("drain", function()
        it("waits until the others have given back what they hold", function()
            local db = loop.open()
            local steps = {}
            loop.run(function()
                db:with(function(conn)
                    assert.equal("", conn:value "select pg_sleep(0.1)::text")
                    steps[#steps + 1] = "held"
                end)
            end, function()
                assert.is_true(loop.wait(function() return db:stats().active_connections == 1 end))
                loop.sleep(20)
                assert.is_true(db:drain(10000))
                steps[#steps + 1] = "drained"
                fails("pool_closed", db:query "select 1")
            end)
            assert.same({ "held", "drained" }, steps)
        end)

        it("gives up at the end of its time", function()
            local db = loop.open()
            local over = false
            loop.run(function()
                local conn = assert(db:acquire())
                assert.is_true(loop.wait(function() return over end))
                conn:release()
            end, function()
                assert.is_true(loop.wait(function() return db:stats().active_connections == 1 end))
                local began = server.now()
                local drained, err = db:drain(80)
                assert.is_falsy(drained)
                assert.is_table(err)
                assert.is_true(server.now() - began >= 79)
                over = true
            end)
        end)

        it("turns away those who wait", function()
            local db = loop.open { pool = { min = 0, max = 1 } }
            local turned_away = false
            loop.run(function()
                local conn = assert(db:acquire())
                assert.is_true(loop.wait(function() return db:stats().waiting_requests == 1 end))
                loop.spawn(function() assert.is_true(db:drain(10000)) end)
                assert.is_true(loop.wait(function() return turned_away end))
                conn:release()
            end, function()
                loop.sleep(5)
                fails("pool_closed", db:query "select 1")
                turned_away = true
            end)
        end)
    end)

    it("close turns away those who wait, at once", function()
        local db = loop.open { pool = { min = 0, max = 1 } }
        local turned_away = 0
        loop.run(function()
            local conn = assert(db:acquire())
            assert.is_true(loop.wait(function() return db:stats().waiting_requests == 5 end))
            assert.is_true(db:close())
            assert.is_true(loop.wait(function() return turned_away == 5 end))
            conn:release()
        end, repeated(5, function()
            fails("pool_closed", db:query "select 1")
            turned_away = turned_away + 1
        end))
    end)

    it("an error that one task raises is no harm to the others", function()
        local db = loop.open { pool = { min = 0, max = 2 } }
        local served = 0
        local function use(i)
            assert.equal(i, db:value("select $1::int", i))
            served = served + 1
        end
        local ok, err = pcall(loop.run, function()
            assert.equal(1, db:value "select 1")
            error("the first one", 0)
        end, function()
            db:transaction(function(tx)
                assert.equal(1, tx:value "select 1")
                error("the second one", 0)
            end)
        end, repeated(20, use))
        assert.is_false(ok)
        assert.truthy(tostring(err):find("one", 1, true))
        assert.equal(20, served)
    end)

    it("many tasks use many connections in every way at once", function()
        local db = loop.open { pool = { min = 2, max = 8 } }
        local done = 0
        loop.run(repeated(200, function(i)
            if i % 4 == 0 then
                assert.equal(i, db:transaction(function(tx) return tx:value("select $1::int", i) end))
            elseif i % 4 == 1 then
                fails("database", db:query("select $1::int / 0", i))
            elseif i % 4 == 2 then
                assert.equal(3, #assert(db:pipeline(function(p)
                    for k = 1, 3 do
                        p:value("select $1::int", k)
                    end
                end)))
            else
                assert.equal(i, db:with(function(conn) return conn:value("select $1::int", i) end))
            end
            done = done + 1
        end))
        assert.equal(200, done)
        assert.equal(0, db:stats().active_connections)
    end)
end, loops.concurrent)
