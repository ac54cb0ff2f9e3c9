--- db:stats, db:state, db:ping: the figures are there, under their names, and they are right.
local tidepool = require "tidepool"
local portable = require "spec.support.portable"
local server = require "spec.support.server"
local expect = require "spec.support.expect"

local closing = portable.closing

local open = expect.opener { log = { queries = false }, pool = { min = 0, max = 3 } }

local function closed_sum(stats)
    local sum = 0
    for _, count in pairs(stats.closed) do
        sum = sum + count
    end
    return sum
end

describe("the statistics", function()
    it("have the names that the requirements fix", function()
        local db = closing(open())
        local stats = db:stats()
        for _, name in ipairs {
            "total_connections", "idle_connections", "active_connections", "waiting_requests", "connecting", "mending",
            "max", "min", "acquires", "acquire_timeouts", "acquire_cancels", "created", "connect_failures", "queries",
            "query_failures", "retries", "rollbacks", "statements_prepared", "statement_hits", "statement_evictions",
        } do
            assert.equal(portable.INTEGER, portable.math_type(stats[name]), name)
        end
        assert.equal(3, stats.max)
        for _, name in ipairs { "wait", "connect", "query" } do
            for _, figure in ipairs { "mean_ms", "p50_ms", "p95_ms", "p99_ms", "max_ms" } do
                assert.equal(portable.FLOAT, portable.math_type(stats[name][figure]), name .. "." .. figure)
            end
            assert.equal(portable.INTEGER, portable.math_type(stats[name].count))
        end
        for _, reason in ipairs {
            "idle_timeout", "max_lifetime", "max_uses", "dead", "in_doubt", "server_gone", "pool_closed", "discarded",
            "budget", "replaced",
        } do
            assert.equal(0, stats.closed[reason], reason)
        end
        assert.same({}, stats.errors)
        assert.equal(1.0, stats.success_rate)
    end)

    it("count nothing before the first call", function()
        local db = closing(open())
        local stats = db:stats()
        assert.equal(0, stats.total_connections + stats.created + stats.acquires + stats.queries)
        assert.equal(0, stats.query.count)
        assert.equal(0.0, stats.query.max_ms)
    end)

    it("count queries, failures, errors by kind and the rate of success", function()
        local db = closing(open())
        for i = 1, 6 do assert.equal(i, db:value("select $1::int", i)) end
        assert.is_nil((db:query "selekt"))
        assert.is_nil((db:query "select 1/0"))
        local stats = db:stats()
        assert.equal(8, stats.queries)
        assert.equal(2, stats.query_failures)
        assert.equal(0.75, stats.success_rate)
        assert.same({ database = 2 }, stats.errors)
        assert.equal(8, stats.query.count)
    end)

    it("count a wrong number of parameters and a timeout as errors of their kinds", function()
        local db = closing(open())
        db:query("select $1::int")
        db:query { "select pg_sleep(20)", timeout_ms = 30 }
        assert.same({ validation = 1, timeout = 1 }, db:stats().errors)
        assert.equal(2, db:stats().query_failures)
    end)

    it("count a repeated statement once, and its repetitions apart", function()
        local db = closing(open())
        assert.is_nil((db:exec "do $$ begin raise serialization_failure; end $$"))
        local stats = db:stats()
        assert.equal(1, stats.queries)
        assert.equal(1, stats.query_failures)
        assert.equal(2, stats.retries)
    end)

    it("count loans, whether for a call or for a program", function()
        local db = closing(open())
        assert.equal(1, db:value "select 1")
        db:with(function(conn)
            for _ = 1, 5 do conn:value "select 1" end
        end)
        db:transaction(function() end)
        local stats = db:stats()
        assert.equal(3, stats.acquires)
        assert.equal(8, stats.queries, "BEGIN and COMMIT are queries, too")
        assert.equal(3, stats.wait.count)
    end)

    it("add up: what was made is there or was closed", function()
        local db = closing(open())
        for _ = 1, 4 do
            local a, b = assert(db:acquire()), assert(db:acquire())
            a:discard()
            b:release()
        end
        local held = closing(assert(db:acquire()))
        assert(held:ping())
        assert.is_true(server.wait(function()
            local stats = db:stats()
            return stats.created == stats.total_connections + closed_sum(stats)
        end, 1000))
        local stats = db:stats()
        assert.equal(4, stats.closed.discarded)
        assert.equal(stats.total_connections, stats.idle_connections + stats.active_connections + stats.mending)
        assert.equal(1, stats.active_connections)
        assert.equal(stats.created, stats.connect.count)
        assert.is_true(stats.total_connections <= stats.max)
        held:release()
        db:close()
        stats = db:stats()
        assert.equal(0, stats.total_connections)
        assert.equal(stats.created, closed_sum(stats))
        assert.is_true(stats.closed.pool_closed >= 1)
    end)

    it("count connections that the server ended as dead", function()
        local db = closing(open { pool = { min = 0, max = 1 } })
        for _ = 1, 3 do
            local pid = db:value "select pg_backend_pid()"
            server.psql(("select pg_terminate_backend(%d, 5000)"):format(pid))
            assert.equal(1, db:value "select 1")
        end
        assert.is_true(server.wait(function() return db:stats().closed.dead == 3 end, 1000))
    end)

    it("count connects that failed", function()
        local db = closing(open { url = "postgresql://u@127.0.0.1:1/db" })
        assert.is_nil((db:acquire(100)))
        local stats = db:stats()
        assert.is_true(stats.connect_failures >= 1)
        assert.equal(stats.connect_failures, stats.errors.connection)
        assert.equal(1, stats.acquire_timeouts)
        assert.equal(0, stats.created)
    end)

    it("have times whose percentiles are in order and in the right place", function()
        local db = closing(open())
        for _ = 1, 200 do db:value "select 1" end
        db:value "select pg_sleep(0.1)"
        local query = db:stats().query
        assert.is_true(0 < query.p50_ms and query.p50_ms <= query.p95_ms)
        assert.is_true(query.p95_ms <= query.p99_ms and query.p99_ms <= query.max_ms)
        assert.is_true(query.p50_ms < 50)
        assert.is_true(query.max_ms >= 100 and query.max_ms < 2000)
        assert.is_true(query.mean_ms > 0.5 and query.mean_ms < query.max_ms)
        local connect = db:stats().connect
        assert.is_true(0 < connect.p50_ms and connect.p50_ms <= connect.max_ms)
    end)

    it("do not count pings as queries", function()
        local db = closing(open())
        assert.is_true(db:ping())
        assert.is_true(db:ping(1000))
        assert.equal(0, db:stats().queries)
        assert.equal(2, db:stats().acquires)
    end)
end)

