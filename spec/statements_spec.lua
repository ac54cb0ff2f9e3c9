--- db:statements: what a program asks its server, by what the texts have in common.
local tidepool = require "tidepool"
local loops = require "spec.support.loops"
local portable = require "spec.support.portable"
local server = require "spec.support.server"

local closing = portable.closing

local function open(options)
    local where = {
        url = server.url(), log = { queries = false, slow_ms = 0 }, pool = { min = 0, max = 2 },
    }
    for name, value in pairs(options or {}) do where[name] = value end
    return assert(tidepool.open(where))
end

local function find(db, query)
    for _, entry in ipairs(db:statements { limit = 1000 }) do
        if entry.query == query then return entry end
    end
end

local function queries(list)
    local out = {}
    for i, entry in ipairs(list) do out[i] = entry.query end
    return out
end

describe("the statistics of statements", function()
    setup(function() server.psql "create table statements_spec (id int primary key, name text)" end)
    teardown(function() server.psql "drop table statements_spec" end)
    before_each(function() server.psql "truncate statements_spec" end)

    it("count calls, rows, errors and time of texts that differ in constants only", function()
        local db = closing(open())
        for i = 1, 5 do
            assert(db:query(("select * from generate_series(1, %d) -- %d"):format(i, i)))
        end
        assert(db:query("SELECT * from generate_series(1,  $1)", 7))
        local entry = find(db, "select * from generate_series(?, ?)")
        assert.equal(5, entry.calls)
        assert.equal(15, entry.rows)
        assert.equal(0, entry.errors)
        assert.is_true(entry.total_ms > 0 and entry.max_ms > 0 and entry.max_ms <= entry.total_ms)
        assert.is_true(math.abs(entry.mean_ms - entry.total_ms / 5) <= 0.001)
        assert.is_true(entry.p99_ms <= entry.max_ms and entry.p99_ms >= entry.mean_ms / 2)
        assert.equal(7, find(db, "select * from generate_series(?, $1)").rows)
    end)

    it("count the errors of the server, and calls that cannot be made", function()
        local db = closing(open())
        assert.is_nil((db:query("select 1 / $1::int", 0)))
        assert(db:query("select 1 / $1::int", 1))
        assert.is_nil((db:query "select no_such_column"))
        assert.is_nil((db:query("select 1 / $1::int", "x", "y")))
        local entry = find(db, "select ? / $1::int")
        assert.equal(3, entry.calls)
        assert.equal(2, entry.errors)
        assert.equal(1, find(db, "select no_such_column").errors)
    end)

    it("have what scripts, transactions, streams, pipelines and COPY do", function()
        local db = closing(open())
        assert(db:script "select 1; select 2, 'x'")
        assert(db:transaction(function(tx)
            return tx:exec("insert into statements_spec values ($1, 'a'), ($2, 'b')", 1, 2)
        end))
        for _ in db:each "select * from statements_spec" do end
        assert(db:pipeline(function(p)
            for i = 10, 14 do p:query(("insert into statements_spec values (%d)"):format(i)) end
            p:query "select * from statements_spec"
        end))
        assert(db:query_many("update statements_spec set name = $1 where id = $2", { { "x", 1 }, { "y", 2 } }))
        assert(db:copy_in("statements_spec(id, name)", { { 20, "a" }, { 21, "b" }, { 22, "c" } }))
        assert.equal(1, find(db, "select ?; select ?, ?").calls)
        assert.equal(1, find(db, "begin").calls)
        assert.equal(1, find(db, "commit").calls)
        assert.equal(2, find(db, "insert into statements_spec values ($1, ?), ...").rows)
        local inserts = find(db, "insert into statements_spec values (?)")
        assert.equal(5, inserts.calls)
        assert.equal(5, inserts.rows)
        local selects = find(db, "select * from statements_spec")
        assert.equal(2, selects.calls)
        assert.equal(2 + 7, selects.rows)
        local updates = find(db, "update statements_spec set name = $1 where id = $2")
        assert.equal(2, updates.calls)
        assert.equal(2, updates.rows)
        for _, entry in ipairs(db:statements { limit = 1000 }) do
            if entry.query:find "^copy" then assert.equal(3, entry.rows) end
        end
        local sum, stats = 0, db:stats()
        for _, entry in ipairs(db:statements { limit = 1000 }) do sum = sum + entry.total_ms end
        local all = stats.query.mean_ms * stats.query.count
        assert.is_true(math.abs(sum - all) < all / 4 + 1, ("%g ms of %g ms"):format(sum, all))
    end)

    it("have the item of a pipeline that failed", function()
        local db = closing(open())
        assert.is_nil((db:pipeline(function(p)
            p:query "select 5"
            p:query "select 1 / 0"
            p:query "select 6, 7"
        end)))
        assert.equal(1, find(db, "select ? / ?").errors)
        assert.equal(0, find(db, "select ?").errors)
        assert.is_nil(find(db, "select ?, ?"))
    end)

    it("are sorted as asked, and as many as asked", function()
        local db = closing(open())
        for _ = 1, 5 do assert(db:query "select 1 as often") end
        assert(db:query "select 1 as slow, pg_sleep(0.2)")
        for _ = 1, 2 do assert.is_nil((db:query "select 1 / 0 as bad")) end
        local slow, often, bad = "select ? as slow, pg_sleep(?)", "select ? as often", "select ? / ? as bad"
        assert.equal(slow, db:statements()[1].query)
        assert.same({ often, bad, slow }, queries(db:statements { by = "calls" }))
        assert.equal(slow, db:statements { by = "mean_ms" }[1].query)
        assert.equal(slow, db:statements { by = "p99_ms" }[1].query)
        assert.same({ bad }, queries(db:statements { by = "errors", limit = 1 }))
        assert.equal(2, #db:statements { limit = 2 })
        assert.equal(5, db:statements { by = "calls" }[1].calls)
    end)

    it("refuse options that there are not", function()
        local db = closing(open())
        for _, options in ipairs { { by = "name" }, { limit = 0 }, { limit = "x" }, { order = 1 }, 5 } do
            assert.is_false((pcall(db.statements, db, options)))
        end
    end)

    it("never have a constant", function()
        local db = closing(open())
        db:query "select 'topsecret', $$topsecret$$, E'topsecret', 4711, U&'topsecret'"
        db:script "select 'topsecret"
        db:query "selectt 'topsecret', 4711"
        for _, entry in ipairs(db:statements { limit = 1000 }) do
            assert.is_nil(entry.query:find("topsecret", 1, true), entry.query)
            assert.is_nil(entry.query:find("4711", 1, true), entry.query)
        end
    end)

    it("are bounded by statements.max, and off at 0", function()
        local db = closing(open { statements = { max = 10 } })
        for i = 1, 100 do assert(db:query(("select 1 as name_%d"):format(i))) end
        assert.is_true(#db:statements { limit = 1000 } <= 10)
        local off = closing(open { statements = { max = 0 } })
        assert(off:query "select 1")
        assert.same({}, off:statements())
    end)

    it("are of the pool, whoever shares it", function()
        local one = closing(open { name = "statements_spec" })
        local other = closing(open { name = "statements_spec" })
        assert(one:query "select 1")
        assert(other:query "select 2")
        assert.equal(2, find(one, "select ?").calls)
    end)

    it("are the same where statements are not prepared", function()
        local db = closing(open { prepare = false })
        for i = 1, 3 do assert(db:query("select $1::int", i)) end
        assert.equal(3, find(db, "select $1::int").calls)
    end)

    loops.each(function(loop)
        it("count side by side", loop.tasks(function()
            local db = loop.open()
            for _ = 1, 3 do
                loop.spawn(function() for _ = 1, 10 do assert(db:query "select 1 as beside") end end)
            end
            loop.wait(function() local entry = find(db, "select ? as beside") return entry and entry.calls == 30 end)
            assert.equal(30, find(db, "select ? as beside").calls)
        end))
    end, loops.concurrent)
end)
