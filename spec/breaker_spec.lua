--- The circuit breaker: calls fail fast while no connection can be made, and work again soon after the server does.
local loops = require "spec.support.loops"
local portable = require "spec.support.portable"
local server = require "spec.support.server"
local tidepool = require "tidepool"
local fails = require("spec.support.expect").fails

local closing = portable.closing
local closed_port = "postgresql://u:topsecret@127.0.0.1:1/db"

local function took(fn, ...)
    local began = server.now()
    local results = portable.pack(fn(...))
    return server.now() - began, portable.unpack(results, 1, results.n)
end

loops.each(function(loop)
    it("after failures in a row callers are told why and when the next try is", loop.tasks(function()
        local db = loop.open { url = closed_port, retry = { base_ms = 1, max_ms = 5 }, breaker = { failures = 3 } }
        local ms, result, err = took(db.query, db, "select 1")
        fails("connection", result, err)
        assert.is_true(ms < 2000, ("it took %.0f ms"):format(ms))
        assert.truthy(err.message:find("Connection refused.*; next try in %d+ ms$"), err.message)
        assert.is_true(err.retryable)
        assert.equal(3, err.attempts)
        for _ = 1, 3 do
            ms, result, err = took(db.acquire, db)
            fails("connection", result, err)
            assert.is_true(ms < 2500, ("it took %.0f ms"):format(ms))
        end
        local state, stats = db:state(), db:stats()
        assert.equal("open", state.breaker)
        assert.is_true(state.next_try_ms > 0 and state.next_try_ms <= 500, state.next_try_ms)
        assert.equal("unreachable", state.state)
        assert.equal("open", stats.breaker)
        assert.equal(4, stats.fail_fast)
    end))

    it("wait_ready waits on", loop.tasks(function()
        local db = loop.open { url = closed_port, retry = { base_ms = 1, max_ms = 5 }, breaker = { failures = 1 } }
        fails("connection", db:query "select 1")
        local ms, result, err = took(db.wait_ready, db, 700)
        fails("connection", result, err)
        assert.is_true(ms >= 700 and ms < 2000, ("it took %.0f ms"):format(ms))
        assert.is_true(db:stats().connect_failures >= 2)
    end))

    it("where breaker.failures is 0 callers wait to their deadlines", loop.tasks(function()
        local db = loop.open { url = closed_port, retry = { base_ms = 1, max_ms = 5 }, breaker = { failures = 0 } }
        local ms, result, err = took(db.query, db, { "select 1", timeout_ms = 300 })
        fails("connection", result, err)
        assert.is_true(ms >= 300, ("it took %.0f ms"):format(ms))
        assert.is_true(err.attempts > 5)
        assert.equal("closed", db:state().breaker)
        assert.is_nil(db:state().next_try_ms)
    end))
end, { "blocking", "cqueues" })

describe("the breaker", function()
    local function open(options)
        options.log = { queries = false }
        options.url = options.url or server.url()
        options.pool = options.pool or { min = 0, max = 4 }
        return closing(assert(tidepool.open(options)))
    end

    it("lets callers who keep coming find the server as soon as it is back", function()
        local db = open { retry = { base_ms = 5, max_ms = 20 } }
        local told = {}
        db:on("breaker", function(event) told[#told + 1] = event.message end)
        assert.equal(1, db:value "select 1")
        server.stop_fast()
        assert.is_true(server.wait(function()
            db:value "select 1"
            return db:state().breaker == "open"
        end))
        server.start_again()
        local accepting, value = server.now(), nil
        local ms = took(server.wait, function()
            value = db:value "select 1"
            return value
        end, 5000)
        assert.equal(1, value)
        assert.is_true(server.now() - accepting < 1000, ("%.0f ms"):format(ms))
        assert.equal("closed", db:state().breaker)
        assert.same({ "open", "closed" }, { told[1], told[#told] })
    end)

    it("lets connections that work serve those who wait", function()
        server.psql "drop role if exists breaker_few; create role breaker_few login connection limit 1"
        local db = open { url = server.url { user = "breaker_few" }, retry = { base_ms = 1, max_ms = 5 },
            breaker = { failures = 2 }, pool = { min = 0, max = 2, acquire_timeout_ms = 300 } }
        local conn = assert(db:acquire())
        local ms, result, err = took(db.value, db, "select 1") -- the role may not have another
        fails("pool_timeout", result, err)
        assert.is_true(ms >= 300, ("it took %.0f ms"):format(ms))
        assert.is_true(db:stats().connect_failures >= 2)
        assert.equal("53300", db:state().last_error.code)
        assert.not_equal("closed", db:state().breaker)
        assert.equal(0, db:stats().fail_fast)
        conn:release()
        assert.equal(1, db:value "select 1")
    end)

    it("does not try a password that was wrong again and again", function()
        local db = open { url = server.url { tcp = true, password = "not the topsecret" } }
        local stop = server.now() + 300
        local calls = 0
        repeat
            local err = fails("connection", db:value "select 1")
            assert.equal("28P01", err.code)
            assert.is_false(err.retryable)
            assert.truthy(err.message:find("; next try in %d+ ms$"), err.message)
            calls = calls + 1
            server.sleep(2)
        until server.now() >= stop
        assert.is_true(calls > 20)
        assert.equal(1, db:stats().connect_failures)
        local state = db:state()
        assert.equal("open", state.breaker)
        assert.is_true(state.next_try_ms > 0 and state.next_try_ms < 1000, state.next_try_ms)
    end)
end)
