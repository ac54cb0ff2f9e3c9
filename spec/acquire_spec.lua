--- Connections on loan: acquire, release, with, and what happens to those that are not given back well.
local portable = require "spec.support.portable"
local server = require "spec.support.server"
local expect = require "spec.support.expect"

local closing = portable.closing

local fails = expect.fails
local open = expect.opener { log = { queries = false, sink = function() end }, pool = { min = 0, max = 2 } }

local function open_one(options)
    options = options or {}
    options.pool = { min = 0, max = 1 }
    return open(options)
end

local function line_here()
    return debug.getinfo(2, "l").currentline
end

-- Leaves a connection of the pool behind that takes `ms` to mend: its backend is halted, and hears of no cancel.
local function occupy(db, ms)
    local pid = assert(db:value "select pg_backend_pid()")
    assert.truthy(os.execute(("kill -STOP %d"):format(pid)))
    local result, err = db:exec { "select 1", timeout_ms = 100 }
    assert.truthy(os.execute(("(sleep %.3f; kill -CONT %d) &"):format(ms / 1000, pid)))
    fails("timeout", result, err)
end

describe("an acquired connection", function()
    it("has the methods of a database, all on one backend", function()
        local db = closing(open())
        local conn = closing(assert(db:acquire()))
        local pid = conn:backend_pid()
        assert.equal(pid, conn:value "select pg_backend_pid()")
        assert.equal(pid, assert(conn:one "select pg_backend_pid() as pid").pid)
        assert.equal(pid, assert(conn:query "select pg_backend_pid() as pid")[1].pid)
        assert.equal(pid, assert(conn:script "select pg_backend_pid() as pid")[1][1].pid)
        assert.equal("SELECT", assert(conn:exec "select 1").command)
        assert.is_true(conn:ping())
        assert.truthy(tostring(conn):find(("backend %d"):format(pid), 1, true))
    end)

    it("is counted as active, and as idle when it is back", function()
        local db = closing(open())
        local conn = assert(db:acquire())
        local stats = db:stats()
        assert.equal(1, stats.active_connections)
        assert.equal(0, stats.idle_connections)
        assert.is_true(conn:release())
        stats = db:stats()
        assert.equal(0, stats.active_connections)
        assert.equal(1, stats.idle_connections)
        assert.equal(1, stats.total_connections)
    end)

    it("is the one that was used last", function()
        local db = closing(open())
        local first, second = assert(db:acquire()), assert(db:acquire())
        local pid = first:backend_pid()
        second:release()
        first:release()
        local again = closing(assert(db:acquire()))
        assert.equal(pid, again:backend_pid())
    end)

    it("tells the state of its transaction", function()
        local db = closing(open())
        local conn = assert(db:acquire())
        assert.equal("idle", conn:transaction_state())
        assert(conn:exec "begin")
        assert.equal("open", conn:transaction_state())
        assert.is_nil((conn:exec "selekt"))
        assert.equal("failed", conn:transaction_state())
        assert(conn:exec "rollback")
        assert.equal("idle", conn:transaction_state())
        server.psql(("select pg_terminate_backend(%d, 5000)"):format(conn:backend_pid()))
        assert.is_nil((conn:exec "select 1"))
        assert.equal("unknown", conn:transaction_state())
        conn:release()
        assert.equal("unknown", conn:transaction_state())
    end)

    it("fails every call after its release, clearly", function()
        local db = closing(open())
        local conn = assert(db:acquire())
        assert.is_false(conn:is_released())
        assert.is_true(conn:release())
        assert.is_true(conn:is_released())
        for _, method in ipairs { "query", "one", "value", "exec", "script" } do
            assert.equal("the connection was released", fails("validation", conn[method](conn, "select 1")).message)
        end
        fails("validation", conn:ping())
        fails("validation", conn:backend_pid())
        fails("validation", conn:release())
        fails("validation", conn:discard())
        fails("validation", db:release(conn))
        assert.truthy(tostring(conn):find "released")
    end)

    it("stays released when its connection is lent to somebody else", function()
        local db = closing(open_one())
        local old = assert(db:acquire())
        old:release()
        local new = closing(assert(db:acquire()))
        fails("validation", old:query "select 1")
        fails("validation", old:release())
        assert.equal(1, new:value "select 1", "the new borrower is unharmed")
        assert.equal(1, db:stats().active_connections)
    end)

    it("can be released through its database, and through no other", function()
        local db = closing(open())
        local other = closing(open())
        local conn = assert(db:acquire())
        assert.equal("the connection is of another pool", fails("validation", other:release(conn)).message)
        assert.equal(1, conn:value "select 1")
        assert.is_true(db:release(conn))
        assert.equal(0, db:stats().active_connections)
        assert.equal(0, other:stats().active_connections)
    end)

    it("is closed by discard", function()
        local db = closing(open_one())
        local conn = assert(db:acquire())
        local pid = conn:backend_pid()
        assert.is_true(conn:discard())
        assert.is_true(conn:is_released())
        assert.not_equal(pid, db:value "select pg_backend_pid()")
        assert.equal(1, db:stats().closed.discarded)
    end)

    it("is discarded by the collector when the program has lost it, and the pool goes on", function()
        local db = closing(open_one())
        for i = 1, 5 do
            assert(db:acquire()):exec "begin"
            collectgarbage()
            assert.equal(i, db:value("select $1::int", i))
            assert.equal(i, db:stats().closed.discarded)
        end
    end)

    it("is noticed when it is lost, although one that was released before is still at hand", function()
        local db = closing(open_one())
        local before = assert(db:acquire())
        assert.is_true(before:release())
        assert(db:acquire()):control "begin" -- lost: nothing refers to it
        collectgarbage()
        collectgarbage()
        assert.equal(1, db:value "select 1")
        assert.equal(1, db:stats().leaks)
        fails("validation", before:query "select 1")
        fails("validation", before:release())
        fails("validation", db:release(before))
        assert.equal("unknown", before:transaction_state())
        assert.equal("tidepool.connection (released)", tostring(before))
    end)

    it("outlives the variable of its database", function()
        local conn = assert(open():acquire())
        collectgarbage()
        collectgarbage()
        assert.equal(1, conn:value "select 1")
        assert.is_true(conn:release())
    end)

    it("raises an error for a timeout that is none, whatever the state of the pool", function()
        local db = closing(open())
        assert.equal(1, db:value "select 1")
        assert.has_error(function() db:acquire {} end)
        assert.has_error(function() db:acquire "soon" end)
        assert.has_error(function() db:acquire(-1) end)
        assert.equal(0, db:stats().active_connections)
    end)

    it("raises an error for a method called without it", function()
        local db = closing(open())
        local conn = closing(assert(db:acquire()))
        assert.has_error(function() conn.query("select 1") end)
        assert.has_error(function() conn.release(db) end)
        assert.has_error(function() db.acquire(conn) end)
        assert.has_error(function() db:release(db) end)
        assert.has_error(function() db:release(io.stdout) end)
        assert.has_error(function() db:release() end)
    end)
end)

