--- each: rows one after the other. What they are, how the loop may end, and what becomes of the connection.
local tidepool = require "tidepool"
local child = require "spec.support.child"
local portable = require "spec.support.portable"
local server = require "spec.support.server"
local tls = require "spec.support.tls"
local expect = require "spec.support.expect"

local closing = portable.closing

-- Sanitizers keep freed memory back and take their time.
local plain = (os.getenv "TIDEPOOL_TEST_VARIANT" or "default") == "default"

local check = portable.assert -- for very many rows: busted's own takes longer than they do

-- Rows are made as they are sent, so a statement that is left stops soon.
local ENDLESS = "select generate_series(1, 1000000000) as i"

local open = expect.opener { log = { queries = false }, pool = { min = 0, max = 2 } }

local function list(target, ...)
    local rows = {}
    for row in target:each(...) do
        rows[#rows + 1] = row
    end
    return rows
end

-- Runs a loop that is to fail. Returns the error table and the rows that came before it.
local function fails(kind, target, ...)
    local rows, arguments = {}, portable.pack(...)
    local ok, err = pcall(function()
        for row in target:each(portable.unpack(arguments, 1, arguments.n)) do
            rows[#rows + 1] = row
        end
    end)
    assert.is_false(ok, "the loop did not fail")
    assert.is_table(err, tostring(err))
    assert.equal(kind, err.kind, tostring(err))
    return err, rows
end

-- Leaves the loop at the row `i`; until then it calls `body`, if there is one. Where Lua does not close what the loop
-- leaves behind, it is closed by hand.
local function leave(target, sql, i, body)
    local iterator, state, first, stream = target:each(sql)
    for row in iterator, state, first, stream do
        if body then body() end
        if row.i == i then
            break
        end
    end
    if not portable.closes_loops then
        stream:close()
    end
end

-- Waits until no connection is out or being mended.
local function assert_settles(db)
    assert.is_true(server.wait(function()
        local stats = db:stats()
        return stats.active_connections == 0 and stats.mending == 0
    end, 3000), "a connection stays busy")
end

describe("each", function()
    local db

    before_each(function() db = open() end)
    after_each(function() db:close() end)

    it("gives all rows in order, by the names of their columns", function()
        local n = 0
        for row in db:each "select i, 'text ' || i as t from generate_series(1, 20000) i" do
            n = n + 1
            check(row.i == n and row.t == "text " .. n)
        end
        assert.equal(20000, n)
        assert_settles(db)
        assert.equal(1, db:stats().created)
    end)

    it("gives the values that query gives", function()
        local sql = [[select i, i * 1.5 as numeric, i / 4.0::float8 as f, i % 2 = 0 as b, now() as at,
            '{"a": [1, null]}'::jsonb as j, array[i, null] as a, '\x00ff'::bytea as raw, date '2024-02-29' as d,
            interval '1 day' as span, nullif(i, 2) as n, row(i, 'x') as composite from generate_series(1, 3) i]]
        assert(db:transaction(function(tx) -- now() stays the same
            local streamed, whole = list(tx, sql), assert(tx:query(sql))
            assert.equal(3, #streamed)
            for i, row in ipairs(streamed) do
                assert.same(whole[i], row)
            end
            return true
        end))
    end)

    it("gives no rows where there are none, and for a command", function()
        assert.same({}, list(db, "select 1 where false"))
        assert.same({}, list(db, "create temporary table each_none (i int)"))
        assert.same({}, list(db, "set application_name = 'each_spec'"))
        assert.equal(1, #list(db, "select"))
        assert_settles(db)
    end)

    it("gives what RETURNING gives", function()
        local conn = closing(assert(db:acquire()))
        assert(conn:exec "create temporary table each_returning (i int)")
        assert.same({ { i = 1 }, { i = 2 } }, list(conn, "insert into each_returning values (1), (2) returning i"))
        assert.equal(2, conn:value "select count(*) from each_returning")
    end)

    it("gives rows as arrays, NULL as tidepool.null and numeric as a number, where the call says so", function()
        assert.same({ { 1, "a" }, { 2, "b" } },
            list(db, { "select * from (values (1, 'a'), (2, 'b')) v", as = "arrays" }))
        assert.same({ { 1.5, tidepool.null } },
            list(db, { "select 1.5, null", as = "arrays", numbers = true, nulls = true }))
    end)

    it("takes parameters, nil in the middle too", function()
        assert.same({ { a = 3, c = "z" } }, list(db, "select $1::int a, $2::text b, $3::text c", 3, nil, "z"))
        for i = 1, 3 do
            assert.equal(i, #list(db, "select generate_series(1, $1::int)", i))
        end
    end)

    it("takes rows larger than any buffer", function()
        local n = 0
        for row in db:each "select i, repeat(chr(64 + i), 700000) as t from generate_series(1, 8) i" do
            n = n + 1
            assert.equal(700000, #row.t)
            assert.equal(string.char(64 + n), row.t:sub(-1))
        end
        assert.equal(8, n)
    end)

    it("gives 1,000 columns", function()
        local names = {}
        for i = 1, 1000 do names[i] = i .. " as c" .. i end
        local rows = list(db, "select " .. table.concat(names, ", ") .. " from generate_series(1, 50)")
        assert.equal(50, #rows)
        assert.equal(1000, rows[50].c1000)
    end)

    it("prepares its statement once", function()
        for _ = 1, 5 do list(db, "select 1 as a") end
        assert.equal(1, db:stats().statements_prepared)
        assert.equal(4, db:stats().statement_hits)
        assert.equal(5, db:stats().queries)
    end)

    it("tells the event of the query when it ends, an early end too", function()
        local told = {}
        db:on("query_end", function(event) told[#told + 1] = event end)
        list(db, "select $1::int", 1)
        leave(db, ENDLESS, 3)
        fails("database", db, "selekt")
        assert.same({ "select $1::int", ENDLESS, "selekt" }, { told[1].sql, told[2].sql, told[3].sql })
        assert.equal(1, told[1].parameters)
        assert.is_nil(told[2].error)
        assert.equal("42601", told[3].error.code)
    end)

    it("raises an error for a misused call", function()
        assert.error_matches(function() db:each() end, "SQL text expected")
        assert.error_matches(function() db:each { "select 1", as = "lazy" } end, "'as' of each")
        assert.error_matches(function() db:each { "select 1", as = "columns" } end, "'as' of each")
        assert.error_matches(function() db:each { "select 1", rows = 1 } end, "unknown option 'rows'")
        assert_settles(db)
    end)

    it("goes on past notices", function()
        local notices = 0
        db:on("notice", function() notices = notices + 1 end)
        assert(db:script [[create or replace function each_notice(i int) returns int language plpgsql as
            $$ begin raise notice 'row %', i; return i; end $$]])
        for n = 1, 2 do -- prepared, then known
            assert.equal(50, #list(db, "select each_notice(i) from generate_series(1, 50) i"), n)
        end
        assert(db:value "select 1")
        assert.equal(100, notices)
        assert(db:exec "drop function each_notice")
    end)
end)

describe("the rows of each", function()
    it("tell their columns before the first is read, and what the statement has done after the last", function()
        local db = closing(open())
        for _ = 1, 3 do
            local next_row, _, _, rows = db:each "select i, 'x' as t from generate_series(1, 3000) as i"
            assert.same({ "i", "int4", "t", "text" }, { rows:columns()[1].name, rows:columns()[1].type,
                rows:columns()[2].name, rows:columns()[2].type })
            assert.is_nil(rows:result())
            local count = 0
            while next_row() do count = count + 1 end
            assert.same({ command = "SELECT", count = count }, rows:result())
        end
    end)

    it("tell their columns when there are none, and of a statement that returns none", function()
        local db = closing(open())
        local next_row, _, _, rows = db:each "select 1 as one where false"
        assert.equal("one", rows:columns()[1].name)
        assert.is_nil(next_row())
        assert.same({ command = "SELECT", count = 0 }, rows:result())
        next_row, _, _, rows = db:each "create temporary table each_none (i int)"
        assert.same({}, rows:columns())
        assert.is_nil(next_row())
        assert.equal("CREATE TABLE", rows:result().command)
    end)
end)

describe("a stream that is closed by hand", function()
    it("gives no row more, not even of those that have come already", function()
        local db = open()
        for _, sql in ipairs { "select generate_series(1, 10) i", "select generate_series(1, 100000) i" } do
            local next_row, _, _, stream = db:each(sql)
            assert.same({ i = 1 }, next_row())
            stream:close()
            assert.is_nil((next_row()))
            stream:close()
        end
        assert.equal(1, db:value "select 1")
        db:close()
    end)
end)

describe("a loop over each that is left early", function()
    it("gives the connection back to the pool, or has it replaced", function()
        local db = closing(open { pool = { min = 0, max = 1 } })
        for i = 1, 20 do
            leave(db, ENDLESS, i * 50)
            assert.equal(i, db:value("select $1::int", i))
        end
        assert_settles(db)
        assert.is_true(server.wait(function()
            return server.psql [[select count(*) from pg_stat_activity
                where query like '%1000000000%' and state = 'active']] == "1" -- the one that asks
        end, 2000), "a statement still runs on the server")
    end)

    it("gives it back when all rows had come already", function()
        local db = closing(open { pool = { min = 0, max = 1 } })
        local pid = db:value "select pg_backend_pid()"
        leave(db, "select generate_series(1, 5) as i", 2)
        assert.equal(pid, db:value "select pg_backend_pid()")
    end)

    it("leaves a connection of one's own with the same backend", function()
        local db = closing(open())
        local conn = closing(assert(db:acquire()))
        local pid = conn:backend_pid()
        for i = 1, 10 do
            leave(conn, ENDLESS, i * 30)
            assert.equal("idle", conn:transaction_state())
            assert.equal(pid, conn:value "select pg_backend_pid()")
        end
    end)

    it("leaves a transaction open", function()
        local db = closing(open())
        assert(db:transaction(function(tx)
            assert(tx:exec "create temporary table each_kept (i int)")
            local pid = tx:value "select pg_backend_pid()"
            leave(tx, "select i from generate_series(1, 200000) i", 3)
            assert.equal(pid, tx:value "select pg_backend_pid()")
            assert(tx:exec "insert into each_kept values (1)")
            assert.equal(1, tx:value "select count(*) from each_kept")
            return true
        end))
        assert.equal(0, db:stats().rollbacks)
        assert.equal(0, db:stats().closed.in_doubt)
    end)

    it("has its effects undone outside a transaction", function()
        local db = closing(open { pool = { min = 0, max = 1 } })
        assert(db:exec "create table each_undone (i int, t text)")
        leave(db, [[insert into each_undone select i, repeat('x', 1000) from generate_series(1, 20000) i
            returning i, t]], 2)
        local count = db:value "select count(*) from each_undone"
        assert.is_true(count == 0 or count == 20000, count)
        assert(db:exec "drop table each_undone")
    end)
end)

describe("two loops over each at once", function()
    it("have a connection each on a pool", function()
        local db = closing(open())
        local next_a, _, _, stream_a = db:each "select i from generate_series(1, 5000) i"
        local next_b, _, _, stream_b = db:each "select -i as i from generate_series(1, 5000) i"
        for i = 1, 5000 do
            check(next_a().i == i and next_b().i == -i)
        end
        assert.is_nil(next_a())
        assert.is_nil(next_b())
        assert.equal(2, db:stats().created)
        assert.truthy(stream_a ~= stream_b)
    end)

    it("on one connection are a busy error, and the first goes on", function()
        local db = closing(open())
        local conn = closing(assert(db:acquire()))
        local n = 0
        for row in conn:each "select i from generate_series(1, 3000) i" do
            n = n + 1
            assert.equal(n, row.i)
            if n == 1500 then
                fails("busy", conn, "select 1")
                assert.equal("busy", select(2, conn:query "select 1").kind)
            end
        end
        assert.equal(3000, n)
        assert.equal(1, conn:value "select 1")
    end)

    it("on a pool of one are a busy error too", function()
        local db = closing(open { pool = { min = 0, max = 1 } })
        leave(db, ENDLESS, 3, function() fails("busy", db, "select 1") end)
        assert.equal(1, db:value "select 1")
    end)
end)

describe("an error in each", function()
    it("is raised as the error table after the rows before it", function()
        local db = closing(open())
        local sql = "select i, 10 / (7000 - i) as q from generate_series(1, 10000) i"
        for _ = 1, 2 do -- prepared, then known
            local err, rows = fails("database", db, sql)
            assert.equal("division_by_zero", err.name)
            assert.equal(sql, err.query)
            assert.equal(6999, #rows)
            assert.equal(6999, rows[6999].i)
        end
        assert.equal(1, db:stats().created)
        assert.equal(2, db:stats().query_failures)
    end)

    it("leaves a connection of one's own usable, and fails its transaction", function()
        local db = closing(open())
        local conn = closing(assert(db:acquire()))
        local sql = "select 10 / (3 - i) as q from generate_series(1, 10) i"
        assert.equal(2, #select(2, fails("database", conn, sql)))
        assert.equal(1, conn:value "select 1")
        assert(conn:exec "begin")
        fails("database", conn, sql)
        assert.equal("failed", conn:transaction_state())
        assert(conn:exec "rollback")
    end)

    it("at the beginning is raised by the call itself", function()
        local db = closing(open())
        assert.equal("42601", fails("database", db, "selekt").code)
        assert.equal("42P01", fails("database", db, "select * from each_nowhere").code)
        assert.equal("22012", fails("database", db, "select 1 / $1::int", 0).code)
        assert.truthy(fails("validation", db, "select $1::int", {}).message:find("parameter $1", 1, true))
        assert.equal("the statement has 1 parameter, 2 were given",
            fails("validation", db, "select $1::int", 1, 2).message)
        assert.truthy(fails("validation", db, "select 1\0").message:find "NUL")
        fails("validation", db, "copy (select 1) to stdout")
        assert.equal("the SQL text is empty", fails("validation", db, "").message)
        assert.equal(1, db:value "select 1")
    end)

    it("of a released connection, an ended transaction and a closed pool is raised", function()
        local db = closing(open())
        local conn = assert(db:acquire())
        conn:release()
        fails("validation", conn, "select 1")
        local kept
        assert(db:transaction(function(tx) kept = tx return true end))
        fails("validation", kept, "select 1")
        db:close()
        fails("pool_closed", db, "select 1")
    end)

    it("of a value that a codec of the program refuses comes after the rows before it", function()
        local db = closing(open())
        assert(db:script "drop type if exists each_mood; create type each_mood as enum ('a', 'b', 'c')")
        assert(db:define_type { name = "each_mood", decode = function(text)
            if text == "c" then error "no such mood" end
            return text
        end })
        local sql = "select m from unnest('{a,b,c,a}'::each_mood[]) m"
        local err, rows = fails("validation", db, sql)
        assert.truthy(err.message:find("no such mood", 1, true), err.message)
        assert.same({ { m = "a" }, { m = "b" } }, rows)
        assert_settles(db)
        assert(db:exec "drop type each_mood")
    end)
end)

describe("a loop over each that is lost", function()
    it("with its coroutine gives its connection up, and another is made", function()
        local db = closing(open { pool = { min = 0, max = 1 } })
        for i = 1, 10 do
            do
                local co = coroutine.wrap(function()
                    for row in db:each(ENDLESS) do coroutine.yield(row.i) end
                end)
                assert.equal(1, co())
                assert.equal(2, co())
            end
            assert.equal(i, db:value("select $1::int", i), "what the program has lost is found")
        end
        assert_settles(db)
    end)

    it("without a loop gives its connection up", function()
        local db = closing(open())
        for _ = 1, 5 do
            local iterator = db:each(ENDLESS)
            assert.equal(1, iterator().i)
        end
        collectgarbage()
        collectgarbage()
        assert_settles(db)
        assert.equal(1, db:value "select 1")
    end)

    it("says that its connection was released meanwhile", function()
        local db = closing(open())
        local conn = assert(db:acquire())
        local ok, err = pcall(function()
            for row in conn:each(ENDLESS) do
                if row.i == 1 then conn:release() end
            end
        end)
        assert.is_false(ok)
        assert.equal("the connection was released meanwhile", err.message)
        assert.equal(1, db:value "select 1")
    end)

    it("with its database ends without harm", function()
        local output, code = child.run([[
            local tidepool = require "tidepool"
            local function start()
                local db = assert(tidepool.open { url = arg[1], log = { queries = false } })
                local iterator = db:each "select generate_series(1, 1000000000) as i"
                return iterator, iterator().i
            end
            local iterator, i = start()
            collectgarbage()
            for n = 2, 30000 do i = iterator().i end
            print(i)
            start()
        ]], {}, { server.url() })
        assert.equal(0, code, output)
        assert.equal("30000\n", output)
    end)

    it("to a pool that is closed goes on or ends with an error", function()
        local db = open()
        local rows = 0
        local ok, err = pcall(function()
            for _ in db:each(ENDLESS) do
                rows = rows + 1
                if rows == 5 then db:close() end
                if rows == 50000 then break end
            end
        end)
        assert.is_true(ok or type(err) == "table", tostring(err))
    end)
end)

describe("the timeout of each", function()
    -- 100 kB for each row: more than the buffers between here and the server hold.
    local LARGE = "select i, repeat('x', 100000) as t from generate_series(1, 100) i"

    it("is no limit to a slow consumer", function()
        local db = closing(open())
        for _ = 1, 2 do
            local n = 0
            for row in db:each { LARGE, timeout_ms = 150 } do
                n = n + 1
                if row.i % 33 == 1 then server.sleep(200) end
            end
            assert.equal(100, n)
        end
    end)

    it("is the longest wait for more rows", function()
        local db = closing(open { pool = { min = 0, max = 1 } })
        -- 10 rows of 60 ms each, sent one by one since each fills the server's buffer.
        local slow = "select i, pg_sleep(0.06), repeat('x', 20000) as t from generate_series(1, 10) i"
        assert.equal(10, #list(db, { slow, timeout_ms = 400 }))
        assert.equal(10, #list(db, { slow, timeout_ms = 400 }))
    end)

    it("ends the wait for a server that stalls", function()
        local db = closing(open { pool = { min = 0, max = 1 } })
        local stalls = [[select i, repeat('x', 20000) as t, case when i = 5 then pg_sleep(20) end
            from generate_series(1, 10) i]]
        for _ = 1, 2 do
            local began = server.now()
            local err, rows = fails("timeout", db, { stalls, timeout_ms = 150 })
            local took = server.now() - began
            assert.is_true(took >= 145 and took < 1000, took)
            assert.is_true(#rows >= 3 and #rows <= 4, #rows)
            assert.equal(stalls, err.query)
            assert.equal(1, db:value "select 1")
        end
        assert_settles(db)
    end)

    it("is query_timeout_ms when the call says nothing", function()
        local db = closing(open { query_timeout_ms = 80, pool = { min = 0, max = 1 } })
        fails("timeout", db, "select pg_sleep(20)")
        assert_settles(db)
        assert.equal(1, db:value "select 1")
    end)

    it("leaves a connection of one's own busy until it is released", function()
        local db = closing(open { pool = { min = 0, max = 1 } })
        local conn = assert(db:acquire())
        fails("timeout", conn, { "select pg_sleep(20)", timeout_ms = 50 })
        fails("busy", conn, "select 1")
        conn:release()
        assert.equal(1, db:value "select 1")
    end)
end)

describe("a connection that dies while each reads", function()
    it("is a connection error, and the pool recovers", function()
        local db = closing(open { pool = { min = 0, max = 1 } })
        local killer = closing(open())
        for _ = 1, 2 do
            local rows = 0
            local ok, err = pcall(function()
                for row in db:each "select generate_series(1, 1000000000) as i, pg_backend_pid() as pid" do
                    rows = rows + 1
                    if rows == 100 then
                        assert(killer:value("select pg_terminate_backend($1, 5000)", row.pid))
                    end
                end
            end)
            assert.is_false(ok)
            assert.equal("connection", err.kind, tostring(err))
            assert.is_true(rows >= 100)
            assert.equal(1, db:value "select 1")
        end
        assert_settles(db)
        assert.equal(2, db:stats().errors.connection)
    end)

    it("is a connection error on a connection of one's own, which is discarded", function()
        local db = closing(open())
        local killer = closing(open())
        local conn = closing(assert(db:acquire()))
        local pid = conn:backend_pid()
        local ok, err = pcall(function()
            for row in conn:each(ENDLESS) do
                if row.i == 10 then assert(killer:value("select pg_terminate_backend($1, 5000)", pid)) end
            end
        end)
        assert.is_false(ok)
        assert.equal("connection", err.kind, tostring(err))
        assert.equal("unknown", conn:transaction_state())
        fails("connection", conn, "select 1")
        conn:release()
        assert.equal(1, db:value "select 1")
    end)
end)

describe("each over TLS", function()
    local offered, reason

    setup(function() offered, reason = tls.enable() end)
    teardown(function() if offered then tls.disable() end end)

    local function over_tls(name, fn)
        it(name, function()
            if not offered then
                pending(reason)
                return
            end
            local db = closing(open { url = tls.url(), pool = { min = 0, max = 1 } })
            assert.is_true((db:value "select ssl from pg_stat_ssl where pid = pg_backend_pid()"))
            fn(db)
        end)
    end

    over_tls("gives all rows in order", function(db)
        for _ = 1, 2 do
            local n = 0
            for row in db:each "select i, 'text ' || i as t from generate_series(1, 20000) i" do
                n = n + 1
                check(row.i == n and row.t == "text " .. n)
            end
            assert.equal(20000, n)
        end
    end)

    over_tls("may be left early", function(db)
        for i = 1, 5 do
            leave(db, ENDLESS, i * 50)
            assert.equal(i, db:value("select $1::int", i))
        end
        local conn = closing(assert(db:acquire()))
        local pid = conn:backend_pid()
        leave(conn, ENDLESS, 30)
        assert.equal(pid, conn:value "select pg_backend_pid()")
    end)

    over_tls("raises an error after the rows before it", function(db)
        local err, rows = fails("database", db, "select i, 10 / (700 - i) as q from generate_series(1, 1000) i")
        assert.equal("division_by_zero", err.name)
        assert.equal(699, #rows)
    end)

    over_tls("ends the wait for a server that stalls", function(db)
        fails("timeout", db, { "select pg_sleep(20)", timeout_ms = 80 })
        assert.equal(1, db:value "select 1")
    end)
end)

describe("the memory of a process", function()
    local PROGRAM = [[
        local tidepool = require "tidepool"
        local db = assert(tidepool.open { url = arg[1], log = { queries = false } })
        local function resident()
            for line in io.lines "/proc/self/status" do
                local kb = line:match "^VmRSS:%s*(%d+)"
                if kb then return tonumber(kb) end
            end
        end
        local rows, most, base = tonumber(arg[2]), 0, nil
        local n = 0
        for row in db:each("select generate_series(1, $1::int) as i, 'text of the row' as t, now() as at", rows) do
            n = n + 1
            assert(row.i == n)
            if n == rows / 10 then base = resident() end
            if n > rows / 10 and n % (rows / 20) == 0 then most = math.max(most, resident() - base) end
        end
        assert(n == rows)
        print(("growth %d of %d"):format(most, base))
    ]]

    it("is flat over 1,000,000 rows", function()
        local output, code = child.run(PROGRAM, {}, { server.url(), plain and 1000000 or 20000 })
        assert.equal(0, code, output)
        local growth, base = output:match "growth (%-?%d+) of (%d+)"
        if plain then
            print(("each over 1,000,000 rows: %s kB more than after 100,000 rows (%s kB)"):format(growth, base))
            assert.is_true(tonumber(growth) < 4096, output)
        end
    end)
end)

portable.only_5_4("the examples are written for it", function()
    describe("examples/streaming.lua", function()
        it("runs and prints what it says", function()
            local output, code = server.sh(("DATABASE_URL=%s %s examples/streaming.lua")
                :format("'" .. server.url() .. "'", os.getenv "LUA" or "lua5.4"))
            assert.equal(0, code, output)
            assert.equal([[
14285 of 100000 are divisible by 7; together they are 714264285
the first whose square is over 1000 is 32
false after 3 rows: division_by_zero
the highest tide: 1.000
false: timeout
nil: the result has more rows than max_rows = 1000 allows: 1001 so far
1 2 3 4	1.0	4
1000	xxxxx	5
]], output)
        end)
    end)
end)
