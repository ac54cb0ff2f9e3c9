--- db:health: what status is given when, and that it never takes longer than it may.
local tidepool = require "tidepool"
local child = require "spec.support.child"
local portable = require "spec.support.portable"
local server = require "spec.support.server"
local servers = require "spec.support.servers"

local closing = portable.closing

local function open(options)
    local where = { url = server.url(), log = { queries = false, sink = print }, pool = { min = 0, max = 1 } }
    where.log.sink = function() end
    for name, value in pairs(options or {}) do
        where[name] = value
    end
    return assert(tidepool.open(where))
end

describe("db:health", function()
    it("is healthy when the server answers, and tells what was looked at", function()
        local db = closing(open())
        local before = os.time()
        local health = db:health()
        assert.equal("healthy", health.status)
        assert.same({}, health.reasons)
        assert.equal("connected", health.state)
        assert.is_true(health.is_connected)
        assert.equal("closed", health.breaker)
        assert.equal(1, health.total_connections)
        assert.equal(0, health.error_count)
        assert.equal(0, health.waiting_requests)
        assert.is_true(health.checked_at >= before and health.checked_at <= os.time() + 1)
        assert.is_true(health.latency_ms > 0 and health.latency_ms < 2000)
        assert.is_nil(health.error)
        assert.equal(0, db:stats().queries, "a look is no query")
    end)

    it("is unhealthy within its time when the server is away, and says why", function()
        local db = closing(open { url = "postgresql://u@127.0.0.1:1/db" })
        local began = server.now()
        local health = db:health(300)
        assert.is_true(server.now() - began < 1500)
        assert.equal("unhealthy", health.status)
        assert.equal("connection", health.error.kind)
        assert.equal("the server does not answer: connection", health.reasons[1])
        assert.is_false(health.is_connected)
        assert.is_true(health.error_count > 0)
        assert.equal("connection", health.last_error.kind)
    end)

    it("is unhealthy when nothing is configured, without asking, and so says /api/db/health", function()
        local output, code = child.run [[
            local db = assert(require "tidepool".open { log = { sink = function() end } })
            local health = db:health()
            print(health.status, health.state, health.reasons[1], health.latency_ms)
            print(require "tidepool.http".handle(db, { method = "GET", path = "/api/db/health" }))]]
        assert.equal(0, code, output)
        assert.matches("^unhealthy\tunconfigured\tnothing says where the database is\tnil\n503\t", output)
        assert.matches('"connection":"not_configured"', output)
    end)

    it("is unhealthy when the pool is closed", function()
        local db = open()
        db:close()
        assert.same({ "the pool is closed" }, db:health().reasons)
        assert.equal("unhealthy", db:health().status)
    end)

    it("is degraded while the pool is suspended, and while every connection is lent", function()
        local db = closing(open())
        db:suspend()
        assert.equal("degraded", db:health().status)
        assert.same({ "the pool is suspended" }, db:health().reasons)
        db:resume()
        local held = assert(db:acquire())
        local health = db:health(30)
        assert.equal("degraded", health.status)
        assert.is_true(health.error.kind == "pool_timeout" or health.error.kind == "busy")
        assert.same({ "no connection came free in time" }, health.reasons)
        held:release()
        assert.equal("healthy", db:health().status)
    end)

    it("follows a server that goes and comes back", function()
        local own = servers.start()
        finally(function() own:stop() end)
        local db = closing(open { url = own:url(), retry = { base_ms = 10, max_ms = 50 } })
        assert.equal("healthy", db:health().status)
        own:stop_fast()
        assert.is_true(server.wait(function() return db:health(100).status == "unhealthy" end, 5000))
        own:start_again()
        assert.is_true(server.wait(function() return db:health(1000).status == "healthy" end, 10000))
    end)

    it("raises an error for a time that is none", function()
        local db = closing(open())
        assert.has_error(function() db:health "soon" end)
    end)
end)