describe("a connection that comes back in a transaction", function()
    it("is rolled back, and reported with the place where it was acquired", function()
        local db = closing(open_one())
        local told
        db:on("rollback", function(event) told = event end)
        assert(db:exec "create table acquire_spec (i int)")
        local conn, line = assert(db:acquire()), line_here()
        local pid = conn:backend_pid()
        assert(conn:script "begin; insert into acquire_spec values (1)")
        conn:release()
        assert.equal(0, db:value "select count(*) from acquire_spec")
        assert.equal(pid, db:value "select pg_backend_pid()", "the connection is mended, not replaced")
        assert.equal(1, db:stats().rollbacks)
        assert.equal(pid, told.backend_pid)
        assert.truthy(told.message:find(("acquire_spec.lua:%d"):format(line), 1, true), told.message)
        assert(db:exec "drop table acquire_spec")
    end)

    it("is rolled back after a statement failed in it, too", function()
        local db = closing(open_one())
        local conn = assert(db:acquire())
        assert.is_nil((conn:script "begin; selekt"))
        conn:exec "begin"
        conn:exec "selekt"
        conn:release()
        assert.equal("idle", db:with(function(c) return c:transaction_state() end))
        assert.equal(1, db:stats().rollbacks)
    end)

    it("is rolled back when a call on the pool has opened it, and reported", function()
        local db = closing(open_one())
        local told
        db:on("rollback", function(event) told = event end)
        assert(db:exec "begin")
        local again = assert(db:value "select now() <> clock_timestamp() and pg_current_xact_id_if_assigned() is null")
        assert.is_true(again)
        assert.equal(1, db:stats().rollbacks)
        assert.truthy(told and told.message:find("begin", 1, true))
    end)

    it("is mended when a statement was still under way", function()
        local db = closing(open_one())
        local conn = assert(db:acquire())
        assert(conn:exec "begin")
        fails("timeout", conn:exec { "select pg_sleep(20)", timeout_ms = 30 })
        conn:release()
        assert.equal("idle", db:with(function(c) return c:transaction_state() end))
        assert.equal(1, db:value "select 1")
    end)
end)

