--- Named pools: one pool for several database objects, in one Lua state and in several threads.
local tidepool = require "tidepool"
local server = require "spec.support.server"
local threads = require "spec.support.threads"
local fails = require("spec.support.expect").fails

local count = 0

-- A name, also of the application, that nothing else has.
local function new_name()
    count = count + 1
    return "threads_spec " .. count
end

local function open(name, options)
    local where = {
        url = server.url { application_name = name }, name = name, log = { queries = false },
        pool = { min = 0, max = 3 },
    }
    for key, value in pairs(options or {}) do
        where[key] = value
    end
    return assert(tidepool.open(where))
end

local function join(name)
    return assert(tidepool.open { name = name })
end

local function assert_no_backends(name)
    assert.is_true(server.wait(function() return server.backends(name) == 0 end, 5000), "backends are left of " .. name)
end

describe("opening by a name", function()
    it("gives one pool to all who do", function()
        local name = new_name()
        local a = open(name)
        local b, c = join(name), open(name)
        local pid = a:value "select pg_backend_pid()"
        assert.equal(pid, b:value "select pg_backend_pid()")
        assert.equal(pid, c:value "select pg_backend_pid()")
        assert.equal(1, server.backends(name))
        assert.equal(3, c:stats().queries)
        assert.equal(name, b:option "name")
        assert.equal("3", b:option "pool.max")
        a:close() b:close() c:close()
    end)

    it("gives a pool of its own for another name, for none and for an empty one", function()
        local name = new_name()
        local all = { open(name), open(name .. " other"), open(nil), open "" }
        local seen = {}
        for i, db in ipairs(all) do
            seen[i] = db:value "select pg_backend_pid()"
            for before = 1, i - 1 do
                assert.not_equal(seen[before], seen[i])
            end
        end
        for _, db in ipairs(all) do
            db:close()
        end
    end)

    it("takes what is not said as the pool has it, whatever the environment says", function()
        local name = new_name()
        local db = open(name, { pool = { min = 0, max = 3, acquire_timeout_ms = 1234 }, query_timeout_ms = 4321 })
        local joined = assert(tidepool.open { name = name, pool = { max = 3 } })
        assert.equal("1234", joined:option "pool.acquire_timeout_ms")
        assert.equal("4321", joined:option "query_timeout_ms")
        assert.equal(name, joined:value "select current_setting('application_name')")
        db:close() joined:close()
    end)

    it("refuses other settings by the first option that differs, and tells no values", function()
        local name = new_name()
        local db = open(name, { password = "topsecret" })
        local others = {
            ["pool.max"] = { pool = { max = 4 } },
            ["password"] = { password = "other secret" },
            ["query_timeout_ms"] = { query_timeout_ms = 9 },
            ["libpq.keepalives"] = { libpq = { keepalives = "0" } },
            ["host"] = { url = "postgresql://u:topsecret@db.example/x" },
        }
        for option, where in pairs(others) do
            where.name = name
            local err = fails("validation", tidepool.open(where))
            assert.equal(('the pool "%s" is open already, with another "%s"'):format(name, option), err.message)
        end
        assert.equal(1, db:value "select 1")
        db:close()
    end)

    it("logs with the sink of each object, and warns once", function()
        local name = new_name()
        local mine, theirs = {}, {}
        local function sink_of(list)
            return function(_, message) list[#list + 1] = message end
        end
        local unsafe = { url = "postgresql://u@db.example/x?sslmode=require", tls = { verify = false } }
        local db = open(name, { url = unsafe.url, tls = unsafe.tls, log = { queries = true, sink = sink_of(mine) } })
        local joined = assert(tidepool.open {
            name = name, url = unsafe.url, tls = unsafe.tls, log = { sink = sink_of(theirs) } })
        assert.equal(1, #mine)
        assert.truthy(mine[1]:find("verification", 1, true))
        assert.same({}, theirs)
        joined:query { "select 1", timeout_ms = 0 }
        assert.equal("query", theirs[1])
        assert.equal(1, #mine)
        db:close() joined:close()
    end)
end)

describe("closing one of several", function()
    it("leaves the pool to the others, and the closed one refuses work", function()
        local name = new_name()
        local a = open(name)
        local b = join(name)
        local pid = a:value "select pg_backend_pid()"
        assert.is_true(a:close())
        local message = "this database object is closed; its pool is open elsewhere"
        for _, method in ipairs { "query", "one", "value", "exec", "script" } do
            assert.equal(message, fails("pool_closed", a[method](a, "select 1")).message)
        end
        fails("pool_closed", a:acquire())
        fails("pool_closed", a:with(print))
        fails("pool_closed", a:transaction(print))
        fails("pool_closed", a:wait_ready())
        fails("pool_closed", a:pipeline(function(p) p:query "select 1" end))
        fails("pool_closed", a:query_many("select $1::int", { { 1 } }))
        fails("pool_closed", a:copy_out("(select 1)", print))
        assert.is_false((a:ping()))
        assert.is_false((pcall(function() for _ in a:each "select 1" do print(_) end end)))
        assert.equal("closed", a:state().state)
        assert.is_false(a:is_connected())
        assert.is_truthy(tostring(a):find "closed")
        assert.equal("connected", b:state().state)
        assert.equal(pid, b:value "select pg_backend_pid()")
        b:close()
        assert_no_backends(name)
        assert.equal("the pool is closed", fails("pool_closed", b:query "select 1").message)
    end)

    it("counts once, however often and by whatever way it is closed", function()
        local name = new_name()
        local last = open(name)
        local closed, scoped, lost = join(name), join(name), join(name)
        closed:close()
        closed:close()
        assert.is_true(closed:drain(10))
        local meta = debug.getmetatable(scoped)
        meta.__close(scoped)
        meta.__close(scoped)
        assert.equal(1, lost:value "select 1")
        lost = nil -- luacheck: ignore 311
        scoped, closed = nil, nil -- luacheck: ignore 311
        collectgarbage() collectgarbage()
        assert.equal(1, last:value "select 1")
        assert.equal("connected", last:state().state)
        last:close()
        assert_no_backends(name)
    end)

    it("closes the pool when the collector takes the last one", function()
        local name = new_name()
        do
            local a, b = open(name), join(name)
            assert.equal(1, b:value "select 1")
            a:close()
        end
        collectgarbage() collectgarbage()
        assert_no_backends(name)
        local db = open(name, { pool = { min = 0, max = 1 } }) -- the name is free for other settings
        assert.equal("1", db:option "pool.max")
        db:close()
    end)

    it("leaves its connections to who has borrowed them", function()
        local name = new_name()
        local a = open(name)
        local b = join(name)
        local conn = assert(a:acquire())
        local pid = conn:backend_pid()
        a:close()
        assert.equal("in", conn:transaction(function(tx) return tx:value "select 'in'" end))
        assert.is_true(conn:release())
        assert.equal(pid, b:value "select pg_backend_pid()") -- it went back to the pool
        b:close()
    end)

    it("by drain waits for its own connections alone", function()
        local name = new_name()
        local a = open(name)
        local b = join(name)
        local theirs = assert(b:acquire())
        assert.is_true(a:drain(5000))
        fails("pool_closed", a:query "select 1")
        assert.equal(1, theirs:value "select 1")
        theirs:release()
        assert.equal(1, b:value "select 1")
        b:close()
    end)

    it("by drain says how many of its own did not come back", function()
        local name = new_name()
        local a = open(name)
        local b = join(name)
        local conn = assert(a:acquire())
        local err = fails("timeout", a:drain(10))
        assert.equal("1 connection was still in use", err.message)
        conn:release()
        assert.equal(1, b:value "select 1")
        b:close()
    end)
end)

describe("events of a shared pool", function()
    it("are heard by every object that was open then, and logged once", function()
        local name = new_name()
        local lines, heard = {}, { a = 0, b = 0 }
        local log = { queries = false, connections = true, sink = function(_, message) lines[#lines + 1] = message end }
        local a = open(name, { log = log })
        a:on("connect", function() heard.a = heard.a + 1 end)
        assert.equal(1, a:value "select 1")
        local b = assert(tidepool.open { name = name, log = { sink = log.sink } })
        b:on("connect", function() heard.b = heard.b + 1 end)
        local one, two = assert(a:acquire()), assert(b:acquire())
        assert.equal(1, one:value "select 1")
        assert.equal(1, two:value "select 1")
        assert.same({ a = 2, b = 1 }, heard)
        assert.same({ "connection connect", "connection connect" }, lines)
        one:release() two:release()
        a:close() b:close()
    end)

    it("of queries are heard by the object that asked", function()
        local name = new_name()
        local a = open(name)
        local b = join(name)
        local heard = {}
        a:on("query_end", function(event) heard[#heard + 1] = event.sql end)
        assert.equal(2, b:value "select 2")
        assert.equal(1, a:value "select 1")
        assert.same({ "select 1" }, heard)
        a:close() b:close()
    end)
end)

it("threads can be started here", function()
    assert.is_true(#threads.kinds > 0, "neither luv nor cqueues is installed")
end)

for _, kind in ipairs(threads.kinds) do
    describe("threads of " .. kind, function()
        it("that open one name share its connections", function()
            local name = new_name()
            local db = open(name)
            local pid = db:value "select pg_backend_pid()"
            local finish = threads.start(kind, [[
                local db = assert(require("tidepool").open { name = ... })
                return db:value "select pg_backend_pid()", db:option "pool.max", db:stats().queries]], name)
            assert.equal(("%d\n3\n2"):format(pid), finish())
            assert.equal(1, server.backends(name)) -- the thread's object went with its state
            assert.equal(2, db:stats().queries)
            db:close()
            assert_no_backends(name)
        end)

        it("go on when the one that opened the pool closes it", function()
            local name = new_name()
            local db = open(name)
            local pid = db:value "select pg_backend_pid()"
            local opened, closed = threads.gate(), threads.gate()
            local finish = threads.start(kind, [[
                local name, opened, closed = ...
                local db = assert(require("tidepool").open { name = name })
                local core = require "tidepool.core"
                assert(io.open(opened, "w")):close()
                for _ = 1, 4000 do
                    if io.open(closed) then break end
                    core.sleep(5)
                end
                local pid = assert(db:value "select pg_backend_pid()")
                assert(db:close())
                local _, err = db:query "select 1"
                return pid, err.kind]], name, opened.path, closed.path)
            opened.await()
            db:close()
            fails("pool_closed", db:query "select 1")
            closed.reach()
            assert.equal(("%d\npool_closed"):format(pid), finish())
            os.remove(closed.path)
            assert_no_backends(name)
        end)

        it("that wait are served when another gives its connection back", function()
            local name = new_name()
            local db = open(name, { pool = { min = 0, max = 1 } })
            local conn = assert(db:acquire())
            local finish = threads.start(kind, [[
                local db = assert(require("tidepool").open { name = ... })
                return db:value "select 7"]], name)
            assert.is_true(server.wait(function() return db:stats().waiting_requests == 1 end, 10000))
            conn:release()
            assert.equal("7", finish())
            db:close()
        end)

        it("that end with an error and a borrowed connection leave the pool whole", function()
            local name = new_name()
            local db = open(name, { pool = { min = 0, max = 1 } })
            local finish = threads.start(kind, [[
                local db = assert(require("tidepool").open { name = ... })
                local conn = assert(db:acquire())
                conn:exec "begin"
                error "on purpose"]], name)
            assert.has_error(finish)
            assert.equal(1, db:value "select 1")
            assert.equal(0, db:stats().active_connections)
            db:close()
        end)

        it("that run event loops share it, and none of their coroutines waits for ever", function()
            local name = new_name()
            local db = open(name, { pool = { min = 0, max = 2 } })
            local running = {}
            for i = 1, 3 do
                running[i] = threads.start(kind, [[
                    local cqueues = require "cqueues"
                    local db = assert(require("tidepool").open { name = ... })
                    local loop, sum = cqueues.new(), 0
                    for n = 1, 20 do
                        loop:wrap(function()
                            for _ = 1, 5 do
                                local value = assert(db:value("select $1::int from pg_sleep(0.001)", n))
                                sum = sum + value -- others have added meanwhile
                            end
                        end)
                    end
                    assert(loop:loop(60))
                    assert(db:close())
                    return ("%d"):format(sum)]], name)
            end
            for i = 1, 3 do
                assert.equal("1050", running[i]())
            end
            assert.is_true(server.backends(name) <= 2)
            assert.equal(300, db:stats().queries)
            db:close()
        end)

        it("that ask everything at once get right answers", function()
            local name = new_name()
            local db = open(name)
            assert(db:script [[
                drop schema if exists threads cascade;
                create schema threads;
                create type threads.mood as enum ('sad', 'glad');
                create type threads.pair as (n int, word text);
                create table threads.done (n int);
                create table threads.altered (n int);
                insert into threads.altered values (1);]])
            local file = assert(io.open(debug.getinfo(1, "S").source:match "^@(.*)_spec%.lua$" .. "_program.lua"))
            local program = file:read "*a"
            file:close()
            local rounds = os.getenv "TIDEPOOL_TEST_VARIANT" == "tsan" and 8 or 40
            local running = {}
            for i = 1, 4 do
                running[i] = threads.start(kind, program, name, i, rounds)
            end
            for i = 1, 4 do
                assert.equal("done", running[i]())
            end
            local stats = db:stats()
            assert.equal(0, stats.active_connections)
            assert.equal(0, stats.waiting_requests)
            assert.is_true(server.backends(name) <= 3)
            assert.equal(4 * rounds, db:value "select count(*) from threads.done")
            assert(db:script "drop schema threads cascade")
            db:close()
            assert_no_backends(name)
        end)
    end)
end
