--- COPY in and out: formats, sources and sinks, mistakes at every place, early ends, memory, concurrent use.
local tidepool = require "tidepool"
local portable = require "spec.support.portable"
local server = require "spec.support.server"
local expect = require "spec.support.expect"

local null = tidepool.null

local fails = expect.fails
local open = expect.opener { log = { queries = false, slow_ms = 0 }, pool = { min = 0, max = 2 } }

-- All rows that copy_out gives, as lists.
local function rows_of(db, source, options)
    local rows = {}
    local answer = assert(db:copy_out(source, function(row) rows[#rows + 1] = row end, options))
    assert.equal(#rows, answer.count)
    return rows
end

local function text_of(db, source, options)
    local chunks = {}
    options = options or {}
    options.raw = true
    assert(db:copy_out(source, function(chunk) chunks[#chunks + 1] = chunk end, options))
    return table.concat(chunks)
end

-- An iterator over the numbers up to `last` (or without end) as rows.
local function numbers(last)
    local i = 0
    return function()
        i = i + 1
        if not last or i <= last then
            return { i, "name " .. i }
        end
    end, function() return i end
end

-- A connection still works and is the same that it was.
local function is_unharmed(conn, pid)
    assert.equal(pid, assert(conn:value "select pg_backend_pid()"))
end

describe("copy", function()
    local db

    setup(function()
        db = open()
        assert(db:script [[
            create schema copy_spec;
            create table copy_spec.plain (id int, name text);
            create table copy_spec.strict (id int primary key, age int2 not null);
            create table copy_spec."Odd Names" (
                "Id" int, "a ""b""" text, dropped int, twice int generated always as ("Id" * 2) stored);
            alter table copy_spec."Odd Names" drop column dropped;
            create type copy_spec.mood as enum ('sad', 'it''s "ok"');
            create domain copy_spec.grade as int check (value < 10);
            create type copy_spec.pair as (a int, b text);
            create type copy_spec.secret as enum ('one', 'two');
            create table copy_spec.types (
                n int, b bool, i2 int2, i4 int4, i8 int8, o oid, f4 float4, f8 float8, num numeric, t text,
                vc varchar(10), c char(3), ch "char", na name, by bytea, u uuid, j json, jb jsonb, d date, ti time,
                tz timetz, ts timestamp, tt timestamptz, iv interval, ip inet, ci cidr, ma macaddr,
                bi bit(3), vb varbit, mo money, p point,
                a4 int[], at text[], m copy_spec.mood, g copy_spec.grade, pa copy_spec.pair, r int4range,
                pas copy_spec.pair[], x xml);
        ]])
    end)

    teardown(function()
        assert(db:exec "drop schema copy_spec cascade")
        db:close()
    end)

    before_each(function()
        assert(db:exec "truncate copy_spec.plain, copy_spec.strict, copy_spec.types")
    end)

    describe("of rows", function()
        it("stores a list of lists and says how many", function()
            local answer = assert(db:copy_in("copy_spec.plain(id, name)", { { 1, "one" }, { 2, null }, { 3, "" } }))
            assert.same({ count = 3, command = "COPY" }, answer)
            assert.same({ { 1, "one" }, { 2 }, { 3, "" } }, rows_of(db, "copy_spec.plain"))
        end)

        it("stores what an iterator returns, also when that is one table again and again", function()
            local row, i = {}, 0
            local answer = assert(db:copy_in("copy_spec.plain", function()
                i = i + 1
                row[1], row[2] = i, "name " .. i
                return i <= 5000 and row or nil
            end))
            assert.equal(5000, answer.count)
            assert.equal("name 4711", db:value "select name from copy_spec.plain where id = 4711")
        end)

        it("takes rows by column name, where what is not there is NULL", function()
            assert(db:copy_in("copy_spec.plain(name, id)", { { id = 1, name = "one" }, { name = "two" }, { id = 3 } }))
            assert.same({ { id = 1, name = "one" }, { name = "two" }, { id = 3 } },
                rows_of(db, "copy_spec.plain", { as = "rows" }))
        end)

        it("takes nil in a list for NULL when its length is beyond doubt", function()
            assert(db:copy_in("copy_spec.plain", { { nil, "x" }, { n = 2 }, { 3, n = 2 }, portable.pack(nil, nil) }))
            assert.same({ { nil, "x" }, {}, { 3 }, {} }, rows_of(db, "copy_spec.plain"))
        end)

        it("takes a row by name with a column called n", function()
            assert(db:copy_in("copy_spec.types(n, t)", { { n = 2 }, { n = 3, t = "x" } }))
            assert.same({ { 2 }, { 3, "x" } }, rows_of(db, "copy_spec.types(n, t)"))
        end)

        it("calls the source with nothing and the sink with a row", function()
            assert(db:copy_in("copy_spec.plain", function(...)
                assert.equal(0, select("#", ...))
            end))
            local count
            assert(db:copy_out("(select 1)", function(...) count = select("#", ...) end))
            assert.equal(1, count)
        end)

        it("stores the rows that a list has in the beginning", function()
            local list = {}
            for i = 1, 20000 do
                list[i] = { i, "x" }
            end
            local function progress()
                list[#list + 1] = { 0, "late" }
            end
            assert.equal(20000, assert(db:copy_in("copy_spec.plain", list, { progress = progress })).count)
            assert.is_true(#list > 20000)
        end)

        it("stores nothing of an empty source", function()
            for _, format in ipairs { "text", "binary" } do
                assert.equal(0, assert(db:copy_in("copy_spec.plain", {}, { format = format })).count)
                assert.equal(0, assert(db:copy_in("copy_spec.plain", function() end, { format = format })).count)
                assert.same({}, rows_of(db, "copy_spec.plain", { format = format }))
            end
        end)

        it("knows a whole table without its generated and dropped columns", function()
            for _, format in ipairs { "text", "binary" } do
                assert(db:exec 'truncate copy_spec."Odd Names"')
                local rows = { { 1, "x" }, { Id = 2, ['a "b"'] = "y" } }
                assert(db:copy_in('copy_spec."Odd Names"', rows, { format = format }))
                assert.same({ { Id = 1, ['a "b"'] = "x" }, { Id = 2, ['a "b"'] = "y" } },
                    rows_of(db, 'copy_spec."Odd Names"', { format = format, as = "rows" }))
                assert.same({ { "x" }, { "y" } },
                    rows_of(db, 'copy_spec."Odd Names" ("a ""b""")', { format = format }))
            end
        end)

        it("reads queries, also those that write", function()
            for _, format in ipairs { "text", "binary" } do
                assert.same({ { 1, "a)" }, { 2, "b" } },
                    rows_of(db, "(select * from (values (1, 'a)'), (2, 'b')) v -- all)\n)", { format = format }))
                assert.same({ { 7 } },
                    rows_of(db, "(insert into copy_spec.plain values (7) returning id)", { format = format }))
            end
            assert.equal(2, db:value "select count(*) from copy_spec.plain")
        end)

        it("takes whole COPY statements", function()
            assert(db:copy_in("copy copy_spec.plain (id) from stdin;", { { 1 }, { 2 } }))
            assert(db:copy_in("COPY copy_spec.plain FROM STDIN WITH (FORMAT binary)", { { 3, "x" } }))
            assert(db:copy_in("COPY copy_spec . plain /* ( */ FROM /* /* not */ stdout */ STDIN WHERE id > 3",
                { { 3, "y" }, { 4, "z" } }))
            assert.same({ { 1 }, { 2 }, { 3, "x" }, { 4, "z" } }, rows_of(db, "COPY copy_spec.plain TO STDOUT"))
            assert.same({ { 4, "z" } }, rows_of(db, [[
                COPY (select * from copy_spec.plain where name in ('z', E'\' to stdout', $q$) to stdout$q$, ') "'))
                TO STDOUT (FORMAT 'binary')]]))
        end)
    end)

    describe("of every type", function()
        local values = {
            { "b", true, false },
            { "i2", -32768, 32767, 0 },
            { "i4", -2147483648, 2147483647, 5.0 },
            { "i8", portable.mininteger, portable.maxinteger, 0 },
            { "o", 0, 4294967295 },
            { "f4", 0.1, -1e30, math.huge, 16777216.0, 3 },
            { "f8", 0.1, 1e300, -1e-300, math.huge, -math.huge, 5e-324, 123456789012345680.0, 2 },
            { "num", "12345678901234567890.123456789", "-0.5", "NaN", 7, 0.25 },
            {
                "t", "", "plain", "tab\there\nnew\rline\\back\b\f\v", "\\N", "\\.", "é漢字🌊", "\1\2\31 \127", "x",
                ("12345678"):rep(9),
            },
            { "vc", "short", "ten bytes!" },
            { "c", "abc", "é  " },
            { "ch", "x" },
            { "na", "a_name" },
            { "by", "", "\0\1\2\255\\\n\t", (string.rep("\0abc\\", 1000)) },
            { "u", "123e4567-e89b-12d3-a456-426614174000" },
            { "j", { a = { 1, 2 }, b = "tab\t\\" }, "[1, 2]" },
            { "jb", { a = { 1, 2 }, b = "tab\t\\" }, tidepool.json "text" },
            { "d", "2024-02-29", "infinity", "0044-03-15 BC" },
            { "ti", "23:59:59.999999" },
            { "tz", "23:59:59.5+05:30" },
            { "ts", "2024-02-29 12:34:56.789012", "-infinity" },
            { "tt", "2024-02-29 12:34:56.789012+00", "1999-12-31 23:59:59+14" },
            { "iv", "1 year 2 mons -3 days +04:05:06.789" },
            { "ip", "192.168.0.1", "::1/64" },
            { "ci", "10.0.0.0/8" },
            { "ma", "08:00:2b:01:02:03" },
            { "bi", "101" },
            { "vb", "", "1010101010" },
            { "mo", "$12.34" },
            { "p", "(1.5,-2)" },
            { "a4", {}, { 1, null, 3 }, { { 1, 2 }, { 3, 4 } } },
            { "at", { "a\\b", 'q"uote', "tab\t", "", "NULL", null, "{}" } },
            { "m", "sad", "it's \"ok\"" },
            { "g", 9 },
            { "pa", { a = 1, b = "x,\"y\"\t\\" }, { b = "only" } },
            { "r", "[1,5)", "empty" },
            { "pas", { { a = 1, b = "x\t" }, { a = 2 } } },
            { "x", "<a>b</a>" },
        }

        local function check(in_format, out_format)
            for _, list in ipairs(values) do
                local column = list[1]
                local insert = ("insert into copy_spec.types (n, %s) values ($1, $2)"):format(column)
                local select = ("select n, %s::text as text from copy_spec.types order by n"):format(column)
                local rows = {}
                assert(db:exec "truncate copy_spec.types")
                for i = 2, #list do
                    assert(db:exec(insert, i, list[i]))
                    rows[i - 1] = { i, list[i] }
                end
                rows[#rows + 1] = { #rows + 2, null }
                assert(db:exec(insert, #rows + 1, null))
                local stored = assert(db:query(select))
                local read = assert(db:query {
                    ("select n, %s from copy_spec.types order by n"):format(column), as = "arrays",
                })
                local target = ("copy_spec.types(n, %s)"):format(column)
                assert(db:exec "truncate copy_spec.types")
                local answer, err = db:copy_in(target, rows, { format = in_format })
                assert.is_truthy(answer, column .. ": " .. tostring(err))
                for i, row in ipairs(assert(db:query(select))) do
                    assert.equal(stored[i].text, row.text, column)
                end
                for i, row in ipairs(rows_of(db, target, { format = out_format })) do
                    assert.same(read[i], row, column)
                end
            end
        end

        it("is the same as by queries, in the text format", function()
            check("text", "text")
        end)

        it("is the same as by queries, in the binary format", function()
            check("binary", "binary")
        end)

        it("is the same as by queries where the session writes and reads dates in its own way", function()
            db:close()
            db = open { url = server.url {
                options = "-c DateStyle=SQL,DMY -c TimeZone=Asia/Tokyo -c IntervalStyle=iso_8601",
            } }
            check("binary", "binary")
            db:close()
            db = open()
        end)

        it("goes through the program's own codecs", function()
            local mine = open()
            assert(mine:define_type {
                name = "secret",
                decode = function(text) return { text } end,
                encode = function(value) return value[1] end,
            })
            assert(mine:exec "create table copy_spec.secrets (s copy_spec.secret, t text)")
            for _, format in ipairs { "text", "binary" } do
                assert(mine:exec "truncate copy_spec.secrets")
                assert(mine:copy_in("copy_spec.secrets", { { { "one" }, "x" }, { null, "y" } }, { format = format }))
                assert.same({ { { "one" }, "x" }, { nil, "y" } },
                    rows_of(mine, "copy_spec.secrets", { format = format }))
            end
            assert(mine:exec "drop table copy_spec.secrets")
            mine:close()
        end)

        it("gives out the rows before one that cannot be read", function()
            local mine = open()
            assert(mine:define_type { name = "secret", decode = function() error "no" end })
            assert(mine:exec "create table copy_spec.secrets (id int, s copy_spec.secret)")
            assert(mine:exec [[
                insert into copy_spec.secrets
                select g, case when g > 700 then 'one'::copy_spec.secret end from generate_series(1, 2000) g]])
            local conn = assert(mine:acquire())
            local count = 0
            local err = fails("validation", conn:copy_out("copy_spec.secrets", function() count = count + 1 end))
            assert.matches("the codec of type secret failed", err.message)
            assert.equal("s", err.column)
            assert.equal(700, count)
            assert.equal(1, conn:value "select 1")
            conn:release()
            assert(mine:exec "drop table copy_spec.secrets")
            mine:close()
        end)

        it("has the options nulls and numbers of queries", function()
            assert(db:copy_in("copy_spec.types(n, num)", { { 1, "2.5" }, { 2, null }, { 3, 7 } }))
            for _, format in ipairs { "text", "binary" } do
                assert.same({ { 1, 2.5 }, { 2, null }, { 3, 7 } },
                    rows_of(db, "copy_spec.types(n, num)", { nulls = true, numbers = true, format = format }))
            end
        end)

        it("takes every byte that text may have", function()
            local rows = {}
            for byte = 1, 127 do
                rows[byte] = { byte, "a" .. string.char(byte) .. "b" .. string.char(byte) }
            end
            for _, format in ipairs { "text", "binary" } do
                assert(db:exec "truncate copy_spec.plain")
                assert(db:copy_in("copy_spec.plain", rows, { format = format }))
                assert.same(rows, rows_of(db, "copy_spec.plain", { format = format }))
                assert.equal(127, db:value(
                    "select count(*) from copy_spec.plain where name = 'a' || chr(id) || 'b' || chr(id)"))
            end
        end)
    end)

    describe("of ready data", function()
        it("takes a string", function()
            assert.equal(2, assert(db:copy_in("copy_spec.plain", "1\tone\n2\t\\N\n", { raw = true })).count)
            assert.same({ { 1, "one" }, { 2 } }, rows_of(db, "copy_spec.plain"))
            assert.equal(0, assert(db:copy_in("copy_spec.plain", "", { raw = true })).count)
        end)

        it("takes a function that returns strings, cut anywhere", function()
            local text, at = "1\tone\n2\ttwo\n3\tthree", 0
            assert(db:copy_in("copy_spec.plain", function()
                at = at + 1
                return at <= #text and text:sub(at, at) or nil
            end, { raw = true }))
            assert.same({ { 1, "one" }, { 2, "two" }, { 3, "three" } }, rows_of(db, "copy_spec.plain"))
        end)

        it("takes large strings, alone and from a function", function()
            local lines = {}
            for i = 1, 100000 do
                lines[i] = i .. "\tsome text that is not too short\n"
            end
            local text = table.concat(lines)
            assert.equal(100000, assert(db:copy_in("copy_spec.plain", text, { raw = true })).count)
            local given = false
            local answer = assert(db:copy_in("copy_spec.plain", function()
                if not given then
                    given = true
                    return text
                end
            end, { raw = true }))
            assert.equal(100000, answer.count)
            assert.equal(200000, db:value "select count(*) from copy_spec.plain")
            assert.equal(#text * 2, #text_of(db, "copy_spec.plain"))
        end)

        it("keeps the order of large and small strings", function()
            local parts, i = {}, 0
            for size = 1, 300 do
                parts[size] = ("%d\t%s\n"):format(size, ("x"):rep(size % 7 == 0 and size * 1000 or size))
            end
            assert.equal(300, assert(db:copy_in("copy_spec.plain", function()
                i = i + 1
                return parts[i]
            end, { raw = true })).count)
            local text = text_of(db, "(select * from copy_spec.plain order by id)")
            assert.is_true(table.concat(parts) == text, "not the same")
        end)

        it("goes out and in again in each format", function()
            assert(db:copy_in("copy_spec.plain", { { 1, "one, \"two\"" }, { 2, null }, { 3, "tab\t" } }))
            local expected = rows_of(db, "copy_spec.plain")
            for _, format in ipairs { "text", "binary", "csv" } do
                local text = text_of(db, "copy_spec.plain", { format = format })
                assert(db:exec "truncate copy_spec.plain")
                assert.equal(3, assert(db:copy_in("copy_spec.plain", text, { raw = true, format = format })).count)
                assert.same(expected, rows_of(db, "copy_spec.plain"), format)
            end
        end)

        it("has the options of CSV", function()
            local options = {
                raw = true, format = "csv", header = true, delimiter = ";", null = "\\N", quote = "'", escape = "\\",
                encoding = "LATIN1",
            }
            local text = "id;name\n1;'o;n\\'\233'\n2;\\N\n"
            assert(db:copy_in("copy_spec.plain", text, options))
            assert.same({ { 1, "o;n'é" }, { 2 } }, rows_of(db, "copy_spec.plain"))
            assert.equal(text, text_of(db, "copy_spec.plain", options))
        end)

        it("takes whole COPY statements with any options", function()
            assert(db:copy_in("COPY copy_spec.plain FROM STDIN (DELIMITER '|', NULL 'x')", "1|x\n", { raw = true }))
            assert.equal("1,\n", text_of(db, "COPY copy_spec.plain TO STDOUT CSV"))
        end)

        it("goes to a file and comes from one", function()
            local path = os.tmpname()
            assert(db:copy_in("copy_spec.plain", (numbers(20000))))
            local file = assert(io.open(path, "w"))
            assert.equal(20000, assert(db:copy_out("copy_spec.plain", file)).count)
            file:close()
            assert(db:exec "truncate copy_spec.plain")
            file = assert(io.open(path))
            assert.equal(20000, assert(db:copy_in("copy_spec.plain", file)).count)
            file:close()
            os.remove(path)
            assert.equal("name 20000", db:value "select name from copy_spec.plain where id = 20000")
        end)

        it("ends with an error when a file cannot be written or read", function()
            assert(db:copy_in("copy_spec.plain", (numbers(20000))))
            local full = assert(io.open("/dev/full", "w"))
            assert.matches("No space left", fails("validation", db:copy_out("copy_spec.plain", full)).message)
            full:close()
            local folder = assert(io.open "/tmp")
            assert.matches("directory", fails("validation", db:copy_in("copy_spec.plain", folder)).message)
            folder:close()
            assert.equal(20000, db:value "select count(*) from copy_spec.plain")
        end)

        it("must be strings", function()
            local err = fails("validation", db:copy_in("copy_spec.plain", function() return 5 end, { raw = true }))
            assert.matches("number and no string", err.message)
        end)
    end)

    describe("with a mistake in a row", function()
        local conn, pid

        before_each(function()
            conn = assert(db:acquire())
            pid = conn:backend_pid()
        end)

        after_each(function()
            is_unharmed(conn, pid)
            assert.equal(0, conn:value "select count(*) from copy_spec.plain")
            assert.equal(0, conn:value "select count(*) from copy_spec.strict")
            conn:release()
        end)

        -- The rows before it are so many that some of them have been sent.
        local function with_row(bad)
            local next_row = numbers(20000)
            return function()
                local row = next_row()
                if row and row[1] == 17017 then
                    return bad
                end
                return row
            end
        end

        local function check(bad, pattern, column)
            for _, format in ipairs { "text", "binary" } do
                local err = fails("validation",
                    conn:copy_in("copy_spec.plain(id, name)", with_row(bad), { format = format }))
                assert.matches(pattern, err.message)
                assert.equal(column, err.column)
                assert.matches("^COPY copy_spec.plain", err.query)
                err = fails("validation", conn:copy_in("copy_spec.plain(id, name)", { bad }, { format = format }))
                assert.matches(pattern:gsub("17017", "1"), err.message)
            end
        end

        it("names a row with too few or too many columns", function()
            check({ 1 }, "^row 17017 has 1 column, not 2 %(tidepool.null stands for NULL%)$")
            check({}, "^row 17017 has 0 columns, not 2")
            check({ 1, "x", 3 }, "^row 17017 has 3 columns, not 2$")
            check({ 1, "x", nil, 4 }, "^row 17017 has 4 columns, not 2$")
            check({ 1, "x", n = 3 }, "^row 17017 has 3 columns, not 2$")
        end)

        it("names an unknown column", function()
            check({ id = 1, nmae = "x" }, '^row 17017 has a field "nmae", which is no column$')
            check({ id = 1, [true] = "x" }, "^row 17017 has a boolean among its fields$")
        end)

        it("names the column of a value that cannot be sent", function()
            check({ 1.5, "x" }, '^row 17017, column "id": 1.5 is no integer and cannot be sent as int4$', "id")
            check({ 2147483648, "x" }, '^row 17017, column "id": 2147483648 is out of range for int4$', "id")
            check({ 1, print }, '^row 17017, column "name": a function cannot be sent', "name")
            check({ 1, "\255" }, '^row 17017, column "name": text that is not valid UTF%-8 cannot be sent$', "name")
            check({ 1, "a\0b" }, '^row 17017, column "name": text with a NUL byte cannot be sent$', "name")
            check({ id = true }, '^row 17017, column "id": a boolean cannot be sent as int4$', "id")
        end)

        it("names a row that is none", function()
            check(5, "^row 17017 is a number and no table$")
            check("x", "^row 17017 is a string and no table$")
        end)

        it("says where a text is for the server alone", function()
            assert(conn:exec "create temp table at_odds (t timestamptz)")
            local err = fails("validation", conn:copy_in("at_odds", { { "now" } }, { format = "binary" }))
            assert.matches('^row 1, column "t": ', err.message)
            assert.matches("text", err.hint)
            assert.equal(1, assert(conn:copy_in("at_odds", { { "now" } })).count)
            assert(conn:exec "drop table at_odds")
        end)
    end)

    describe("with an error of the server's", function()
        it("says so before anything is asked of the source", function()
            local asked = false
            local function source()
                asked = true
            end
            assert.equal("42P01", fails("database", db:copy_in("copy_spec.nothing", source)).code)
            assert.equal("42P01", fails("database", db:copy_in("copy_spec.nothing(id)", source)).code)
            assert.equal("42703", fails("database", db:copy_in("copy_spec.plain(idd)", source)).code)
            assert.equal("42601", fails("database", db:copy_in("copy_spec.plain(", source, { raw = true })).code)
            assert.equal("42601", fails("database", db:copy_out("(selec 1)", source)).code)
            assert.is_false(asked)
        end)

        it("has the server's words about the line", function()
            local err = fails("database", db:copy_in("copy_spec.strict", "1\t5\n2\tx\n", { raw = true }))
            assert.equal("22P02", err.code)
            assert.matches("^COPY strict, line 2, column age", err.where)
            err = fails("database", db:copy_in("copy_spec.strict", { { 1, 1 }, { 2, 2 }, { 1, 3 } }))
            assert.equal("23505", err.code)
            assert.equal("strict_pkey", err.constraint)
            assert.matches("^COPY strict, line 3", err.where)
            err = fails("database", db:copy_in("copy_spec.strict", { { 1, 1 }, { 2, null } }))
            assert.equal("age", err.column)
            assert.equal(0, db:value "select count(*) from copy_spec.strict")
        end)

        local function stops_early(mine)
            local i = 0
            local err = fails("database", mine:copy_in("copy_spec.strict(id, age)", function()
                i = i + 1
                return { i % 5000, 1 }
            end, { timeout_ms = 20000 }))
            assert.equal("23505", err.code)
            i = 0
            err = fails("database", mine:copy_in("copy_spec.strict(id, age)", function()
                i = i + 1
                return i .. "\tx\n"
            end, { raw = true, timeout_ms = 20000 }))
            assert.equal("22P02", err.code)
            assert.equal(0, mine:value "select count(*) from copy_spec.strict")
        end

        it("stops reading an endless source", function()
            for _ = 1, 20 do
                stops_early(db)
            end
        end)

        it("stops reading an endless source under TLS, where COPY works as well", function()
            local folder = server.pgdata
            assert.equal(0, select(2, server.sh(([[
                cd %s && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout server.key \
                    -out server.crt 2>/dev/null && chmod 600 server.key && chown --reference=%s server.key server.crt]])
                :format(folder, folder))))
            server.psql "alter system set ssl = on"
            server.psql "select pg_reload_conf()"
            finally(function()
                server.psql "alter system reset ssl"
                server.psql "select pg_reload_conf()"
            end)
            assert.is_true(server.wait(function() return server.psql "show ssl" == "on" end))
            local mine = open { url = server.url { tcp = true, sslmode = "require" }, tls = { verify = false } }
            assert.is_true(mine:value "select ssl from pg_stat_ssl where pid = pg_backend_pid()")
            stops_early(mine)
            assert.equal(50000, assert(mine:copy_in("copy_spec.plain", (numbers(50000)))).count)
            assert.equal(50000, #rows_of(mine, "copy_spec.plain", { format = "binary" }))
            local text = text_of(mine, "copy_spec.plain")
            assert.equal(50000, assert(mine:copy_in("copy_spec.plain", text, { raw = true })).count)
            mine:close()
        end)

        it("reads while it writes: a flood of notices blocks nothing and is heard", function()
            assert(db:script [[
                create function copy_spec.shout() returns trigger language plpgsql as $$
                begin
                    raise notice 'row % %', new.id, repeat('x', new.id % 300);
                    return new;
                end $$;
                create trigger shout before insert on copy_spec.plain
                for each row execute function copy_spec.shout();]])
            local heard, last = 0, nil
            local mine = open()
            mine:on("notice", function(event)
                heard, last = heard + 1, event.message
            end)
            assert.equal(30000, assert(mine:copy_in("copy_spec.plain", (numbers(30000)), { timeout_ms = 60000 })).count)
            mine:ping()
            assert.is_true(heard > 0)
            assert.matches("^row 30000 ", last)
            mine:close()
            assert(db:script "drop trigger shout on copy_spec.plain; drop function copy_spec.shout()")
        end)

        it("comes from the middle of what is read, too", function()
            local count = 0
            local query = "(select 1 / (50000 - g) from generate_series(1, 60000) g)"
            local err = fails("database", db:copy_out(query, function()
                count = count + 1
            end))
            assert.equal("22012", err.code)
            assert.equal(49999, count)
        end)
    end)

    describe("with an error of the program's", function()
        local conn, pid
        local thrown = setmetatable({}, { __tostring = function() return "thrown" end })

        before_each(function()
            conn = assert(db:acquire())
            pid = conn:backend_pid()
        end)

        after_each(function()
            is_unharmed(conn, pid)
            assert.equal("idle", conn:transaction_state())
            conn:release()
        end)

        it("raises the same again when the source has raised it, and stores nothing", function()
            for _, at in ipairs { 1, 2, 20000 } do
                local next_row, count = numbers()
                local ok, err = pcall(conn.copy_in, conn, "copy_spec.plain", function()
                    if count() == at then
                        error(thrown)
                    end
                    return next_row()
                end)
                assert.is_false(ok)
                assert.equal(thrown, err)
                assert.equal(0, conn:value "select count(*) from copy_spec.plain")
            end
            assert.has_error(function()
                conn:copy_in("copy_spec.plain", function() error(thrown) end, { raw = true })
            end, thrown)
        end)

        it("raises the same again when the sink has raised it", function()
            for _, options in ipairs { {}, { raw = true }, { format = "binary" } } do
                local ok, err = pcall(conn.copy_out, conn, "(select generate_series(1, 100000))", function()
                    error(thrown)
                end, options)
                assert.is_false(ok)
                assert.equal(thrown, err)
                is_unharmed(conn, pid)
            end
        end)

        it("raises the same again when progress has raised it", function()
            local options = { progress = function() error(thrown) end }
            local ok, err = pcall(conn.copy_in, conn, "copy_spec.plain", { { 1, "x" } }, options)
            assert.is_false(ok)
            assert.equal(thrown, err)
            assert.equal(0, conn:value "select count(*) from copy_spec.plain")
            ok, err = pcall(conn.copy_out, conn, "(select generate_series(1, 100000))", function() end, options)
            assert.is_false(ok)
            assert.equal(thrown, err)
        end)

        it("returns what the source or the sink returns with nil", function()
            local _, an_error = db:query "select 1 / 0"
            local result, err = conn:copy_in("copy_spec.plain", function() return nil, an_error end)
            assert.is_nil(result)
            assert.equal(an_error, err)
            result, err = conn:copy_out("(select 1)", function() return nil, an_error end)
            assert.is_nil(result)
            assert.equal(an_error, err)
            assert.matches("out of ideas", fails("validation",
                conn:copy_in("copy_spec.plain", function() return nil, "out of ideas" end)).message)
        end)

        it("takes false for a row that is none", function()
            local err = fails("validation", conn:copy_in("copy_spec.plain", function() return false end))
            assert.equal("row 1 is a boolean and no table", err.message)
        end)

        it("raises what is raised by the name of what its function gave up with", function()
            local nameless = setmetatable({}, { __tostring = function() error(thrown) end })
            local ok, err = pcall(conn.copy_in, conn, "copy_spec.plain", function() return nil, nameless end)
            assert.is_false(ok)
            assert.equal(thrown, err)
        end)

        it("raises that the file was closed on the way", function()
            for _, method in ipairs { "copy_in", "copy_out" } do
                local file = assert(io.tmpfile())
                file:write(("1\tx\n"):rep(200000))
                file:seek("set")
                local source = method == "copy_in" and "copy_spec.plain" or "(select generate_series(1, 1000000))"
                local ok, err = pcall(conn[method], conn, source, file, { progress = function() file:close() end })
                assert.is_false(ok)
                assert.matches("closed file", err)
                is_unharmed(conn, pid)
            end
            assert.equal(0, conn:value "select count(*) from copy_spec.plain")
        end)
    end)

    describe("in a coroutine", function()
        -- Runs fn in a coroutine, and returns its results and how often it has yielded.
        local function run(fn)
            local routine, yields = coroutine.create(fn), 0
            local results
            repeat
                results = portable.pack(coroutine.resume(routine))
                assert(results[1], results[2])
                yields = yields + (coroutine.status(routine) == "suspended" and 1 or 0)
            until coroutine.status(routine) == "dead"
            return results[2], results[3], yields
        end

        it("lets its functions yield", function()
            local function yield()
                coroutine.yield()
            end
            local answer, err, yields = run(function()
                local next_row = numbers(20000)
                return db:copy_in("copy_spec.plain", function()
                    yield()
                    return next_row()
                end, { progress = yield })
            end)
            assert.is_nil(err)
            assert.equal(20000, answer.count)
            assert.is_true(yields > 20001)
            answer, err, yields = run(function()
                return db:copy_out("copy_spec.plain", yield, { progress = yield })
            end)
            assert.is_nil(err)
            assert.equal(20000, answer.count)
            assert.is_true(yields > 20000)
            local list = rows_of(db, "copy_spec.plain")
            answer, err, yields = run(function()
                return db:copy_in("copy_spec.plain", list, { progress = yield })
            end)
            assert.is_nil(err)
            assert.equal(20000, answer.count)
            assert.is_true(yields > 0)
            answer, err, yields = run(function()
                return db:copy_out("copy_spec.plain", yield, { raw = true })
            end)
            assert.is_nil(err)
            assert.equal(40000, answer.count)
            assert.is_true(yields > 0)
        end)

        it("lets the rest of the program use the pool meanwhile", function()
            local copying = coroutine.wrap(function()
                local next_row = numbers(5000)
                return db:copy_in("copy_spec.plain", function()
                    coroutine.yield()
                    return next_row()
                end)
            end)
            local answer
            local turns = 0
            repeat
                answer = copying()
                turns = turns + 1
                assert.equal(turns, assert(db:value("select $1::int", turns)))
                if not answer then
                    assert.equal(0, db:value "select count(*) from copy_spec.plain")
                end
            until answer
            assert.equal(5000, answer.count)
        end)

        it("is given up when that is lost", function()
            local small = open { pool = { min = 0, max = 1 } }
            for _, call in ipairs {
                function() return small:copy_in("copy_spec.plain", coroutine.yield) end,
                function() return small:copy_out("(select generate_series(1, 1000000))", coroutine.yield) end,
            } do
                coroutine.wrap(call)()
                assert.equal(1, small:value "select 1") -- finds what was lost
            end
            assert.equal(0, small:value "select count(*) from copy_spec.plain")
            small:close()
        end)
    end)

    describe("that is wrong in itself", function()
        local function misuse(pattern, method, ...)
            local ok, err = pcall(db[method], db, ...)
            assert.is_false(ok)
            assert.matches(pattern, err)
        end

        it("is a misuse that is raised", function()
            misuse("SQL text expected, got nil", "copy_in", nil, {})
            misuse("a list of rows or a function expected, got nil", "copy_in", "t")
            misuse("a list of rows or a function expected, got string", "copy_in", "t", "1\n")
            misuse("a string, a function or a file expected as raw data, got table", "copy_in", "t", {},
                { raw = true })
            misuse("a function or a file expected, got table", "copy_out", "t", {})
            misuse("a query has to stand in parentheses, got 'select 1'", "copy_out", "select 1", print)
            misuse("unknown option 'formt' of copy_in", "copy_in", "t", {}, { formt = "text" })
            misuse("unknown option 'as' of copy_in", "copy_in", "t", {}, { as = "rows" })
            misuse("option 'as' of copy_out must be", "copy_out", "t", print, { as = "lazy" })
            misuse("option 'format' of copy_in must be", "copy_in", "t", {}, { format = "xml" })
            misuse('format = "csv" of copy_in needs raw', "copy_in", "t", {}, { format = "csv" })
            misuse("option 'null' of copy_in needs raw", "copy_in", "t", {}, { null = "" })
            misuse("option 'timeout_ms' of copy_in must be", "copy_in", "t", {}, { timeout_ms = -1 })
            misuse("option 'progress' of copy_in must be", "copy_in", "t", {}, { progress = 1 })
            misuse("a table of options expected, got string", "copy_in", "t", {}, "raw")
            misuse("copy_in takes COPY ... FROM STDIN", "copy_in", "COPY t TO STDOUT", {})
            misuse("copy_out takes COPY ... TO STDOUT", "copy_out", "COPY t FROM STDIN", print)
            misuse("with such options needs raw", "copy_in", "COPY t FROM STDIN (FORMAT csv)", {})
            misuse("with such options needs raw", "copy_out", "COPY t TO STDOUT DELIMITER '|'", print)
            misuse("do not go together", "copy_in", "COPY t FROM STDIN", {}, { format = "binary" })
            misuse("expected, got 'select 1 from %(x'", "copy_in", "select 1 from (x", {})
            misuse("has a NUL byte", "copy_in", "t\0", {})
            misuse("a file has raw data", "copy_out", "t", io.stdout, { raw = false })
            local file = assert(io.tmpfile())
            file:close()
            misuse("closed", "copy_out", "(select 1)", file)
            assert.equal(1, db:value "select 1")
        end)
    end)

    describe("that is stopped", function()
        it("leaves a client usable, in all formats", function()
            local conn = assert(db:acquire())
            local pid = conn:backend_pid()
            for _, options in ipairs { {}, { format = "binary" }, { raw = true } } do
                local count = 0
                local query = "(select generate_series(1, 3000000), repeat('x', 100))"
                local answer = assert(conn:copy_out(query, function()
                    count = count + 1
                    return count < 10
                end, options))
                assert.is_true(answer.stopped)
                assert.equal(10, count)
                assert.equal(options.raw and answer.count or 10, answer.count)
                is_unharmed(conn, pid)
            end
            conn:release()
        end)

        it("is stopped at the row that was enough", function()
            for _, enough in ipairs { 1, 255, 256, 257, 3000 } do
                local count = 0
                local answer = assert(db:copy_out("(select generate_series(1, 1000000))", function()
                    count = count + 1
                    return count < enough
                end))
                assert.same({ count = enough, command = "COPY", stopped = true }, answer)
                assert.equal(enough, count)
            end
        end)

        it("leaves a transaction as it was", function()
            assert(db:transaction(function(tx)
                assert(tx:exec "insert into copy_spec.plain values (1, 'kept')")
                local answer = assert(tx:copy_out("(select generate_series(1, 10000))", function() return false end))
                assert.equal(1, answer.count)
                assert.equal("kept", tx:value "select name from copy_spec.plain")
                return true
            end))
            assert.equal(1, db:value "select count(*) from copy_spec.plain")
        end)

        it("does not keep the pool from its connections", function()
            local small = open { pool = { min = 0, max = 1 } }
            for _ = 1, 10 do
                assert(small:copy_out("(select generate_series(1, 1000000))", function() return false end))
                assert.equal(1, small:value "select 1")
            end
            assert.equal(1, small:stats().created)
            small:close()
        end)
    end)

    describe("in a transaction", function()
        it("is committed and rolled back with it", function()
            assert(db:transaction(function(tx)
                return tx:copy_in("copy_spec.plain", { { 1, "kept" } })
            end))
            local _, err = db:transaction(function(tx)
                assert(tx:copy_in("copy_spec.plain", { { 2, "lost" } }))
                assert.equal(2, #rows_of(tx, "copy_spec.plain"))
                return nil, "enough"
            end)
            assert.equal("enough", err)
            assert.same({ { 1, "kept" } }, rows_of(db, "copy_spec.plain"))
        end)

        it("fails it when it fails, and a savepoint mends that", function()
            assert(db:transaction(function(tx)
                assert(tx:exec "insert into copy_spec.plain values (1, 'kept')")
                local _, err = tx:transaction(function(inner)
                    return inner:copy_in("copy_spec.plain", { { 2, "x" }, { "y" } })
                end)
                assert.matches("row 2 has 1 column", err.message)
                assert(tx:copy_in("copy_spec.plain", { { 3, "kept too" } }))
                return true
            end))
            assert.same({ { 1, "kept" }, { 3, "kept too" } }, rows_of(db, "copy_spec.plain"))
        end)

        it("is refused after its end", function()
            local kept
            db:transaction(function(tx)
                kept = tx
                return true
            end)
            assert.matches("has ended", fails("validation", kept:copy_in("copy_spec.plain", {})).message)
            assert.matches("has ended", fails("validation", kept:copy_out("copy_spec.plain", print)).message)
        end)
    end)

    describe("beside other calls", function()
        it("lets its functions use other connections of the pool", function()
            assert(db:copy_in("copy_spec.plain", (numbers(2000))))
            local next_row, sum = numbers(500), 0
            assert(db:copy_in("copy_spec.strict", function()
                local row = next_row()
                if row then
                    return { row[1], assert(db:value("select id % 100 from copy_spec.plain where id = $1", row[1])) }
                end
            end))
            assert(db:copy_out("copy_spec.strict", function(row)
                sum = sum + assert(db:value("select $1::int", row[2]))
            end))
            assert.equal(5 * 4950, sum)
        end)

        it("copies from one connection to another, however fast each is", function()
            assert(db:copy_in("copy_spec.plain", (numbers(50000))))
            assert(db:exec "create table copy_spec.second (id int, name text)")
            local conn = assert(db:acquire())
            local routine = coroutine.wrap(function()
                assert(conn:copy_out("copy_spec.plain", function() end))
                return "end"
            end)
            assert.equal("end", routine())
            local chunks = {}
            assert(conn:copy_out("copy_spec.plain", function(chunk)
                chunks[#chunks + 1] = chunk
                if #chunks == 10 then
                    assert(db:copy_in("copy_spec.second", table.concat(chunks), { raw = true }))
                    chunks = {}
                end
            end, { raw = true }))
            assert(db:copy_in("copy_spec.second", table.concat(chunks), { raw = true }))
            conn:release()
            assert.equal(0, db:value
                "select count(*) from (table copy_spec.plain except table copy_spec.second) as difference")
            assert.equal(50000, db:value "select count(*) from copy_spec.second")
            assert(db:exec "drop table copy_spec.second")
        end)

        it("keeps its own client to itself", function()
            local conn = assert(db:acquire())
            local errors = {}
            assert(conn:copy_in("copy_spec.plain", function()
                if #errors < 2 then
                    local _, err = conn:query "select 1"
                    errors[1] = err
                    _, err = conn:copy_out("copy_spec.plain", print)
                    errors[2] = err
                    return { 1, "x" }
                end
            end))
            assert.equal("busy", errors[1].kind)
            assert.equal("busy", errors[2].kind)
            assert.equal(1, conn:value "select count(*) from copy_spec.plain")
            conn:release()
        end)

        it("ends when its client is released in the middle", function()
            for _, release in ipairs { "release", "discard" } do
                local conn = assert(db:acquire())
                local next_row, count = numbers()
                local err = fails("validation", conn:copy_in("copy_spec.plain", function()
                    if count() == 20000 then
                        conn[release](conn)
                    end
                    return next_row()
                end))
                assert.matches("released meanwhile", err.message)
                conn = assert(db:acquire())
                count = 0
                err = fails("validation", conn:copy_out("(select generate_series(1, 100000))", function()
                    count = count + 1
                    if count == 5000 then
                        conn[release](conn)
                    end
                end))
                assert.matches("released meanwhile", err.message)
                assert.equal(0, db:value "select count(*) from copy_spec.plain")
            end
        end)

        it("waits for a connection as queries do", function()
            local small = open { pool = { min = 0, max = 1, acquire_timeout_ms = 50 } }
            do
                local conn = assert(small:acquire())
                fails("busy", small:copy_in("copy_spec.plain", {}))
                conn:release()
            end
            assert(small:copy_in("copy_spec.plain", {}))
            local function lose()
                assert(small:acquire())
            end
            coroutine.wrap(lose)() -- on a stack of its own; the next call finds it
            assert(small:copy_in("copy_spec.plain", {}))
            small:close()
        end)
    end)

    describe("with a deadline", function()
        it("ends when the server is slow", function()
            for _, call in ipairs {
                function(mine, options) return mine:copy_out("(select pg_sleep(30))", function() end, options) end,
                function(mine, options)
                    local statement = "COPY copy_spec.plain FROM STDIN WHERE pg_sleep(30) is null"
                    return mine:copy_in(statement, (numbers()), options)
                end,
            } do
                local began = server.now()
                fails("timeout", call(db, { timeout_ms = 100 }))
                assert.is_true(server.now() - began < 5000)
                assert.equal(1, db:value "select 1")
            end
            assert.equal(0, db:value "select count(*) from copy_spec.plain")
        end)

        it("ends when the program is slow, or never comes to an end", function()
            for _, options in ipairs { { timeout_ms = 100 }, { timeout_ms = 100, format = "binary" } } do
                local began = server.now()
                fails("timeout", db:copy_in("copy_spec.plain", (numbers()), options))
                assert.equal(1, db:value "select 1") -- the pool has a connection again
                local text = ("1\tx\n"):rep(10000)
                options.raw, options.format = true, nil
                fails("timeout", db:copy_in("copy_spec.plain", function() return text end, options))
                assert.equal(1, db:value "select 1")
                fails("timeout", db:copy_out("(select generate_series(1, 100000000))", function() end, options))
                assert.equal(1, db:value "select 1")
                assert.is_true(server.now() - began < 10000)
            end
            assert.equal(0, db:value "select count(*) from copy_spec.plain")
        end)

        it("is that of the server's answers alone when it is the pool's", function()
            local patient = open { query_timeout_ms = 300 }
            local began, i = server.now(), 0
            assert.equal(8, assert(patient:copy_in("copy_spec.plain", function()
                i = i + 1
                if i <= 8 then
                    server.sleep(50)
                    return { i, ("x"):rep(70000) }
                end
            end)).count)
            assert.is_true(server.now() - began > 350)
            fails("timeout", patient:copy_out("(select pg_sleep(30))", function() end))
            patient:close()
        end)
    end)

    describe("over a connection that dies", function()
        it("is an error of the connection, and the pool goes on", function()
            local pid
            local mine = open { pool = { min = 0, max = 1 } }
            local function kill()
                server.psql(("select pg_terminate_backend(%d, 5000)"):format(pid))
            end
            for _, format in ipairs { "text", "binary" } do
                pid = assert(mine:value "select pg_backend_pid()")
                local next_row, count = numbers()
                local err = fails("connection", mine:copy_in("copy_spec.plain", function()
                    if count() == 10000 then
                        kill()
                    end
                    return next_row()
                end, { format = format, timeout_ms = 20000 }))
                assert.equal("57P01", err.code)
                pid = assert(mine:value "select pg_backend_pid()")
                count = 0
                fails("connection", mine:copy_out("(select generate_series(1, 10000000))", function()
                    count = count + 1
                    if count == 100 then
                        kill()
                    end
                end, { format = format, timeout_ms = 20000 }))
            end
            assert.equal(0, mine:value "select count(*) from copy_spec.plain")
            mine:close()
        end)

        it("begins again on another when it had died before", function()
            local mine = open { pool = { min = 0, max = 1 } }
            for _, raw in ipairs { false, true } do
                local pid = assert(mine:value "select pg_backend_pid()")
                server.psql(("select pg_terminate_backend(%d, 5000)"):format(pid))
                assert(mine:copy_in("copy_spec.plain", raw and "" or {}, { raw = raw }))
            end
            mine:close()
        end)
    end)

    it("tells of its progress", function()
        local calls, rows_last, bytes_last = 0, 0, 0
        local function progress(rows, bytes)
            calls = calls + 1
            assert.is_true(rows >= rows_last and bytes > bytes_last)
            assert.is_true(bytes - bytes_last < 300000)
            rows_last, bytes_last = rows, bytes
        end
        assert(db:copy_in("copy_spec.plain", (numbers(100000)), { progress = progress }))
        assert.equal(100000, rows_last)
        assert.is_true(calls > 10 and calls < 40)
        local bytes_in = bytes_last
        calls, rows_last, bytes_last = 0, 0, 0
        assert(db:copy_out("copy_spec.plain", function() end, { progress = progress }))
        assert.equal(100000, rows_last)
        assert.equal(bytes_in, bytes_last)
        assert.is_true(calls > 10 and calls < 40)
        local seen
        assert(db:copy_in("copy_spec.plain", "1\tx\n", { raw = true, progress = function(...) seen = { ... } end }))
        assert.same({ nil, 4 }, seen)
    end)

    it("is counted and logged as one query", function()
        local lines = {}
        local mine = open { log = { queries = true, sink = function(_, message, fields)
            lines[#lines + 1] = message .. " " .. tostring(fields.sql) .. " " .. tostring(fields.error)
        end } }
        assert(mine:copy_in("copy_spec.plain(id, name)", { { 1, "secret" } }))
        mine:copy_in("copy_spec.plain(id, name)", { { 1 } })
        local stats = mine:stats()
        assert.equal(2, stats.queries)
        assert.equal(1, stats.query_failures)
        local text = table.concat(lines, "\n")
        assert.matches("COPY copy_spec.plain%(id, name%) FROM STDIN", text)
        assert.not_matches("secret", text)
        mine:close()
    end)

    it("needs the same memory for many rows as for few", function()
        local many = _VERSION == "Lua 5.4" and 1000000 or 250000
        local function resident_kb()
            local file = assert(io.open "/proc/self/statm")
            local _, pages = file:read("*n", "*n")
            file:close()
            return pages * 4
        end
        local function grows(fn)
            fn(20000)
            collectgarbage()
            collectgarbage()
            local before, most = resident_kb(), 0
            fn(many, function() most = math.max(most, resident_kb()) end)
            return most - before
        end
        assert(db:exec "create unlogged table copy_spec.long (id int, name text)")
        for _, format in ipairs { "text", "binary" } do
            local growth = grows(function(rows, progress)
                assert(db:exec "truncate copy_spec.long")
                assert.equal(rows, assert(db:copy_in("copy_spec.long", (numbers(rows)),
                    { format = format, progress = progress })).count)
            end)
            -- Sanitizers keep what is freed for a while.
            local limit = os.getenv "TIDEPOOL_TEST_VARIANT" == "default" and 4096 or math.huge
            assert.is_true(growth < limit, ("copy_in %s grew by %d kB"):format(format, growth))
            growth = grows(function(rows, progress)
                local count = 0
                local query = ("(select * from copy_spec.long limit %d)"):format(rows)
                assert(db:copy_out(query, function() count = count + 1 end, { format = format, progress = progress }))
                assert.equal(rows, count)
            end)
            assert.is_true(growth < limit, ("copy_out %s grew by %d kB"):format(format, growth))
        end
        assert(db:exec "drop table copy_spec.long")
    end)
end)