describe("with", function()
    it("gives the function a connection and returns what it returns", function()
        local db = closing(open_one())
        local results = portable.pack(db:with(function(conn) return conn:value "select 7", nil, "x", nil end))
        assert.same({ 7, nil, "x", nil, n = 4 }, results)
        assert.equal(0, db:stats().active_connections)
    end)

    it("releases the connection when the function raises an error, and raises it again", function()
        local db = closing(open_one())
        local what = {}
        local ok, err = pcall(db.with, db, function() error(what) end)
        assert.is_false(ok)
        assert.equal(what, err)
        ok, err = pcall(db.with, db, function() error() end)
        assert.is_false(ok)
        assert.is_nil(err)
        assert.equal(0, db:stats().active_connections)
    end)

    it("lets the function release the connection itself", function()
        local db = closing(open_one())
        assert.equal(5, db:with(function(conn) conn:release() return 5 end))
        assert.equal(5, db:with(function(conn) conn:discard() return 5 end))
        assert.equal(0, db:stats().active_connections)
    end)

    it("raises an error for what is no function", function()
        local db = closing(open_one())
        assert.error_matches(function() db:with(5) end, "a function expected")
    end)

    it("passes its timeout on", function()
        local db = closing(open_one())
        occupy(db, 3000)
        local began = server.now()
        fails("pool_timeout", db:with(print, 50))
        assert.is_true(server.now() - began < 2000)
    end)
end)

