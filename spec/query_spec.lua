--- The calls that run a statement: what they return, their options, their errors, their prepared statements.
local tidepool = require "tidepool"
local portable = require "spec.support.portable"
local server = require "spec.support.server"
local expect = require "spec.support.expect"

local closing = portable.closing

local lua_assert = portable.assert -- busted's own makes a text of an error

local fails = expect.fails
local open = expect.opener { log = { queries = false }, pool = { min = 0, max = 2 } }

describe("a call", function()
    local db

    setup(function()
        db = open()
        assert(db:script [[
            create table query_spec (
                id int primary key, name text not null, grade int constraint grade_is_small check (grade < 10));
            insert into query_spec values (1, 'one', 1), (2, 'two', 2), (3, 'three', null);
        ]])
    end)

    teardown(function()
        assert(db:exec "drop table query_spec")
        db:close()
    end)

    describe("of query", function()
        it("returns the rows by name, their count, the command and the columns", function()
            local rows = assert(db:query "select id, name, grade from query_spec order by id")
            assert.equal(3, #rows)
            assert.equal(3, rows.count)
            assert.equal("SELECT", rows.command)
            assert.same({ id = 2, name = "two", grade = 2 }, rows[2])
            assert.is_nil(rows[3].grade)
            assert.same({ "id", "name", "grade" },
                { rows.columns[1].name, rows.columns[2].name, rows.columns[3].name })
            assert.same({ "int4", "text", "int4" },
                { rows.columns[1].type, rows.columns[2].type, rows.columns[3].type })
            assert.is_nil(rows.columns[4])
        end)

        it("returns no rows but columns when nothing matches", function()
            local rows = assert(db:query("select id from query_spec where id = $1", 99))
            assert.equal(0, #rows)
            assert.equal(0, rows.count)
            assert.equal("id", rows.columns[1].name)
        end)

        it("returns how many rows a command has touched", function()
            local result = assert(db:query("update query_spec set grade = grade where id < $1", 3))
            assert.equal(0, #result)
            assert.equal(2, result.count)
            assert.equal("UPDATE", result.command)
        end)

        it("returns what RETURNING gives", function()
            local rows = assert(db:query("update query_spec set name = name where id = $1 returning id, name", 1))
            assert.same({ id = 1, name = "one" }, rows[1])
            assert.equal("UPDATE", rows.command)
            assert.equal(1, rows.count)
        end)

        it("gives the last of two columns of one name, by name", function()
            assert.equal(2, assert(db:query "select 1 as a, 2 as a")[1].a)
        end)

        it("returns a row without columns as an empty table", function()
            local rows = assert(db:query "select")
            assert.equal(1, #rows)
            assert.is_nil(next(rows[1]))
        end)

        it("takes 1,000 columns and 50,000 rows", function()
            local names = {}
            for i = 1, 1000 do names[i] = i .. " as c" .. i end
            local wide = assert(db:query("select " .. table.concat(names, ", ")))
            assert.equal(1000, wide[1].c1000)
            local long = assert(db:query "select i from generate_series(1, 50000) i")
            assert.equal(50000, #long)
            assert.equal(50000, long[50000].i)
        end)
    end)

    describe("of one", function()
        it("returns the first row", function()
            assert.same({ id = 1, name = "one" }, assert(db:one "select id, name from query_spec order by id"))
        end)

        it("returns nil and nothing else when there is none", function()
            local results = portable.pack(db:one("select id from query_spec where id = $1", 99))
            assert.is_nil(results[1])
            assert.is_nil(results[2])
        end)

        it("returns nil for a command that has no rows", function()
            local row, err = db:one "update query_spec set id = id where false"
            assert.is_nil(row)
            assert.is_nil(err)
        end)
    end)

    describe("of value", function()
        it("returns the first column of the first row", function()
            assert.equal("one", db:value "select name, id from query_spec order by id")
        end)

        it("returns false for false, not nil", function()
            assert.is_false((db:value "select false"))
        end)

        it("returns nil and no error for NULL and for no row", function()
            for _, sql in ipairs { "select null", "select 1 where false", "select" } do
                local value, err = db:value(sql)
                assert.is_nil(value)
                assert.is_nil(err)
            end
        end)
    end)

    describe("of exec", function()
        it("returns the command and its count, and no rows", function()
            assert.same({ command = "SELECT", count = 3 }, assert(db:exec "select * from query_spec"))
            assert.same({ command = "DELETE", count = 0 }, assert(db:exec("delete from query_spec where id = $1", 99)))
            assert.equal("CREATE TABLE", assert(db:exec "create temporary table t_exec (i int)").command)
        end)
    end)

    describe("of script", function()
        it("runs many statements and returns a result for each", function()
            local results = assert(db:script [[select 1 as a;
                create temporary table s (i int); insert into s values (1), (2)]])
            assert.equal(3, #results)
            assert.equal(1, results[1][1].a)
            assert.equal("CREATE TABLE", results[2].command)
            assert.equal(2, results[3].count)
        end)

        it("does all or nothing", function()
            fails("database", db:script "insert into query_spec values (50, 'fifty', 5); select 1/0")
            assert.equal(0, db:value "select count(*) from query_spec where id = 50")
        end)

        it("takes no parameters", function()
            fails("validation", db:script("select $1", 1))
        end)
    end)

    describe("with options", function()
        it("gives rows as arrays", function()
            local rows = assert(db:query { "select id, name from query_spec order by id", as = "arrays" })
            assert.same({ 1, "one" }, { rows[1][1], rows[1][2] })
            assert.is_nil(rows[1].id)
            assert.same({ 7, 8 }, assert(db:one { "select 7, 8", as = "arrays" }))
        end)

        it("gives NULL as tidepool.null", function()
            assert.equal(tidepool.null, assert(db:one { "select null as n", nulls = true }).n)
            assert.equal(tidepool.null, db:value { "select null", nulls = true })
            assert.is_nil(db:value { "select null", nulls = false })
        end)

        it("gives numeric as a number", function()
            assert.equal("1.50", db:value "select 1.50")
            assert.equal(1.5, db:value { "select 1.50", numbers = true })
        end)

        it("takes parameters behind them", function()
            assert.equal(5, db:value({ "select $1::int + $2::int", timeout_ms = 1000 }, 2, 3))
        end)

        it("leaves the table of options as it was", function()
            local call = { "select $1::int", as = "arrays", timeout_ms = 1000 }
            for i = 1, 3 do
                assert.equal(i, db:value(call, i))
            end
            assert.same({ "select $1::int", as = "arrays", timeout_ms = 1000 }, call)
        end)

        it("raises an error for an unknown one, with the known ones", function()
            assert.error_matches(function() db:query { "select 1", timeout = 5 } end,
                "unknown option 'timeout' of a call %(known: timeout_ms")
        end)

        it("raises an error for one of a wrong type", function()
            assert.error_matches(function() db:query { "select 1", timeout_ms = "soon" } end, "'timeout_ms'")
            assert.error_matches(function() db:query { "select 1", timeout_ms = -1 } end, "milliseconds")
            assert.error_matches(function() db:query { "select 1", timeout_ms = 0 / 0 } end, "milliseconds")
            assert.error_matches(function() db:query { "select 1", idempotent = 1 } end, "'idempotent'")
            assert.error_matches(function() db:query { "select 1", nulls = "yes" } end, "'nulls'")
            assert.error_matches(function() db:query { "select 1", as = "objects" } end, "'as'")
            assert.error_matches(function() db:query { "select $1", 5 } end, "parameters go behind it")
        end)

        it("raises an error where SQL text is missing", function()
            assert.has_error(function() db:query() end)
            assert.has_error(function() db:query(nil) end)
            assert.has_error(function() db:query {} end)
            assert.has_error(function() db:query(function() end) end)
            assert.has_error(function() tidepool.open { url = server.url() }.query("select 1") end)
        end)
    end)

    describe("with bad SQL", function()
        it("fails with a clear error for empty text", function()
            for _, sql in ipairs { "", "  ", ";", "-- nothing", "/* nothing */" } do
                for _, method in ipairs { "query", "one", "value", "exec", "script" } do
                    local err = fails("validation", db[method](db, sql))
                    assert.equal("the SQL text is empty", err.message)
                end
            end
        end)

        it("fails with a clear error for a NUL byte, before anything is sent", function()
            local before = db:stats().query_failures
            assert.truthy(fails("validation", db:query "select 1\0; drop table query_spec").message:find("NUL"))
            assert.truthy(fails("validation", db:script "select 1\0").message:find("NUL"))
            assert.equal(before, db:stats().query_failures)
        end)

        it("fails with a clear error for several statements in a query", function()
            local err = fails("database", db:query "select 1; select 2")
            assert.equal("42601", err.code)
            assert.truthy(err.message:find("multiple commands"))
        end)

        it("fails with a clear error for a wrong number of parameters", function()
            assert.equal("the statement has 2 parameters, 1 was given",
                fails("validation", db:query("select $1::int + $2::int", 1)).message)
            assert.equal("the statement has 1 parameter, 2 were given",
                fails("validation", db:query("select $1::int", 1, 2)).message)
            assert.equal("the statement has 1 parameter, 0 were given",
                fails("validation", db:query "select $1::int").message)
            assert.equal("the statement has 0 parameters, 1 was given",
                fails("validation", db:query("select 1", nil)).message)
        end)

        it("fails with a clear error for COPY, both ways", function()
            assert.truthy(fails("validation", db:query "copy query_spec to stdout").message:find("COPY"))
            assert.truthy(fails("validation", db:script "copy query_spec from stdin").message:find("COPY"))
            assert.equal(3, db:value "select count(*) from query_spec")
        end)
    end)

    describe("that the server fails", function()
        it("has the SQLSTATE, its name, the position and the SQL text", function()
            local err = fails("database", db:query("select nothing from query_spec where id = $1", 1))
            assert.equal("42703", err.code)
            assert.equal("undefined_column", err.name)
            assert.equal("ERROR", err.severity)
            assert.equal(8, err.position)
            assert.equal('column "nothing" does not exist', err.message)
            assert.equal("select nothing from query_spec where id = $1", err.query)
            assert.is_false(err.retryable)
            assert.equal(1, err.attempts)
        end)

        it("has the constraint, the table and the detail of a unique violation", function()
            local err = fails("database", db:exec("insert into query_spec values ($1, 'x', 1)", 1))
            assert.equal("unique_violation", err.name)
            assert.equal("query_spec_pkey", err.constraint)
            assert.equal("query_spec", err.table)
            assert.equal("public", err.schema)
            assert.equal("Key (id)=(1) already exists.", err.detail)
            assert.equal("database error 23505 (unique_violation): duplicate key value violates unique constraint "
                .. '"query_spec_pkey"; Key (id)=(1) already exists.', tostring(err))
        end)

        it("has the column of a NOT NULL violation", function()
            assert.equal("name", fails("database", db:exec("insert into query_spec values ($1, $2, 1)", 9, nil)).column)
        end)

        it("has the constraint of a check", function()
            assert.equal("grade_is_small", fails("database",
                db:exec "insert into query_spec values (9, 'nine', 10)").constraint)
        end)

        it("has the hint and the call stack of PL/pgSQL", function()
            local err = fails("database", db:exec [[do $$ begin
                raise exception 'no' using hint = 'say yes', errcode = 'P0042'; end $$]])
            assert.equal("say yes", err.hint)
            assert.equal("P0042", err.code)
            assert.truthy(err.where:find("PL/pgSQL function", 1, true))
        end)

        it("leaves its connection as good as before", function()
            local conn = closing(assert(db:acquire()))
            local pid = conn:backend_pid()
            fails("database", conn:query "select 1/0")
            fails("database", conn:query("select $1::int", "x"))
            fails("database", conn:query "selekt")
            assert.equal(pid, conn:value "select pg_backend_pid()")
            assert.equal("idle", conn:transaction_state())
        end)

        it("can be raised by assert, and is the same table", function()
            local ok, err = pcall(lua_assert, db:query "selekt")
            assert.is_false(ok)
            assert.equal("42601", err.code)
        end)
    end)
end)

describe("a call that takes too long", function()
    it("fails in time, and the next one works on the same pool of one", function()
        local db = closing(open { pool = { min = 0, max = 1 } })
        local pid = db:value "select pg_backend_pid()"
        local began = server.now()
        local err = fails("timeout", db:query { "select pg_sleep(20)", timeout_ms = 80 })
        local took = server.now() - began
        assert.is_true(took >= 80 and took < 1500, took)
        assert.equal("select pg_sleep(20)", err.query)
        assert.equal(pid, db:value "select pg_backend_pid()", "the connection was mended, not replaced")
        assert.is_true(server.now() - began < 2000)
        assert.equal(1, db:stats().errors.timeout)
    end)

    it("is ended on the server too", function()
        local db = closing(open { url = server.url { application_name = "query_spec cancel" } })
        fails("timeout", db:query { "select pg_sleep(20)", timeout_ms = 30 })
        assert.is_true(server.wait(function()
            return server.psql [[select count(*) from pg_stat_activity
                where application_name = 'query_spec cancel' and state = 'active']] == "0"
        end, 2000))
    end)

    it("does not harm the statements that come after it", function()
        local db = closing(open { pool = { min = 0, max = 1 } })
        for i = 0, 40 do
            assert.equal(i, db:value("select $1::int", i))
            fails("timeout", db:query { "select pg_sleep(20)", timeout_ms = 2 })
        end
    end)

    it("fails by query_timeout_ms when the call says nothing", function()
        local db = closing(open { query_timeout_ms = 50 })
        assert(db:wait_ready(5000))
        fails("timeout", db:query "select pg_sleep(20)")
        assert.equal("", db:value { "select pg_sleep(0.1)", timeout_ms = 5000 })
    end)

    it("fails by the server's statement_timeout with the server's error", function()
        local db = closing(open { statement_timeout_ms = 50 })
        assert.equal("57014", fails("database", db:query "select pg_sleep(20)").code)
        assert.equal(1, db:value "select 1")
    end)

    it("leaves an acquired connection that says it is busy until it is released", function()
        local db = closing(open { pool = { min = 0, max = 1 } })
        local conn = assert(db:acquire())
        fails("timeout", conn:query { "select pg_sleep(20)", timeout_ms = 30 })
        fails("busy", conn:query "select 1")
        assert.equal("active", conn:transaction_state())
        assert.is_true(conn:release())
        assert.equal(1, db:value "select 1")
    end)

    it("fails at once with a timeout of zero when it has to wait", function()
        local db = closing(open())
        local began = server.now()
        assert.is_nil((db:query { "select pg_sleep(20)", timeout_ms = 0 }))
        assert.is_true(server.now() - began < 5000)
    end)
end)

describe("prepared statements", function()
    local function prepared(db)
        return db:value { "select count(*) from pg_prepared_statements where statement like '%query_spec_p%'" }
    end

    it("are prepared once and used again", function()
        local db = closing(open { pool = { min = 0, max = 1 } })
        for i = 1, 10 do
            assert.equal(i, db:value("select /* query_spec_p */ $1::int", i))
        end
        local stats = db:stats()
        assert.equal(1, stats.statements_prepared)
        assert.equal(9, stats.statement_hits)
        assert.equal(0, stats.statement_evictions)
        assert.equal(2, prepared(db), "the statement, and the one that counts")
    end)

    it("are not prepared on the server with prepare = false", function()
        local db = closing(open { prepare = false, pool = { min = 0, max = 1 } })
        for i = 1, 10 do
            assert.equal(i, db:value("select /* query_spec_p */ $1::int", i))
        end
        assert.equal(0, prepared(db))
    end)

    it("are evicted, the least recently used first, past statement_cache_size", function()
        local db = closing(open { statement_cache_size = 3, pool = { min = 0, max = 1 } })
        local function run(i)
            assert.equal(i, db:value(("select /* query_spec_p */ %d"):format(i)))
        end
        run(1) run(2) run(3)
        run(1)
        run(4)
        local before = db:stats()
        run(1)
        assert.equal(before.statement_hits + 1, db:stats().statement_hits, "1 was used a moment ago")
        run(2)
        assert.equal(before.statements_prepared + 1, db:stats().statements_prepared, "2 had to go")
        for i = 10, 60 do run(i) end
        assert.is_true(prepared(db) <= 8, "evicted statements are deallocated on the server")
        assert.is_true(db:stats().statement_evictions > 50)
    end)

    it("work with a cache of one and of none", function()
        for size = 0, 1 do
            local db = closing(open { statement_cache_size = size, pool = { min = 0, max = 1 } })
            for i = 1, 20 do
                assert.equal(i, db:value(("select %d + $1::int"):format(i % 3), i - i % 3))
            end
            assert.is_true(prepared(db) <= 6)
        end
    end)

    it("whose result has changed by ALTER TABLE are prepared anew, unseen", function()
        local db = closing(open())
        assert(db:script "drop table if exists query_spec_stale; create table query_spec_stale (a int)")
        assert(db:exec "insert into query_spec_stale values (1)")
        local first, second = assert(db:acquire()), closing(assert(db:acquire()))
        for _, conn in ipairs { first, second } do
            assert.same({ a = 1 }, assert(conn:one "select * from query_spec_stale"))
        end
        first:release()
        assert(second:exec "alter table query_spec_stale add column b text default 'x'")
        assert.same({ a = 1, b = "x" }, assert(db:one "select * from query_spec_stale"))
        assert.same({ a = 1, b = "x" }, assert(second:one "select * from query_spec_stale"))
        assert(db:exec "drop table query_spec_stale")
        assert.equal(0, db:stats().errors.database or 0)
    end)

    it("that someone has deallocated are prepared anew, unseen", function()
        local db = closing(open { pool = { min = 0, max = 1 } })
        local conn = closing(assert(db:acquire()))
        for _, how in ipairs { "deallocate all", "discard all" } do
            assert.equal(3, conn:value("select $1::int", 3))
            assert.equal(4, conn:value("select $1::int + 1", 3))
            assert(conn:exec(how))
            assert.equal(3, conn:value("select $1::int", 3))
            assert.equal(4, conn:value("select $1::int + 1", 3))
            assert.equal(5, conn:value("select $1::int + 2", 3))
        end
    end)

    it("that someone has deallocated are prepared anew, also when others were to be let go of", function()
        local db = closing(open { statement_cache_size = 2, pool = { min = 0, max = 1 } })
        local conn = closing(assert(db:acquire()))
        for i = 1, 8 do
            assert.equal(i, conn:value(("select %d"):format(i)))
        end
        assert(conn:script "deallocate all")
        assert.equal(8, conn:value "select 8")
        assert.equal(7, conn:value "select 7")
        assert.equal(0, db:stats().errors.database or 0)
    end)

    it("fail in a transaction when their result has changed, and work in the next", function()
        local db = closing(open { pool = { min = 0, max = 1 } })
        assert(db:script "drop table if exists query_spec_stale; create table query_spec_stale (a int)")
        local function read(tx) return tx:query "select * from query_spec_stale" end
        assert(db:transaction(read))
        assert(db:exec "alter table query_spec_stale add column b text")
        local rows, err = db:transaction(read)
        assert.is_nil(rows)
        assert.equal("0A000", err.code)
        rows = assert(db:transaction(read))
        assert.equal("b", rows.columns[2].name)
        assert(db:exec "drop table query_spec_stale")
    end)

    it("keep their parameters apart from those of a statement with another type", function()
        local db = closing(open())
        assert.equal("1", db:value("select $1::text", 1))
        assert.equal(1, db:value("select $1::int", "1"))
    end)
end)

describe("a statement that may be repeated", function()
    it("is repeated within its call when the server rolled it back for a deadlock", function()
        local db = closing(open())
        -- 40001 raised twice, then no more: a sequence counts also for statements that are rolled back.
        assert(db:script [[
            drop sequence if exists query_spec_attempts; create sequence query_spec_attempts;
            create or replace function query_spec_flaky(good bigint, code text) returns int language plpgsql as $$
            declare attempt bigint := nextval('query_spec_attempts');
            begin
                if attempt < good then raise exception 'attempt %', attempt using errcode = code; end if;
                return attempt;
            end $$]])
        assert.equal(3, db:value("select query_spec_flaky($1, $2)", 3, "40001"))
        assert.equal(2, db:stats().retries)
        assert(db:exec "alter sequence query_spec_attempts restart")
        assert.equal(2, db:value("select query_spec_flaky($1, $2)", 2, "40P01"))
        assert(db:exec "alter sequence query_spec_attempts restart")
        local err = fails("database", db:query("select query_spec_flaky($1, $2)", 9, "40001"))
        assert.equal(3, err.attempts)
        assert.is_true(err.retryable)
        assert(db:exec "alter sequence query_spec_attempts restart")
        assert.equal(1, fails("database", db:query("select query_spec_flaky($1, $2)", 9, "23505")).attempts)
        assert(db:exec "alter sequence query_spec_attempts restart")
        local _, inner = db:transaction(function(tx) return tx:query("select query_spec_flaky($1, $2)", 2, "40001") end)
        assert.equal(1, inner.attempts, "within a transaction only the whole of it can be run again")
        assert(db:script "drop function query_spec_flaky; drop sequence query_spec_attempts")
    end)
end)
