--- The shapes of a result: rows, arrays, columns, lazy rows; its limits; and the descriptions that connections share.
local tidepool = require "tidepool"
local child = require "spec.support.child"
local portable = require "spec.support.portable"
local server = require "spec.support.server"
local expect = require "spec.support.expect"

local closing = portable.closing

local fails = expect.fails
local open = expect.opener { log = { queries = false }, pool = { min = 0, max = 2 } }

-- How rows come: from libpq with the first execution on a connection, from the socket with the next, as text without
-- prepared statements. `fn` is called for each.
local function each_way(fn)
    local db = closing(open { pool = { min = 0, max = 1 } })
    fn(db, "prepared")
    fn(db, "known")
    local plain = closing(open { prepare = false })
    fn(plain, "without preparing")
    assert(db:transaction(function(tx) fn(tx, "in a transaction") return true end))
end

local COMMAND = "create temporary table if not exists shapes_none (i int)"
local TABLE = [[select * from (values (1, 'one', 1.5), (2, null, 2.5), (3, 'three', null)) as v (id, name, grade)]]

describe("a result with text = true", function()
    local SQL = [[select 1 as i, true as b, 2.5::float8 as f, '{1,NULL}'::int[] as a, '{"z": 1, "a": 2}'::json as j,
        '\xff00'::bytea as d, null as n, row(1, 'x') as r]]
    local WRITTEN = { "1", "t", "2.5", "{1,NULL}", '{"z": 1, "a": 2}', "\\xff00", nil, "(1,x)" }

    it("has every value as the server writes it, in every shape", function()
        each_way(function(db, way)
            local row = assert(db:query { SQL, text = true, as = "arrays" })[1]
            for i = 1, 8 do
                assert.equal(WRITTEN[i], row[i], way)
            end
            assert.equal("t", db:query({ SQL, text = true })[1].b)
            assert.equal("2.5", db:query({ SQL, text = true, as = "columns" }).f[1])
            assert.equal("\\xff00", db:query({ SQL, text = true, as = "lazy" })[1].d)
            assert.equal("1", db:value { SQL, text = true })
            assert.equal(tidepool.null, db:one({ SQL, text = true, nulls = true }).n)
            assert.is_true(db:one(SQL).b)
        end)
    end)

    it("is no option of what many statements share", function()
        local db = closing(open())
        assert.has_error(function() db:query_many({ "select $1::int", text = true }, { { 1 } }) end)
        assert.has_error(function() db:pipeline(function(p) p:query { "select 1", text = true } end) end)
    end)
end)