describe("acquiring when nothing is free", function()
    it("finds connections that the program has lost, before it gives up", function()
        local db = closing(open { pool = { min = 0, max = 1 } })
        collectgarbage "stop"
        for _, use in ipairs { "value", "acquire", "ping" } do
            assert(db:acquire()) -- and lost
            local got = assert(db[use](db, use == "value" and "select 1" or nil))
            if use == "acquire" then got:release() end
        end
        local stuck = coroutine.wrap(function() db:transaction(function() coroutine.yield() end) end)
        stuck()
        stuck = nil
        assert.equal(2, db:value "select 2")
        assert.is_nil(stuck)
        collectgarbage "restart"
        assert.equal(4, db:stats().closed.discarded)
    end)

    it("fails at once when this thread holds all itself, and names the holders", function()
        local db = closing(open())
        local first, first_line = closing(assert(db:acquire())), line_here()
        local second, second_line = closing(assert(db:acquire())), line_here()
        assert(first:exec "begin")
        assert(second:value "select 1 as second")
        local began = server.now()
        local err = fails("busy", db:acquire())
        assert.is_true(server.now() - began < 2500)
        assert.truthy(err.message:find("holds all 2 connections", 1, true), err.message)
        for _, line in ipairs { first_line, second_line } do
            assert.truthy(err.message:find(("acquire_spec.lua:%d"):format(line), 1, true), err.message)
        end
        assert.truthy(err.message:find("in a transaction", 1, true), err.message)
        assert.truthy(err.message:find("select 1 as second", 1, true), err.message)
        assert.is_true(err.message:find("begin", 1, true) < err.message:find("as second", 1, true), "oldest first")
        fails("busy", db:query "select 1")
        fails("busy", db:transaction(print))
        fails("busy", db:wait_ready(1000))
    end)

    it("names the program's own line, not tidepool's, as the place", function()
        local db = closing(open_one())
        local err = select(2, db:with(function() return db:acquire() end))
        assert.equal("busy", err.kind)
        assert.truthy(err.message:find(("acquire_spec.lua:%d"):format(line_here() - 2), 1, true), err.message)
        assert.is_nil(err.message:find("scope.lua", 1, true), err.message)
        err = select(2, db:transaction(function()
            return db:acquire()
        end))
        assert.truthy(err.message:find("acquire_spec.lua:", 1, true), err.message)
        assert.is_nil(err.message:find("transaction.lua", 1, true), err.message)
        local co = coroutine.wrap(function() return (db:acquire()) end)
        local conn = assert(co())
        err = select(2, db:acquire())
        assert.truthy(err.message:find("acquire_spec.lua:", 1, true), err.message)
        conn:release()
    end)

    it("fails at its deadline with the state of the pool and its holders", function()
        local db = closing(open())
        local conn, line = closing(assert(db:acquire())), line_here()
        assert(conn:exec "begin")
        occupy(db, 3000)
        local began = server.now()
        local err = fails("pool_timeout", db:acquire(100))
        local took = server.now() - began
        assert.is_true(took >= 100 and took < 2000, took)
        assert.is_true(err.retryable)
        assert.truthy(err.message:find "within %d%d%d+ ms", err.message)
        assert.truthy(err.message:find("max 2: 1 in use, 0 connecting, 1 being mended", 1, true), err.message)
        assert.truthy(err.message:find(("acquire_spec.lua:%d"):format(line), 1, true), err.message)
        assert.truthy(err.message:find("in a transaction: begin", 1, true), err.message)
        assert.equal(1, db:stats().acquire_timeouts)
        assert.equal(0, db:stats().waiting_requests)
    end)

    it("is served as soon as a connection is mended", function()
        local db = closing(open_one())
        occupy(db, 200)
        local began = server.now()
        assert.equal(1, db:value "select 1")
        local took = server.now() - began
        assert.is_true(took >= 150 and took < 2500, took)
        assert.equal(0, db:stats().acquire_timeouts)
    end)

    it("never ends before its deadline, and soon after it", function()
        local db = closing(open_one())
        local late = {}
        occupy(db, 4000)
        for i = 1, 50 do
            local ms = 2 + i % 20
            local began = server.now()
            fails("pool_timeout", db:acquire(ms))
            local took = server.now() - began
            assert.is_true(took >= ms, ("%.3f ms early"):format(ms - took))
            late[#late + 1] = took - ms
        end
        table.sort(late)
        -- How late to the millisecond is for make bench-loops, on a machine that does nothing else.
        assert.is_true(late[45] <= 50, ("the 45th of 50 was %.1f ms late"):format(late[45]))
        assert.equal(50, db:stats().acquire_timeouts)
    end)

    it("waits while the server has too many connections, and is served when one ends", function()
        server.psql "drop role if exists acquire_spec"
        server.psql "create role acquire_spec login connection limit 1"
        local url = server.url { user = "acquire_spec" }
        local holder = open { url = url, pool = { min = 0, max = 1 } }
        assert.equal(1, holder:value "select 1")
        local db = closing(open { url = url, pool = { min = 0, max = 1 } })
        local err = fails("connection", db:acquire(100))
        assert.equal("53300", err.code)
        assert.equal("too_many_connections", err.name)
        holder:close()
        assert.equal(1, db:value { "select 1", timeout_ms = 3000 })
        db:close()
        server.psql "drop role acquire_spec"
    end)
end)

describe("the size of the pool", function()
    it("grows on demand to max, and no further", function()
        local url = server.url { application_name = "acquire_spec grows" }
        local db = closing(open { url = url, pool = { min = 1, max = 4 } })
        assert.equal(1, db:value "select 1")
        local conns = {}
        for i = 1, 4 do
            conns[i] = assert(db:acquire())
        end
        fails("busy", db:acquire())
        assert.equal(4, server.backends "acquire_spec grows")
        for _, conn in ipairs(conns) do conn:release() end
    end)

    it("shrinks to min by the idle timeout", function()
        local db = closing(open { pool = { min = 1, max = 4, idle_timeout_ms = 100 } })
        local conns = {}
        for i = 1, 4 do conns[i] = assert(db:acquire()) end
        for _, conn in ipairs(conns) do conn:release() end
        assert.is_true(server.wait(function() return db:stats().closed.idle_timeout == 3 end, 2000))
        assert.equal(1, db:stats().total_connections)
        assert.equal(1, db:value "select 1")
    end)

    it("is filled to min with the first use", function()
        local db = closing(open { pool = { min = 3, max = 4 } })
        assert.equal(0, db:stats().total_connections)
        assert.equal(1, db:value "select 1")
        assert.is_true(server.wait(function() return db:stats().idle_connections == 3 end, 2000))
    end)

    it("replaces a connection after max_uses loans", function()
        local db = closing(open { pool = { min = 0, max = 1, max_uses = 3 } })
        local seen = {}
        for i = 1, 9 do
            seen[i] = db:value "select pg_backend_pid()"
        end
        assert.equal(seen[1], seen[3])
        assert.not_equal(seen[3], seen[4])
        assert.equal(seen[4], seen[6])
        assert.not_equal(seen[6], seen[7])
        assert.is_true(db:stats().closed.max_uses >= 2)
    end)

    it("replaces a connection past max_lifetime_ms", function()
        local db = closing(open { pool = { min = 0, max = 1, max_lifetime_ms = 100 } })
        local pid = db:value "select pg_backend_pid()"
        assert.is_true(server.wait(function() return db:value "select pg_backend_pid()" ~= pid end, 1000))
        assert.is_true(db:stats().closed.max_lifetime >= 1)
    end)
end)
