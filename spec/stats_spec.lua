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
            "query_failures", "retries", "rollbacks", "leaks", "slow_queries",
            "statements_prepared", "statement_hits", "statement_evictions",
        } do
            assert.equal(portable.INTEGER, portable.math_type(stats[name]), name)
        end
        assert.equal(3, stats.max)
        for _, name in ipairs { "wait", "connect", "query", "transaction", "held" } do
            for _, figure in ipairs { "sum_ms", "mean_ms", "p50_ms", "p95_ms", "p99_ms", "p999_ms", "max_ms" } do
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
        assert.same({}, stats.errors_by_class)
        assert.same({ committed = 0, rolled_back = 0 }, stats.transactions)
        assert.is_nil(stats.query.buckets)
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
        assert.is_nil((db:exec { "do $$ begin raise serialization_failure; end $$", idempotent = true }))
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

    it("count failures by the class of their SQLSTATE", function()
        local db = closing(open())
        db:with(function(conn)
            conn:script "create temp table one (n int primary key); insert into one values (1)"
            for _ = 1, 3 do conn:exec "insert into one values (1)" end
            conn:query "select 1/0"
            conn:exec "do $$ begin raise exception using errcode = 'MY001'; end $$"
        end)
        db:query "select * from no_such_table"
        db:query { "select pg_sleep(20)", timeout_ms = 30 }
        assert.same({ ["23"] = 3, ["22"] = 1, ["42"] = 1, MY = 1 }, db:stats().errors_by_class)
    end)

    it("count connects that were refused by the class of their SQLSTATE", function()
        local db = closing(open { database = "no_such_database", pool = { min = 0, max = 1, acquire_timeout_ms = 300 },
            url = server.url():gsub("/[^/?]*%?", "/no_such_database?") })
        db:query "select 1"
        local stats = db:stats()
        assert.is_true(stats.connect_failures > 0)
        assert.same({ ["3D"] = stats.connect_failures }, stats.errors_by_class)
    end)

    it("count transactions by their ends, whoever began them", function()
        local db = closing(open())
        local function counts(n) return db:stats().transactions.committed, db:stats().transactions.rolled_back, n end
        db:transaction(function(tx) tx:query "select 1" end)
        db:transaction(function() return nil, "no" end)
        assert.same({ 1, 1 }, { counts() })
        db:transaction(function(tx) -- savepoints are no transactions
            tx:transaction(function(inner) inner:query "select 1/0" end)
            tx:transaction(function(inner) inner:query "select 1" end)
        end)
        assert.same({ 2, 1 }, { counts() })
        db:with(function(conn)
            conn:exec "begin"
            conn:query "select 1/0"
            assert(conn:exec "commit") -- which the server does not do
            conn:exec "start transaction"
            conn:exec "savepoint a"
            conn:exec "rollback to savepoint a"
            conn:exec "commit"
        end)
        assert.same({ 3, 2 }, { counts() })
        assert.equal(5, db:stats().transaction.count)
    end)

    it("count the transactions of a script and of a pipeline", function()
        local db = closing(open())
        assert(db:script "begin; select 1; commit; begin; select 1; rollback; begin; select 1; commit; select 2")
        assert.same({ committed = 2, rolled_back = 1 }, db:stats().transactions)
        db:pipeline(function(p)
            p:exec "begin"
            p:exec "select 1"
            p:exec "commit"
            p:exec "begin"
            p:exec "rollback"
        end)
        assert.same({ committed = 3, rolled_back = 2 }, db:stats().transactions)
        assert(db:script "select 1; select 2") -- without a BEGIN
        assert.equal(5, db:stats().transaction.count)
    end)

    it("count a transaction that was left open as rolled back, and one whose link was lost not at all", function()
        local db = closing(open())
        db:acquire():control "begin" -- lost: the collector closes it
        collectgarbage()
        collectgarbage()
        assert.is_true(server.wait(function() return db:stats().transactions.rolled_back == 1 end, 1000))
        assert.equal(1, db:stats().leaks)
        local conn = assert(db:acquire())
        conn:control "begin"
        conn:release()
        assert.is_true(server.wait(function() return db:stats().transactions.rolled_back == 2 end, 1000))
        assert.equal(1, db:stats().rollbacks)
        conn = assert(db:acquire())
        conn:control "begin"
        server.psql(("select pg_terminate_backend(%d, 5000)"):format(conn:backend_pid()))
        assert.is_nil((conn:query "select 1"))
        conn:release()
        db:close()
        assert.same({ committed = 0, rolled_back = 2 }, db:stats().transactions)
    end)

    it("have how long transactions and loans took", function()
        local db = closing(open())
        db:transaction(function(tx) tx:query "select pg_sleep(0.05)" end)
        local stats = db:stats()
        for _, name in ipairs { "transaction", "held" } do
            assert.equal(1, stats[name].count)
            assert.is_true(stats[name].max_ms >= 50 and stats[name].max_ms < 1000, name .. stats[name].max_ms)
        end
        assert.is_true(stats.held.sum_ms >= stats.transaction.sum_ms)
        assert.is_true(stats.transaction.sum_ms >= stats.query.max_ms)
        for _ = 1, 9 do db:query "select 1" end
        assert(db:acquire()):release()
        stats = db:stats()
        assert.equal(11, stats.held.count)
        assert.is_true(stats.held.p50_ms > 0 and stats.held.p50_ms < 50)
    end)

    it("count what took longer than log.slow_ms", function()
        local db = closing(open { log = { queries = false, slow_ms = 400, sink = function() end } })
        db:query "select 1"
        db:query "select pg_sleep(0.42)"
        db:query { "select pg_sleep(20)", timeout_ms = 420 }
        assert.equal(2, db:stats().slow_queries)
        local never = closing(open { log = { queries = false, slow_ms = 0 } })
        never:query "select pg_sleep(0.06)"
        assert.equal(0, never:stats().slow_queries)
    end)

    it("have cumulative buckets when they are asked for", function()
        local db = closing(open())
        for _ = 1, 20 do db:value "select 1" end
        db:value "select pg_sleep(0.03)"
        local query = db:stats { buckets = true }.query
        local bounds, before = {}, 0
        for i, bucket in ipairs(query.buckets) do
            bounds[i] = bucket.le_ms
            assert.is_true(bucket.count >= before)
            before = bucket.count
        end
        assert.same({ 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000 }, bounds)
        assert.equal(query.count, query.buckets[16].count)
        assert.is_true(query.buckets[8].count < query.count and query.buckets[8].count >= 15)
        assert.has_error(function() db:stats { bucket = true } end,
            "unknown option 'bucket' of stats (known: buckets, shared)")
        assert.has_error(function() db:stats(1) end)
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
