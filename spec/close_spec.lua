--- The end of a pool: drain, close, and the collector.
local tidepool = require "tidepool"
local child = require "spec.support.child"
local lfs = require "lfs"
local portable = require "spec.support.portable"
local server = require "spec.support.server"
local fails = require("spec.support.expect").fails

local closing = portable.closing

local name_count = 0

-- A pool whose backends can be told apart from all others, and its application name.
local function open(options)
    name_count = name_count + 1
    local name = "close_spec " .. name_count
    local where = {
        url = server.url { application_name = name }, log = { queries = false }, pool = { min = 0, max = 2 },
    }
    for key, value in pairs(options or {}) do
        where[key] = value
    end
    return assert(tidepool.open(where)), name
end

local function assert_no_backends(name)
    assert.is_true(server.wait(function() return server.backends(name) == 0 end, 2000), "backends are left of " .. name)
end

describe("close", function()
    it("ends every connection on the server", function()
        local db, name = open()
        local a, b = assert(db:acquire()), assert(db:acquire())
        a:release()
        b:release()
        assert.equal(2, server.backends(name))
        assert.is_true(db:close())
        assert_no_backends(name)
        assert.equal(0, db:stats().total_connections)
        assert.equal("closed", db:state().state)
        assert.is_false(db:is_connected())
    end)

    it("fails every call that comes after it, at once", function()
        local db = open()
        assert.equal(1, db:value "select 1")
        db:close()
        local began = server.now()
        for _, method in ipairs { "query", "one", "value", "exec", "script" } do
            assert.equal("the pool is closed", fails("pool_closed", db[method](db, "select 1")).message)
        end
        fails("pool_closed", db:acquire())
        fails("pool_closed", db:with(print))
        fails("pool_closed", db:transaction(print))
        fails("pool_closed", db:wait_ready())
        local ok, err = db:ping()
        assert.is_false(ok)
        assert.equal("pool_closed", err.kind)
        assert.is_true(server.now() - began < 2500)
    end)

    it("may be called twice, and before any other call", function()
        local db = open()
        assert.is_true(db:close())
        assert.is_true(db:close())
        assert.is_true(db:drain(10))
        fails("pool_closed", db:query "select 1")
    end)

    it("leaves what is on loan to its borrower, and ends it when it comes back", function()
        local db, name = open()
        local conn = assert(db:acquire())
        db:close()
        assert.equal(1, conn:value "select 1")
        assert.equal("in", conn:transaction(function(tx) return tx:value "select 'in'" end))
        assert.equal(1, server.backends(name))
        assert.is_true(conn:release())
        assert_no_backends(name)
        assert.equal(1, db:stats().closed.pool_closed)
    end)

    it("ends what is on loan when the collector finds it", function()
        local db, name = open()
        assert(db:acquire()):exec "begin"
        db:close()
        collectgarbage()
        collectgarbage()
        assert_no_backends(name)
    end)

    it("leaves results as they are", function()
        local db = open()
        local rows = assert(db:query "select i, 'text ' || i as t from generate_series(1, 3) i")
        db:close()
        db = nil -- luacheck: ignore
        collectgarbage()
        collectgarbage()
        assert.equal("text 3", rows[3].t)
        assert.equal("int4", rows.columns[1].type)
        assert.equal(3, rows.count)
    end)

    it("is quick while a connection is being made", function()
        local db = open { url = "postgresql://u@192.0.2.1/db" }
        assert.is_nil((db:acquire(20)))
        local began = server.now()
        db:close()
        assert.is_true(server.now() - began < 2500)
    end)

    it("is quick while a connection is being mended", function()
        local db, name = open()
        assert.is_nil((db:exec { "select pg_sleep(20)", timeout_ms = 30 }))
        local began = server.now()
        db:close()
        assert.is_true(server.now() - began < 2500)
        assert.is_true(server.wait(function() return server.backends(name) == 0 end, 3000))
    end)

    it("keeps the options, the statistics and the text of the object", function()
        local db = open()
        assert.equal(1, db:value "select 1")
        db:close()
        assert.equal("2", db:option "pool.max")
        assert.equal(1, db:stats().queries)
        assert.truthy(tostring(db):find "closed")
    end)
end)

describe("a database that nobody refers to any more", function()
    it("is closed by the collector", function()
        local name
        do
            local db, its_name = open()
            name = its_name
            assert.equal(1, db:value "select 1")
            db:with(function(conn) conn:value "select 1" end)
            assert.equal(1, server.backends(name))
        end
        collectgarbage()
        collectgarbage()
        assert_no_backends(name)
    end)

    it("is closed by the collector, handlers, log and all", function()
        local name
        do
            local db, its_name = open { log = { queries = true, sink = function() end } }
            name = its_name
            db:on("query_end", function() return db end)
            assert.equal(1, db:value "select 1")
        end
        collectgarbage()
        collectgarbage()
        assert_no_backends(name)
    end)

    it("leaves no thread and no descriptor", function()
        local function count(what)
            local n = 0
            for _ in lfs.dir("/proc/self/" .. what) do n = n + 1 end
            return n
        end
        collectgarbage()
        collectgarbage()
        local threads, descriptors = count "task", count "fd"
        for _ = 1, 20 do
            local db = open()
            assert.equal(1, db:value "select 1")
        end
        assert.is_true(count "fd" > descriptors)
        collectgarbage()
        collectgarbage()
        assert.is_true(server.wait(function() return count "task" <= threads end, 1000))
        assert.is_true(count "fd" <= descriptors)
    end)

    it("goes with its process, also when that ends without a word", function()
        local _, name = open()
        local code = ([[
            local db = require "tidepool".open { url = %q, log = { queries = false } }
            held = assert(db:acquire())
            assert(held:exec "begin")
            assert(db:value "select 1")
            %s]])
        for _, ending in ipairs { "", "os.exit(0)", "os.exit(0, true)", "db:close()", "error 'x'" } do
            child.run(code:format(server.url { application_name = name }, ending))
            assert_no_backends(name)
        end
    end)
end)

describe("drain", function()
    it("closes the pool when nothing is on loan", function()
        local db, name = open()
        assert.equal(1, db:value "select 1")
        assert.is_true(db:drain(1000))
        assert.equal("closed", db:state().state)
        fails("pool_closed", db:query "select 1")
        assert_no_backends(name)
    end)

    it("does not wait for what this thread holds itself, says so, and closes", function()
        local db, name = open()
        local conn = assert(db:acquire())
        local began = server.now()
        local err = fails("timeout", db:drain(5000))
        assert.is_true(server.now() - began < 2500)
        assert.truthy(err.message:find("1 connection was still in use", 1, true), err.message)
        assert.equal(1, conn:value "select 1")
        conn:release()
        assert_no_backends(name)
    end)

    it("tells its states to who listens", function()
        local db = open()
        local states = {}
        db:on("state", function(event) states[#states + 1] = event.message end)
        assert.equal(1, db:value "select 1")
        db:drain()
        assert.same({ "connected", "draining", "closed" }, states)
    end)

    it("raises an error for a time that is none", function()
        local db = closing(open())
        assert.has_error(function() db:drain "soon" end)
        assert.has_error(function() db:drain(-5) end)
        assert.equal(1, db:value "select 1")
    end)
end)
