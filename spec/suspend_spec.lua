--- A pool that is suspended for maintenance and resumed, and connections that are evicted.
local loops = require "spec.support.loops"
local portable = require "spec.support.portable"
local server = require "spec.support.server"
local fails = require("spec.support.expect").fails

loops.each(function(loop)
    it("while it is suspended calls wait to their deadlines", loop.tasks(function()
        local db = loop.open()
        assert.equal(1, db:value "select 1")
        assert.is_true(db:suspend())
        assert.equal("suspended", db:state().state)
        assert.is_false(db:is_connected())
        local began = server.now()
        local err = fails("pool_timeout", db:query { "select 1", timeout_ms = 60 })
        assert.is_true(server.now() - began >= 60)
        assert.truthy(err.message:find("the pool is suspended", 1, true), err.message)
        assert.is_true(err.retryable)
        assert.is_true(db:resume())
        assert.equal(1, db:value "select 1")
        assert.equal("connected", db:state().state)
        assert.equal(1, db:stats().created)
    end))

    it("whoever holds a connection goes on", loop.tasks(function()
        local db = loop.open()
        assert.equal(3, db:transaction(function(tx)
            assert(tx:exec "set local lock_timeout = 1000")
            db:suspend()
            return tx:value "select 3"
        end))
        db:resume()
    end))

    it("a server that restarts meanwhile is not noticed", loop.tasks(function()
        local db = loop.open { pool = { min = 2, max = 4 } }
        assert.equal(1, db:value "select 1")
        assert.is_true(loop.wait(function() return db:stats().idle_connections == 2 end))
        assert.is_true(db:suspend { wait_ms = 1000 })
        server.stop_fast()
        server.start_again()
        db:resume()
        assert.equal(1, db:value "select 1")
        local stats = db:stats()
        assert.equal(0, stats.connect_failures)
        assert.equal(0, stats.query_failures)
    end))

    it("what its own caller holds is not waited for", loop.tasks(function()
        local db = loop.open()
        local conn = assert(db:acquire())
        local began = server.now()
        fails("timeout", db:suspend { wait_ms = 2000 })
        assert.is_true(server.now() - began < 1000)
        assert.equal("suspended", db:state().state)
        conn:release()
        assert.is_true(db:suspend { wait_ms = 0 })
        db:resume()
    end))

    it("evict_all replaces every connection", loop.tasks(function()
        local db = loop.open()
        local a, b = assert(db:acquire()), assert(db:acquire())
        local old = { [a:backend_pid()] = true, [b:backend_pid()] = true }
        a:release()
        assert.is_true(db:evict_all())
        assert.is_true(loop.wait(function() return db:stats().closed.evicted == 1 end))
        assert.equal(1, b:value "select 1")
        b:release()
        assert.is_true(loop.wait(function() return db:stats().closed.evicted == 2 end))
        assert.is_nil(old[db:value "select pg_backend_pid()"])
    end))

    if loop.blocks then
        return
    end

    it("those who have waited are served in their order", function()
        local db, order = loop.open { pool = { min = 0, max = 1 } }, {}
        loop.run(function() assert.equal(1, db:value "select 1") end)
        db:suspend()
        local function ask(n)
            return function()
                assert.equal(n, db:value("select $1::int", n))
                order[#order + 1] = n
            end
        end
        loop.run(ask(1), ask(2), ask(3), function()
            assert.is_true(loop.wait(function() return db:stats().waiting_requests == 3 end))
            loop.sleep(30)
            assert.same({}, order)
            db:resume()
        end)
        assert.same({ 1, 2, 3 }, order)
    end)

    it("what others hold is waited for, while the loop goes on", function()
        local db, ticks, returned = loop.open(), 0, false
        loop.run(function()
            assert.equal(1, db:value "select count(*)::int from pg_sleep(0.15)")
            returned = true
        end, function()
            assert.is_true(loop.wait(function() return db:stats().active_connections == 1 end))
            fails("timeout", db:suspend { wait_ms = 20 })
            assert.is_false(returned)
            assert.is_true(db:suspend { wait_ms = 5000 })
            assert.is_true(returned)
            db:resume()
        end, function()
            while not returned do
                loop.sleep(2)
                ticks = ticks + 1
            end
        end)
        assert.is_true(ticks > 10, ticks)
    end)
end, { "blocking", "cqueues", "luv" })

describe("suspend", function()
    local tidepool = require "tidepool"
    local closing = portable.closing

    local function open(options)
        options.url, options.log = server.url(), { queries = false }
        return closing(assert(tidepool.open(options)))
    end

    it("is of the pool, whichever object says it", function()
        local a = open { name = "suspend_spec", pool = { min = 0, max = 2 } }
        local b = open { name = "suspend_spec" }
        assert.equal(1, a:value "select 1")
        b:suspend()
        fails("pool_timeout", a:query { "select 1", timeout_ms = 30 })
        a:resume()
        assert.equal(1, b:value "select 1")
    end)

    it("tells who listens for the state", function()
        local db, states = open { pool = { min = 0, max = 1 } }, {}
        db:on("state", function(event) states[#states + 1] = event.message end)
        assert.equal(1, db:value "select 1")
        db:suspend()
        db:resume()
        assert.same({ "connected", "suspended", "connected" }, states)
    end)

    it("is refused by a pool that is closed, as are resume and evict_all", function()
        local db = open { pool = { min = 0, max = 1 } }
        db:suspend()
        db:close()
        fails("pool_closed", db:suspend())
        fails("pool_closed", db:suspend { wait_ms = 10 })
        fails("pool_closed", db:resume())
        fails("pool_closed", db:evict_all())
    end)

    it("raises an error for what it does not know", function()
        local db = open { pool = { min = 0, max = 1 } }
        assert.error_matches(function() db:suspend { wait = 5 } end,
            "unknown option 'wait' of suspend %(known: wait_ms%)")
        assert.has_error(function() db:suspend { wait_ms = "soon" } end)
        assert.has_error(function() db:suspend(5) end)
        assert.equal(1, db:value "select 1")
    end)
end)