describe("a ping", function()
    it("is true when the server answers, and false with an error when it does not", function()
        local db = closing(open())
        assert.same({ true, n = 1 }, portable.pack(db:ping()))
        local away = closing(open { url = "postgresql://u@127.0.0.1:1/db" })
        local ok, err = away:ping(50)
        assert.is_false(ok)
        assert.equal("connection", err.kind)
    end)
end)

describe("the database object", function()
    it("shows its state and its size as text", function()
        local db = closing(open())
        assert.equal("tidepool.db (starting, 0 of 3 connections)", tostring(db))
        assert.equal(1, db:value "select 1")
        assert.equal("tidepool.db (connected, 1 of 3 connections)", tostring(db))
        db:close()
        assert.equal("tidepool.db (closed, 0 of 3 connections)", tostring(db))
    end)

    it("quotes identifiers, and refuses what cannot be one", function()
        local db = closing(open())
        assert.equal('"we""ird"', db:quote_identifier 'we"ird')
        assert.equal('"select"', tidepool.quote_identifier "select")
        for _, bad in ipairs { "", "a\0b", "\255" } do
            local quoted, err = tidepool.quote_identifier(bad)
            assert.is_nil(quoted)
            assert.equal("validation", err.kind)
        end
    end)

    it("knows the SQLSTATEs of PostgreSQL", function()
        assert.same({ name = "unique_violation", class = "Integrity Constraint Violation", retryable = false },
            tidepool.sqlstate "23505")
        assert.is_true(tidepool.sqlstate "40001".retryable)
        assert.is_true(tidepool.sqlstate "40P01".retryable)
        assert.is_nil(tidepool.sqlstate "ZZZZZ")
    end)
end)
