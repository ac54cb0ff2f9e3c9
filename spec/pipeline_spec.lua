--- Pipelines: many statements in one round trip. The answers, and what an error says and undoes.
local tidepool = require "tidepool"
local portable = require "spec.support.portable"
local server = require "spec.support.server"
local expect = require "spec.support.expect"

local closing = portable.closing

local fails = expect.fails
local open = expect.opener { log = { queries = false }, pool = { min = 0, max = 2 } }

local function count(target)
    return target:value "select count(*) from pipeline_spec"
end

local function insert(p, ...)
    return p:exec("insert into pipeline_spec values ($1, $2)", ...)
end

-- What went wrong before must not be seen afterwards.
local function assert_usable(target)
    assert.equal(7, target:value("select $1::int", 7))
    assert.equal(8, assert(target:pipeline(function(p) p:value("select $1::int", 8) end))[1])
end

local db

setup(function()
    db = open()
    server.psql "create table pipeline_spec (id int primary key, name text)"
end)

before_each(function() server.psql "truncate pipeline_spec" end)

teardown(function()
    db:close()
    server.psql "drop table pipeline_spec"
end)

describe("a pipeline", function()
    it("has rows without columns", function()
        for _, as in ipairs{ "rows", "arrays", "columns", "lazy" } do
            local answers = assert(db:pipeline(function(p)
                p:query{ "select from generate_series(1, 3)", as = as }
                p:one "select"
                p:value "select"
                p:exec "select from generate_series(1, 2)"
                p:value "select 5"
            end))
            assert.equal(3, answers[1].count)
            assert.same({}, answers[2])
            assert.equal(5, answers[5])
        end
        assert_usable(db)
    end)

    it("returns the answers in order, each of its kind", function()
        local positions
        local answers = assert(db:pipeline(function(p)
            positions = {
                p:query("select i, 'x' as x from generate_series(1, $1::int) i", 2),
                p:one("select $1::text as name", "one"),
                p:value("select $1::int + 1", 41),
                insert(p, 1, "first"),
                p:query "select id, name from pipeline_spec",
                p:exec "delete from pipeline_spec",
            }
        end))
        assert.same({ 1, 2, 3, 4, 5, 6 }, positions)
        assert.same({ i = 2, x = "x" }, answers[1][2])
        assert.equal(2, answers[1].count)
        assert.equal("SELECT", answers[1].command)
        assert.equal("i", answers[1].columns[1].name)
        assert.same({ name = "one" }, answers[2])
        assert.equal(42, answers[3])
        assert.same({ command = "INSERT", count = 1 }, answers[4])
        assert.same({ id = 1, name = "first" }, answers[5][1])
        assert.same({ command = "DELETE", count = 1 }, answers[6])
        assert.is_nil(answers[7])
    end)

    it("leaves nil where one and value find nothing", function()
        local answers = assert(db:pipeline(function(p)
            p:one "select 1 where false"
            p:value "select null"
            p:value "select false"
            p:query "select 1 where false"
        end))
        assert.is_nil(answers[1])
        assert.is_nil(answers[2])
        assert.is_false(answers[3])
        assert.equal(0, #answers[4])
        assert.equal("INSERT", assert(db:pipeline(function(p) insert(p, 1, nil) end))[1].command)
        assert.is_nil((db:value "select name from pipeline_spec"))
    end)

    it("takes the options as, nulls and numbers of each statement", function()
        local answers = assert(db:pipeline(function(p)
            p:query({ "select $1::int, null::text", as = "arrays", nulls = true }, 5)
            p:value { "select 1.5", numbers = true }
            p:value "select 1.5"
            p:query { "select i, -i as j from generate_series(1, 3) i", as = "columns" }
            p:query { "select i from generate_series(1, 3) i", as = "lazy" }
        end))
        assert.same({ 5, tidepool.null }, answers[1][1])
        assert.equal(1.5, answers[2])
        assert.equal("1.5", answers[3])
        assert.same({ -1, -2, -3 }, answers[4].j)
        assert.equal(3, answers[5][3].i)
        assert.equal(3, #answers[5])
    end)

    it("without statements returns no answers", function()
        assert.same({}, assert(db:pipeline(function() end)))
        local conn = closing(assert(db:acquire()))
        assert.same({}, assert(conn:pipeline(function() end)))
        assert_usable(conn)
    end)

    it("sends nothing when its function raises an error", function()
        local before = db:stats()
        local mine = {}
        local ok, err = pcall(db.pipeline, db, function(p)
            insert(p, 1, "x")
            error(mine)
        end)
        assert.is_false(ok)
        assert.equal(mine, err)
        assert.equal(before.queries, db:stats().queries)
        assert.equal(before.acquires, db:stats().acquires)
        assert.equal(0, count(db))
    end)

    it("raises an error for a misused call", function()
        local function with(...)
            local arguments = portable.pack(...)
            return function() db:pipeline(function(p) p:query(portable.unpack(arguments, 1, arguments.n)) end) end
        end
        assert.error_matches(with(nil), "SQL text expected")
        assert.error_matches(with { "select 1", as = "objects" }, "'as'")
        assert.error_matches(with { "select 1", timeout_ms = 5 }, "timeout_ms")
        assert.error_matches(with { "select 1", idempotent = true }, "the options as, nulls and numbers")
        assert.error_matches(with { "select 1", max_rows = 5 }, "the options as, nulls and numbers")
        assert.error_matches(with "select 1\0", "NUL byte")
        assert.has_error(function() db:pipeline() end)
        assert.has_error(function() db:pipeline(function() end, 5) end)
        assert.has_error(function() db:pipeline(function() end, { timeout_ms = "soon" }) end)
        assert_usable(db)
    end)

    it("prepares each text once, and the next pipeline and query know it", function()
        local own = closing(open { pool = { min = 0, max = 1 } })
        local function run()
            assert(own:pipeline(function(p)
                for i = 1, 10 do p:value("select $1::int", i) end
                p:value "select 1"
            end))
        end
        run()
        assert.equal(2, own:stats().statements_prepared)
        run()
        assert.equal(1, own:value "select 1")
        assert.equal(2, own:stats().statements_prepared)
    end)

    it("counts as one query and tells one event", function()
        local own = closing(open())
        local told = {}
        own:on("query_end", function(event) told[#told + 1] = event end)
        assert(own:pipeline(function(p) p:value "select 1" p:value "select 2" end))
        assert.equal(1, own:stats().queries)
        assert.equal(1, #told)
        assert.equal("(pipeline)", told[1].sql)
    end)

    it("works on a pool of one, time after time", function()
        local own = closing(open { pool = { min = 0, max = 1 } })
        local pid = own:value "select pg_backend_pid()"
        for i = 1, 50 do
            assert.same({ i, pid }, assert(own:pipeline(function(p)
                p:value("select $1::int", i)
                p:value "select pg_backend_pid()"
            end)))
        end
        assert.equal(1, own:stats().created)
    end)

    it("works without prepared statements", function()
        local own = closing(open { prepare = false })
        for i = 1, 3 do
            local answers = assert(own:pipeline(function(p)
                p:value("select $1::int", i)
                p:query("select $1::text as t, now() as at", "x")
                p:exec "select 1"
            end))
            assert.equal(i, answers[1])
            assert.equal("x", answers[2][1].t)
            assert.equal(1, answers[3].count)
        end
    end)

    it("goes on past notices", function()
        local conn = closing(assert(db:acquire()))
        assert(conn:script [[create function pg_temp.say(i int) returns int language plpgsql as
            $$ begin raise notice 'here'; return i; end $$]])
        local answers = assert(conn:pipeline(function(p)
            for i = 1, 5 do p:value("select pg_temp.say($1)", i) end
        end))
        assert.same({ 1, 2, 3, 4, 5 }, answers)
    end)
end)

describe("an error in a pipeline", function()
    it("names the item, and nothing is kept outside a transaction", function()
        local err = fails("database", db:pipeline(function(p)
            insert(p, 1, "first")
            insert(p, 2, "second")
            insert(p, 1, "once more")
            insert(p, 3, "third")
        end))
        assert.equal(3, err.item)
        assert.equal("unique_violation", err.name)
        assert.truthy(err.message:find("^item 3 of 4: duplicate key"), err.message)
        assert.equal("insert into pipeline_spec values ($1, $2)", err.query)
        assert.equal(0, count(db))
        assert_usable(db)
    end)

    it("at the first and at the last item is named as well", function()
        for _, at in ipairs { 1, 20 } do
            local err = fails("database", db:pipeline(function(p)
                for i = 1, 20 do
                    p:value("select 1 / $1::int", i == at and 0 or 1)
                end
            end))
            assert.equal(at, err.item)
            assert.equal("22012", err.code)
        end
    end)

    it("while the rows of an item come is the item's", function()
        local err = fails("database", db:pipeline(function(p)
            p:query "select generate_series(1, 10)"
            p:query "select 10 / (5000 - i) from generate_series(1, 10000) i"
            p:query "select 1"
        end))
        assert.equal(2, err.item)
        assert_usable(db)
    end)

    it("in its SQL is found before anything is done", function()
        local err = fails("database", db:pipeline(function(p)
            insert(p, 1, "x")
            p:query "selekt"
        end))
        assert.equal(2, err.item)
        assert.equal("42601", err.code)
        assert.equal("selekt", err.query)
        err = fails("validation", db:pipeline(function(p)
            insert(p, 1, "x")
            p:query ""
        end))
        assert.equal(2, err.item)
        assert.equal(0, count(db))
        assert_usable(db)
    end)

    it("fails the transaction that the pipeline is in", function()
        local result, err = db:transaction(function(tx)
            assert(tx:exec "insert into pipeline_spec values (100, 'before')")
            local failure = fails("database", tx:pipeline(function(p)
                insert(p, 1, "x")
                insert(p, 1, "y")
            end))
            assert.equal(2, failure.item)
            assert.equal("in_failed_sql_transaction", select(2, tx:query "select 1").name)
            return nil, "enough"
        end)
        assert.is_nil(result)
        assert.equal("enough", err)
        assert.equal(0, count(db))
    end)

    it("undoes no more than the savepoint that it is in", function()
        assert(db:transaction(function(tx)
            assert(tx:pipeline(function(p) insert(p, 1, "kept") end))
            tx:transaction(function(inner)
                return inner:pipeline(function(p) insert(p, 2, "x") insert(p, 1, "y") end)
            end)
            return true
        end))
        assert.equal(1, count(db))
    end)

    it("of a released connection and an ended transaction is returned", function()
        local conn = assert(db:acquire())
        conn:release()
        fails("validation", conn:pipeline(function(p) p:query "select 1" end))
        local kept
        assert(db:transaction(function(tx) kept = tx return true end))
        fails("validation", kept:pipeline(function(p) p:query "select 1" end))
        fails("validation", kept:query_many("select $1::int", { { 1 } }))
    end)

    it("of a lost connection is a connection error, and the pool recovers", function()
        local own = closing(open { pool = { min = 0, max = 1 } })
        local err = fails("connection", own:pipeline(function(p)
            insert(p, 1, "x")
            p:exec "select pg_terminate_backend(pg_backend_pid())"
            p:exec "select pg_sleep(5)"
        end))
        assert.truthy(err.message ~= "")
        assert.equal(0, count(db))
        assert_usable(own)
    end)
end)

describe("an item that cannot be sent", function()
    it("is named with its parameter, and nothing is kept", function()
        for _, at in ipairs { 1, 3, 5 } do
            local err = fails("validation", db:pipeline(function(p)
                for i = 1, 5 do
                    insert(p, i == at and 1.5 or i, "x")
                end
            end))
            assert.equal(at, err.item)
            assert.truthy(err.message:find("^item " .. at .. " of 5: parameter %$1: "), err.message)
            assert.equal(0, count(db))
            assert_usable(db)
        end
    end)

    it("leaves a transaction in which nothing of the pipeline is kept", function()
        local conn = closing(assert(db:acquire()))
        assert(conn:exec "begin")
        local err = fails("validation", conn:pipeline(function(p)
            insert(p, 1, "x")
            insert(p, {}, "y")
        end))
        assert.equal(2, err.item)
        assert.equal("failed", conn:transaction_state())
        assert(conn:exec "rollback")
        assert.equal(0, count(conn))
    end)

    it("behind very many that were sent is named as well", function()
        local err = fails("validation", db:pipeline(function(p)
            for i = 1, 20000 do insert(p, i, "some text") end
            insert(p, {}, "x")
        end))
        assert.equal(20001, err.item)
        assert.equal(0, count(db))
        assert_usable(db)
    end)

    it("has the wrong number of parameters: it is named before anything is sent", function()
        local err = fails("validation", db:pipeline(function(p)
            insert(p, 1, "x")
            insert(p, 2)
        end))
        assert.equal(2, err.item)
        assert.truthy(err.message:find("item 2.*1 parameter, its statement has 2"), err.message)
        err = fails("validation", db:pipeline(function(p) p:query("select 1", nil) end))
        assert.equal(1, err.item)
        assert.equal(0, count(db))
        assert_usable(db)
    end)

    it("is one of query_many", function()
        local err = fails("validation", db:query_many("insert into pipeline_spec values ($1, $2)",
            { { 1, "a" }, { 2, "b" }, { "three", "c" }, { 4, {} } }))
        assert.equal(4, err.item, "text is for the server to judge, which has not seen it yet: " .. err.message)
        assert.truthy(err.message:find("^item 4 of 4: parameter %$2: "), err.message)
        assert.equal(0, count(db))
        assert_usable(db)
    end)
end)

describe("a statement in a pipeline", function()
    it("that changes a setting works for those behind it", function()
        local conn = closing(assert(db:acquire()))
        local answers = assert(conn:pipeline(function(p)
            p:exec "set application_name = 'pipeline_spec'"
            p:value "show application_name"
        end))
        assert.same({ { command = "SET", count = 0 }, "pipeline_spec" }, answers)
        assert.equal("pipeline_spec", conn:value "show application_name")
    end)

    it("that sets the time zone or the style of dates is respected by later calls", function()
        local conn = closing(assert(db:acquire()))
        local at = "select timestamptz '2024-05-06 07:08:09+00'"
        assert.equal("2024-05-06 07:08:09+00", conn:value(at))
        assert(conn:pipeline(function(p) p:exec "set time zone 'Asia/Tokyo'" end))
        assert.equal("2024-05-06 16:08:09+09", conn:value(at))
        assert.same({ "2024-05-06 16:08:09+09" }, assert(conn:pipeline(function(p) p:value(at) end)))
        assert(conn:pipeline(function(p) p:exec "set datestyle = 'German'" end))
        assert.equal("06.05.2024 16:08:09 JST", conn:value(at))
        assert(conn:pipeline(function(p) p:exec "set datestyle = 'ISO'" p:exec "set time zone 'UTC'" end))
        assert.equal("2024-05-06 07:08:09+00", conn:value(at))
    end)

    it("may be BEGIN and COMMIT", function()
        local conn = closing(assert(db:acquire()))
        local answers = assert(conn:pipeline(function(p)
            p:exec "begin"
            insert(p, 1, "x")
            p:exec "commit"
        end))
        assert.same({ "BEGIN", "INSERT", "COMMIT" }, { answers[1].command, answers[2].command, answers[3].command })
        assert.equal("idle", conn:transaction_state())
        assert.equal(1, count(conn))
        assert(conn:pipeline(function(p) p:exec "begin" insert(p, 2, "y") end))
        assert.equal("open", conn:transaction_state())
        assert(conn:exec "rollback")
        assert.equal(1, count(conn))
    end)

    it("that was committed by an item of the pipeline is kept when a later one fails", function()
        fails("database", db:pipeline(function(p)
            p:exec "begin"
            insert(p, 1, "x")
            p:exec "commit"
            insert(p, 1, "y")
        end))
        assert.equal(1, count(db))
    end)

    it("that leaves a transaction open is rolled back by the pool", function()
        local own = closing(open { pool = { min = 0, max = 1 } })
        assert(own:pipeline(function(p) p:exec "begin" insert(p, 1, "x") end))
        assert.equal(0, count(own))
        assert.equal(1, own:stats().rollbacks)
    end)

    it("cannot be COPY: the error says so, and nothing is kept", function()
        for _, sql in ipairs { "copy pipeline_spec from stdin", "/* a /* nested */ one */ COPY pipeline_spec to stdout",
            "-- a line\n copy (select 1) to stdout" } do
            local err = fails("validation", db:pipeline(function(p)
                insert(p, 1, "x")
                p:exec(sql)
                insert(p, 2, "y")
            end))
            assert.equal(2, err.item)
            assert.truthy(err.message:find("COPY", 1, true), err.message)
            assert.equal(0, count(db))
            assert_usable(db)
        end
        fails("validation", db:query_many("copy pipeline_spec to stdout", { {} }))
        assert_usable(db)
    end)

    it("whose result was changed by ALTER TABLE is prepared anew", function()
        local own = closing(open { pool = { min = 0, max = 1 } })
        server.psql "drop table if exists pipeline_stale; create table pipeline_stale as select 1 as a"
        local function run()
            return own:pipeline(function(p)
                p:value "select 1"
                p:one "select * from pipeline_stale"
                p:value "select 2"
            end)
        end
        assert.same({ 1, { a = 1 }, 2 }, assert(run()))
        server.psql "alter table pipeline_stale add b text default 'x'"
        if not run() then -- the server has found out, and all was undone
            assert.same({ 1, { a = 1, b = "x" }, 2 }, assert(run()))
        end
        server.psql "drop table pipeline_stale"
    end)
end)

describe("statement_cache_size", function()
    local function run(own, n)
        return own:pipeline(function(p)
            for i = 1, n do p:value(("select %d"):format(i)) end
        end)
    end

    it("is how many different statements a pipeline can have", function()
        local own = closing(open { statement_cache_size = 5, pool = { min = 0, max = 1 } })
        assert.same({ 1, 2, 3, 4, 5 }, assert(run(own, 5)))
        local err = fails("validation", run(own, 6))
        assert.truthy(err.message:find("statement_cache_size", 1, true), err.message)
        assert_usable(own)
        assert.same({ 1, 2, 3, 4, 5 }, assert(run(own, 5)))
    end)

    it("does not limit how often they are executed", function()
        local own = closing(open { statement_cache_size = 2, pool = { min = 0, max = 1 } })
        local answers = assert(own:pipeline(function(p)
            for i = 1, 100 do p:value(("select %d"):format(i % 2)) end
        end))
        assert.equal(100, #answers)
        assert.equal(50, assert(own:query_many("select $1::int", (function()
            local lists = {}
            for i = 1, 50 do lists[i] = { i } end
            return lists
        end)())).count)
    end)

    it("may be one or zero", function()
        for size = 0, 1 do
            local own = closing(open { statement_cache_size = size, pool = { min = 0, max = 1 } })
            assert.same({ 3 }, assert(own:pipeline(function(p) p:value("select $1::int", 3) end)))
            assert.equal(2, assert(own:query_many("select $1::int", { { 1 }, { 2 } })).count)
        end
    end)
end)

portable.only_5_4("the examples are written for it", function()
    describe("examples/pipeline.lua", function()
        it("runs and prints what it says", function()
            local output, code = server.sh(("DATABASE_URL=%s %s examples/pipeline.lua")
                :format("'" .. server.url() .. "'", os.getenv "LUA" or "lua5.4"))
            assert.equal(0, code, output)
            assert.equal([[
INSERT 1, INSERT 1
north has 1.25, the highest is 2.50, there are 2
INSERT of 10000 rows
moved 2: 1.75 and 2.00
nil: item 2, tidepool_levels_level_check
still there: 10002
left: 2
]], output)
        end)
    end)
end)