describe("a result as arrays", function()
    it("has rows by position, and what all results have", function()
        each_way(function(db)
            local rows = assert(db:query { TABLE, as = "arrays" })
            assert.same({ 1, "one", "1.5" }, rows[1])
            assert.same({ 2, nil, "2.5" }, rows[2])
            assert.equal(3, #rows)
            assert.equal(3, rows.count)
            assert.equal("SELECT", rows.command)
            assert.equal("grade", rows.columns[3].name)
            assert.same({ 2, tidepool.null, "2.5" }, assert(db:query { TABLE, as = "arrays", nulls = true })[2])
        end)
    end)

    it("keeps two columns of one name", function()
        each_way(function(db)
            assert.same({ 1, 2 }, assert(db:query { "select 1 as a, 2 as a", as = "arrays" })[1])
        end)
    end)

    it("has empty rows where there are no columns", function()
        each_way(function(db)
            local rows = assert(db:query { "select from generate_series(1, 3)", as = "arrays" })
            assert.same({ {}, {}, {} }, { rows[1], rows[2], rows[3] })
            assert.equal(3, rows.count)
        end)
    end)

    it("of one is the row as an array", function()
        assert.same({ 7, "x" }, assert(open():one { "select 7, 'x'", as = "arrays" }))
    end)
end)

describe("a result as columns", function()
    it("has one list for each column, by name and by position", function()
        each_way(function(db, how)
            local result = assert(db:query { TABLE, as = "columns" })
            assert.same({ 1, 2, 3 }, result.id, how)
            assert.equal(result.id, result[1])
            assert.equal(result.name, result[2])
            assert.equal(result.grade, result[3])
            assert.is_nil(result[4])
            assert.same({ "one", nil, "three" }, result.name)
            assert.same({ "1.5", "2.5", nil }, result.grade)
            assert.equal(3, result.count)
            assert.equal("SELECT", result.command)
            assert.equal("numeric", result.columns[3].type)
        end)
    end)

    it("has NULL as tidepool.null, where the call says so, and numeric as a number", function()
        each_way(function(db)
            local result = assert(db:query { TABLE, as = "columns", nulls = true, numbers = true })
            assert.same({ "one", tidepool.null, "three" }, result.name)
            assert.same({ 1.5, 2.5, tidepool.null }, result.grade)
        end)
    end)

    it("has columns named count, command and columns by position", function()
        each_way(function(db)
            local result = assert(db:query {
                "select 1 as count, 2 as command, 3 as columns, 4 as other from generate_series(1, 2)",
                as = "columns" })
            assert.equal(2, result.count)
            assert.equal("SELECT", result.command)
            assert.equal("count", result.columns[1].name)
            assert.same({ { 1, 1 }, { 2, 2 }, { 3, 3 }, { 4, 4 } }, { result[1], result[2], result[3], result[4] })
            assert.same({ 4, 4 }, result.other)
        end)
    end)

    it("has the last of two columns of one name by name, and both by position", function()
        each_way(function(db)
            local result = assert(db:query { "select 1 as a, 2 as a", as = "columns" })
            assert.same({ 2 }, result.a)
            assert.same({ 1 }, result[1])
            assert.same({ 2 }, result[2])
        end)
    end)

    it("has empty lists where there are no rows", function()
        each_way(function(db)
            local result = assert(db:query { "select 1 as a, 'x' as b where false", as = "columns" })
            assert.same({}, result.a)
            assert.same({}, result.b)
            assert.equal(result.b, result[2])
            assert.equal(0, result.count)
        end)
    end)

    it("has no lists where there are no columns, and for a command", function()
        each_way(function(db)
            local result = assert(db:query { "select from generate_series(1, 3)", as = "columns" })
            assert.is_nil(result[1])
            assert.equal(3, result.count)
            result = assert(db:query { COMMAND, as = "columns" })
            assert.is_nil(result[1])
            assert.equal("CREATE TABLE", result.command)
        end)
    end)

    it("takes 100,000 rows and 300 columns", function()
        local db = closing(open())
        for _ = 1, 2 do
            local long = assert(db:query { "select i, 'text' as t from generate_series(1, 100000) i", as = "columns" })
            assert.equal(100000, #long.i)
            assert.equal(100000, long.i[100000])
            assert.equal("text", long.t[50000])
        end
        local names = {}
        for i = 1, 300 do names[i] = i .. " as c" .. i end
        local wide = assert(db:query { "select " .. table.concat(names, ", "), as = "columns" })
        assert.same({ 300 }, wide.c300)
        assert.same({ 300 }, wide[300])
    end)
end)

describe("a lazy result", function()
    it("has its length, its rows by position, and their cells by name and position", function()
        each_way(function(db, how)
            local result = assert(db:query { TABLE, as = "lazy" })
            assert.equal(3, #result, how)
            assert.equal(1, result[1].id)
            assert.equal("three", result[3].name)
            assert.equal("2.5", result[2].grade)
            assert.equal("2.5", result[2][3])
            assert.equal(3, #result[2])
            assert.equal(3, result.count)
            assert.equal("SELECT", result.command)
            assert.equal("name", result.columns[2].name)
        end)
    end)

    it("has nothing out of its range", function()
        each_way(function(db)
            local result = assert(db:query { TABLE, as = "lazy" })
            for _, i in ipairs { 0, -1, 4, portable.maxinteger, portable.mininteger } do
                assert.is_nil(result[i])
                assert.is_nil(result[1][i])
            end
            assert.is_nil(result.nothing)
            assert.is_nil(result[1.5])
            assert.is_nil(result[{}])
            assert.is_nil(result[1].nothing)
            assert.is_nil(result[1][1.5])
            assert.is_nil(result[1][true])
            assert.has_error(function() return result[nil].id end)
        end)
    end)

    it("has NULL as nil, or as tidepool.null, and numeric as a number", function()
        each_way(function(db)
            assert.is_nil(assert(db:query { TABLE, as = "lazy" })[2].name)
            local result = assert(db:query { TABLE, as = "lazy", nulls = true, numbers = true })
            assert.equal(tidepool.null, result[2].name)
            assert.equal(2.5, result[2].grade)
        end)
    end)

    it("goes with ipairs, and its rows with pairs and ipairs", function()
        each_way(function(db)
            local result = assert(db:query { TABLE, as = "lazy" })
            local ids = {}
            for i, row in portable.ipairs(result) do ids[i] = row.id end
            assert.same({ 1, 2, 3 }, ids)
            local cells = {}
            for name, value in portable.pairs(result[2]) do cells[name] = value end
            assert.same({ id = 2, grade = "2.5" }, cells)
            cells = {}
            for i, value in portable.ipairs(result[1]) do cells[i] = value end
            assert.same({ 1, "one", "1.5" }, cells)
            cells = {}
            result = assert(db:query { TABLE, as = "lazy", nulls = true })
            for name, value in portable.pairs(result[3]) do cells[name] = value end
            assert.same({ id = 3, name = "three", grade = tidepool.null }, cells)
        end)
    end)

    it("gives the values that rows have, of every kind", function()
        local sql = [[select i::int2 as a, i::int8 as b, i / 2.0::float4 as c, i > 1 as d, ('x' || i)::text as e,
            (i || '.50')::numeric as f, date '2024-01-01' + i as g, timestamptz '2024-01-01 00:00:00+00' as h,
            array[i, null, 3] as j, jsonb_build_object('i', i) as k, '\x0102'::bytea as l,
            gen_random_uuid() is null as m, nullif(i, 2) as n from generate_series(1, 3) i]]
        each_way(function(db, how)
            local rows, lazy = assert(db:query(sql)), assert(db:query { sql, as = "lazy" })
            for i, row in ipairs(rows) do
                local copy = {}
                for name, value in portable.pairs(lazy[i]) do copy[name] = value end
                assert.same(row, copy, how)
            end
        end)
    end)

    it("has the last of two columns of one name by name, and both by position", function()
        each_way(function(db)
            local row = assert(db:query { "select 1 as a, 2 as a", as = "lazy" })[1]
            assert.same({ 2, 1, 2 }, { row.a, row[1], row[2] })
        end)
    end)

    it("has columns named like its own fields in its rows", function()
        each_way(function(db)
            local result = assert(db:query { "select 5 as count, 'x' as command, 7 as columns", as = "lazy" })
            assert.same({ 5, "x", 7 }, { result[1].count, result[1].command, result[1].columns })
            assert.equal(1, result.count)
        end)
    end)

    it("may have no rows, or no columns", function()
        each_way(function(db)
            local result = assert(db:query { "select 1 as a where false", as = "lazy" })
            assert.equal(0, #result)
            assert.is_nil(result[1])
            assert.equal("a", result.columns[1].name)
            result = assert(db:query { "select from generate_series(1, 3)", as = "lazy" })
            assert.equal(3, #result)
            assert.equal(0, #result[3])
            assert.is_nil(result[3][1])
            assert.is_nil((next((function()
                local cells = {}
                for name, value in portable.pairs(result[2]) do cells[name] = value end
                return cells
            end)())))
            result = assert(db:query { COMMAND, as = "lazy" })
            assert.equal(0, #result)
            assert.equal("CREATE TABLE", result.command)
        end)
    end)

    it("outlives its connection and its database", function()
        local function make()
            local db = open()
            local result = assert(db:query { TABLE, as = "lazy" })
            assert.equal(1, result[1].id)
            db:close()
            return result
        end
        local result = make()
        collectgarbage()
        collectgarbage()
        assert.equal("three", result[3].name)
        assert.equal("text", result.columns[2].type)
    end)

    it("is kept alive by one of its rows", function()
        local function make()
            local db = closing(open())
            return assert(db:query { "select i, repeat(chr(64 + i), 1000) as t from generate_series(1, 20) i",
                as = "lazy" })[7]
        end
        local row = make()
        for _ = 1, 5 do
            collectgarbage()
            local _ = ("x"):rep(100000)
        end
        assert.equal(7, row.i)
        assert.equal(("G"):rep(1000), row.t)
    end)

    it("takes rows larger than its blocks, and 100,000 of them", function()
        each_way(function(db)
            local result = assert(db:query {
                "select i, repeat(chr(64 + i), 300000) as t from generate_series(1, 6) i", as = "lazy" })
            for i = 1, 6 do
                assert.equal(300000, #result[i].t)
                assert.equal(string.char(64 + i), result[i].t:sub(1, 1))
            end
            result = assert(db:query { "select i, 'text ' || i as t from generate_series(1, 100000) i", as = "lazy" })
            assert.equal(100000, #result)
            for i = 1, 100000, 997 do
                assert.equal("text " .. i, result[i].t)
            end
        end)
    end)

    it("raises the error of a cell that cannot be read, when it is read", function()
        local db = closing(open())
        assert(db:script "drop type if exists shapes_mood; create type shapes_mood as enum ('good', 'bad')")
        assert(db:define_type { name = "shapes_mood", decode = function(text)
            if text == "bad" then error "no such mood" end
            return text:upper()
        end })
        local result = assert(db:query { "select i, m from unnest('{good,bad}'::shapes_mood[]) with ordinality u(m, i)",
            as = "lazy" })
        assert.equal("GOOD", result[1].m)
        assert.equal(2, result[2].i)
        local ok, err = pcall(function() return result[2].m end)
        assert.is_false(ok)
        assert.equal("validation", err.kind)
        assert.truthy(err.message:find("no such mood", 1, true))
        assert.equal("GOOD", result[1].m)
        assert(db:exec "drop type shapes_mood")
    end)

    it("cannot be changed", function()
        local db = closing(open())
        local result = assert(db:query { TABLE, as = "lazy" })
        assert.has_error(function() result[1] = {} end)
        assert.has_error(function() result[1].id = 5 end)
    end)

    it("is not what one and value give", function()
        local db = closing(open())
        assert.equal(5, db:value { "select 5", as = "lazy" })
        local row = assert(db:one { "select 5 as a", as = "lazy" })
        assert.equal(5, row.a)
    end)

    it("holds no more memory than its bytes, more or less, and gives it back", function()
        local output, code = child.run([[
            local tidepool = require "tidepool"
            local db = assert(tidepool.open { url = arg[1], log = { queries = false } })
            local function kb()
                for line in io.lines "/proc/self/status" do
                    local n = line:match "^VmRSS:%s*(%d+)"
                    if n then return tonumber(n) end
                end
            end
            local sql = "select i, repeat('x', 1000) as t from generate_series(1, 5000) i"
            local most, base = 0
            for n = 1, 60 do
                local result = assert(db:query { sql, as = "lazy" })
                assert(result[5000].i == 5000)
                if n == 10 then base = kb() end
                if n > 10 then most = math.max(most, kb() - base) end
            end
            print(most)
        ]], {}, { server.url() })
        assert.equal(0, code, output)
        if (os.getenv "TIDEPOOL_TEST_VARIANT" or "default") == "default" then
            -- The collector of 5.1 follows large userdata slowly.
            local limit = portable.name == "lua5.1" and 150000 or 12000
            assert.is_true(tonumber(output) < limit, output .. "kB over 50 results of 5 MB")
        end
    end)
end)

describe("max_rows", function()
    local SQL = "select i from generate_series(1, $1::int) i"

    it("allows as many rows and not one more, in every shape", function()
        each_way(function(db, how)
            for _, as in ipairs { "rows", "arrays", "columns", "lazy" } do
                assert.equal(100, assert(db:query({ SQL, as = as, max_rows = 100 }, 100)).count, how .. " " .. as)
            end
        end)
        local db = closing(open { pool = { min = 0, max = 1 } })
        for _, as in ipairs { "rows", "arrays", "columns", "lazy" } do
            local err = fails("validation", db:query({ SQL, as = as, max_rows = 100 }, 101))
            assert.equal("the result has more rows than max_rows = 100 allows: 101 so far", err.message)
            assert.equal(7, db:value("select $1::int", 7))
        end
    end)

    it("ends a statement that would go on, and leaves a connection of one's own usable", function()
        local db = closing(open { pool = { min = 0, max = 1 } })
        local sql = "select generate_series(1, 1000000000) as i"
        for _ = 1, 3 do
            local began = server.now()
            fails("validation", db:query { sql, max_rows = 1000 })
            assert.equal(1, db:value "select 1")
            assert.is_true(server.now() - began < 3000)
        end
        local conn = closing(assert(db:acquire()))
        local pid = conn:backend_pid()
        for _ = 1, 3 do
            fails("validation", conn:query { sql, max_rows = 1000 })
            assert.equal(pid, conn:value "select pg_backend_pid()")
        end
    end)

    it("leaves a transaction open", function()
        local db = closing(open())
        assert(db:transaction(function(tx)
            assert(tx:exec "create temporary table shapes_kept (i int)")
            fails("validation", tx:query({ SQL, max_rows = 10 }, 50000))
            assert(tx:exec "insert into shapes_kept values (1)")
            assert.equal(1, tx:value "select count(*) from shapes_kept")
            return true
        end))
    end)

    it("in each comes after as many rows", function()
        for n = 1, 2 do
            local db = closing(open())
            local conn = n == 1 and db or assert(db:acquire())
            for _, way in ipairs { 100, 101, 50000 } do
                local rows = 0
                local ok, err = pcall(function()
                    for _ in conn:each({ SQL, max_rows = 100 }, way) do rows = rows + 1 end
                end)
                assert.equal(way == 100, ok, tostring(err))
                assert.equal(100, rows)
                if not ok then
                    assert.equal("the result has more rows than max_rows = 100 allows: 101 so far", err.message)
                end
                assert.equal(7, conn:value("select $1::int", 7))
            end
        end
    end)

    it("holds for one, value and exec too", function()
        local db = closing(open())
        assert.equal(1, db:value({ SQL, max_rows = 1 }, 1))
        fails("validation", db:value({ SQL, max_rows = 1 }, 2))
        fails("validation", db:one({ SQL, max_rows = 1 }, 2))
        fails("validation", db:exec({ SQL, max_rows = 1 }, 2))
    end)
end)

describe("max_result_bytes", function()
    -- A cell counts as its bytes and 4 more.
    local SQL = "select repeat('x', 96) as t from generate_series(1, $1::int)"

    it("allows as many bytes and not one more", function()
        each_way(function(db, how)
            assert.equal(10, #assert(db:query({ SQL, max_result_bytes = 1000 }, 10)), how)
        end)
        for n = 1, 2 do
            local db = closing(open())
            local conn = n == 1 and db or assert(db:acquire())
            for _ = 1, 2 do
                local err = fails("validation", conn:query({ SQL, max_result_bytes = 999 }, 10))
                assert.equal("the result is larger than max_result_bytes = 999 allows: 1000 bytes so far", err.message)
                assert.equal(10, #assert(conn:query({ SQL, max_result_bytes = 1000 }, 10)))
            end
        end
    end)

    it("in each comes after the rows that it allows", function()
        local db = closing(open())
        local rows = 0
        local ok, err = pcall(function()
            for _ in db:each({ SQL, max_result_bytes = 1000 }, 5000) do rows = rows + 1 end
        end)
        assert.is_false(ok)
        assert.equal("validation", err.kind)
        assert.equal(10, rows)
    end)

    it("is told from max_rows", function()
        local db = closing(open())
        local err = fails("validation", db:query({ SQL, max_rows = 5, max_result_bytes = 1000 }, 10))
        assert.truthy(err.message:find "max_rows")
        err = fails("validation", db:query({ SQL, max_rows = 50, max_result_bytes = 500 }, 60))
        assert.truthy(err.message:find "max_result_bytes")
    end)

    it("and max_rows must be positive integers", function()
        local db = closing(open())
        for _, name in ipairs { "max_rows", "max_result_bytes" } do
            for _, value in ipairs { 0, -1, 1.5, "10", true, {} } do
                assert.error_matches(function() db:query { "select 1", [name] = value } end,
                    "option '" .. name .. "' must be a positive integer")
            end
        end
        assert.error_matches(function() db:query { "select 1", as = "column" } end,
            'option \'as\' must be "rows", "arrays", "columns" or "lazy"')
    end)
end)

describe("a description", function()
    -- Two connections of one pool.
    local function with_two(fn)
        local db = closing(open())
        local first = closing(assert(db:acquire()))
        local second = closing(assert(db:acquire()))
        fn(db, first, second)
    end

    it("is shared: each connection prepares a statement once", function()
        with_two(function(db, first, second)
            for i = 1, 4 do
                for _, conn in ipairs { first, second } do
                    assert.same({ i = i, t = "x" }, assert(conn:one("select $1::int as i, $2::text as t", i, "x")))
                end
            end
            assert.equal(2, db:stats().statements_prepared)
            assert.equal(6, db:stats().statement_hits)
            for _, conn in ipairs { first, second } do
                assert.equal(1, conn:value [[select count(*) from pg_prepared_statements
                    where statement like '%as i, %as t']])
            end
        end)
    end)

    it("follows ALTER TABLE on all connections", function()
        server.psql "drop table if exists shapes_altered; create table shapes_altered as select 1 as a"
        with_two(function(_, first, second)
            local sql = "select * from shapes_altered"
            assert.same({ a = 1 }, assert(first:one(sql)))
            assert(first:exec "alter table shapes_altered add b text default 'x'")
            assert.same({ a = 1, b = "x" }, assert(second:one(sql)), "never prepared here")
            assert.same({ a = 1, b = "x" }, assert(first:one(sql)))
            assert(second:exec "alter table shapes_altered alter a type text")
            assert.same({ a = "1", b = "x" }, assert(first:one(sql)))
            assert.same({ a = "1", b = "x" }, assert(second:one(sql)))
            assert(second:exec "alter table shapes_altered drop b")
            assert.same({ { a = "1" } }, { assert(second:one(sql)) })
            assert.same({ a = "1" }, assert(first:query { sql, as = "lazy" })[1] and assert(first:one(sql)))
        end)
        server.psql "drop table shapes_altered"
    end)

    it("of the parameters follows ALTER TABLE too", function()
        server.psql "drop table if exists shapes_altered; create table shapes_altered (a int)"
        with_two(function(_, first, second)
            local sql = "insert into shapes_altered values ($1) returning a"
            assert.equal(1, first:value(sql, 1))
            assert(second:exec "alter table shapes_altered alter a type text")
            for _, conn in ipairs { first, second, first, second } do
                assert.equal("5", conn:value(sql, 5))
                assert.equal("text", conn:value(sql, "text"))
            end
        end)
        server.psql "drop table shapes_altered"
    end)

    it("of another table of the same name, by search_path, gives its values", function()
        server.psql "drop schema if exists shapes_a, shapes_b cascade"
        server.psql "create schema shapes_a; create schema shapes_b"
        server.psql "create table shapes_a.t as select 7 as v, 8 as w"
        server.psql "create table shapes_b.t as select 'text'::text as v, 1.5::float8 as w"
        with_two(function(_, first, second)
            assert(first:exec "set search_path = shapes_a")
            assert(second:exec "set search_path = shapes_b")
            for n = 1, 4 do
                assert.same({ v = 7, w = 8 }, assert(first:one "select * from t"), "round " .. n)
                assert.same({ v = "text", w = 1.5 }, assert(second:one "select * from t"), "round " .. n)
                for conn, value in pairs { [first] = 7, [second] = "text" } do
                    assert.equal(value, assert(conn:query { "select * from t", as = "arrays" })[1][1])
                    assert.equal(value, assert(conn:query { "select * from t", as = "columns" }).v[1])
                    assert.equal(value, assert(conn:query { "select * from t", as = "lazy" })[1].v)
                end
                for row in second:each "select * from t" do
                    assert.same({ v = "text", w = 1.5 }, row)
                end
                assert.same({ v = "text", w = 1.5 },
                    assert(second:pipeline(function(p) p:one "select * from t" end))[1])
            end
        end)
        server.psql "drop schema shapes_a, shapes_b cascade"
    end)

    it("with parameters of another type, by search_path, takes its values", function()
        server.psql "drop schema if exists shapes_a, shapes_b cascade"
        server.psql "create schema shapes_a; create schema shapes_b"
        server.psql "create table shapes_a.t as select 7 as v"
        server.psql "create table shapes_b.t as select 'text'::text as v"
        with_two(function(_, first, second)
            assert(first:exec "set search_path = shapes_a")
            assert(second:exec "set search_path = shapes_b")
            for n = 1, 3 do
                assert.equal(7, first:value("select v from t where v = $1", 7), "round " .. n)
                local value, err = second:value("select v from t where v = $1", "text")
                assert.equal("text", value, "round " .. n .. ": " .. tostring(err))
            end
        end)
        server.psql "drop schema shapes_a, shapes_b cascade"
    end)

    it("changed by search_path on one connection gives the values of the new table", function()
        server.psql "drop schema if exists shapes_a, shapes_b cascade"
        server.psql "create schema shapes_a; create schema shapes_b"
        server.psql "create table shapes_a.t as select 7 as v"
        server.psql "create table shapes_b.t as select 'text'::text as v"
        with_two(function(_, first)
            for n = 1, 3 do
                assert(first:exec "set search_path = shapes_a")
                assert.equal(7, first:value "select v from t", "round " .. n)
                assert(first:exec "set search_path = shapes_b")
                assert.equal("text", first:value "select v from t", "round " .. n)
            end
        end)
        server.psql "drop schema shapes_a, shapes_b cascade"
    end)
end)
