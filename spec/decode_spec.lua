--- What the server sends becomes what Lua has for it.
local tidepool = require "tidepool"
local portable = require "spec.support.portable"
local server = require "spec.support.server"

local utf8 = portable.utf8

describe("decoding", function()
    local db

    setup(function()
        db = assert(tidepool.open{ url = server.url(), log = { queries = false } })
    end)

    teardown(function()
        db:close()
    end)

    -- The value of a query that must succeed; nil is allowed.
    local function value(sql, ...)
        local result, err = db:value(sql, ...)
        assert.is_nil(err, tostring(err))
        return result
    end

    local function rows(sql, ...)
        return assert(db:query(sql, ...))
    end

    -- Equal in value and in subtype: 5 and 5.0 are equal in Lua, but not the same here.
    local function assert_number(expected, actual)
        assert.equal(portable.math_type(expected), portable.math_type(actual))
        if expected ~= expected then
            assert.is_true(actual ~= actual, "expected NaN, got " .. tostring(actual))
        else
            assert.equal(expected, actual)
        end
    end

    describe("of scalars", function()
        it("gives bool as a boolean", function()
            assert.is_true(value "select true")
            assert.is_false(value "select false")
        end)

        it("gives the integer types as integers, to their extremes", function()
            local cases = {
                { "'-32768'::int2", -32768 }, { "32767::int2", 32767 },
                { "'-2147483648'::int4", -2147483648 }, { "2147483647::int4", 2147483647 },
                { "'-9223372036854775808'::int8", portable.mininteger },
                { "9223372036854775807::int8", portable.maxinteger },
                { "9007199254740993::int8", portable.int8 "9007199254740993" }, { "4294967295::oid", 4294967295 },
                { "0::int4", 0 }, { "count(*)", 1 },
            }
            for _, case in ipairs(cases) do
                assert_number(case[2], value("select " .. case[1]))
            end
        end)

        it("gives float8 as a float, exactly, even when it is integral", function()
            local cases = {
                { "5", 5.0 }, { "0", 0.0 }, { "-1", -1.0 }, { "0.1", 0.1 }, { "1e-307", 1e-307 },
                { "4.9406564584124654e-324", 4.9406564584124654e-324 },
                { "1.7976931348623157e308", portable.maxnumber },
                { "9007199254740993", 9007199254740992.0 }, { "1e15", 1e15 }, { "123456.789", 123456.789 },
            }
            for _, case in ipairs(cases) do
                assert_number(case[2], value("select '" .. case[1] .. "'::float8"))
            end
        end)

        it("gives float4 as a float", function()
            assert_number(5.0, value "select 5::float4")
            assert_number(1.5, value "select 1.5::float4")
            assert_number(-0.25, value "select '-0.25'::float4")
        end)

        it("gives NaN and the infinities of floats, and keeps the sign of zero", function()
            for _, type in ipairs{ "float4", "float8" } do
                assert_number(0 / 0, value("select 'NaN'::" .. type))
                assert_number(math.huge, value("select 'Infinity'::" .. type))
                assert_number(-math.huge, value("select '-Infinity'::" .. type))
                assert_number(-math.huge, 1 / value("select '-0'::" .. type))
            end
        end)

        it("gives numeric as a string with all its digits", function()
            assert.equal("5", value "select 5::numeric")
            assert.equal("5.00", value "select 5::numeric(10,2)")
            assert.equal("NaN", value "select 'NaN'::numeric")
            assert.equal("123456789012345678901234567890.0123456789",
                value "select 123456789012345678901234567890.0123456789")
        end)

        it("gives numeric as a number where asked", function()
            local function number(sql)
                return value{ sql, numbers = true }
            end
            assert_number(5, number "select 5::numeric")
            assert_number(5.0, number "select 5::numeric(10,2)")
            assert_number(-0.5, number "select '-0.5'::numeric")
            assert_number(portable.maxinteger_number, number "select 9223372036854775807::numeric")
            assert_number(2.0 ^ 63, number "select 9223372036854775808::numeric")
            assert_number(0 / 0, number "select 'NaN'::numeric")
            assert.same({ 1, 2.5 }, number "select array[1, 2.5]::numeric[]")
            assert_number(6, number "select sum(x) from unnest(array[1, 2, 3]::int8[]) x")
        end)

        it("gives text as it is", function()
            assert.equal("", value "select ''")
            assert.equal("Grüße, 世界 🌊", value "select 'Grüße, 世界 🌊'")
            assert.equal("x  ", value "select 'x'::char(3)")
            assert.equal("line\nline\ttab\\", value [[select E'line\nline\ttab\\']])
            assert.equal(100000, #value "select repeat('x', 100000)")
        end)

        it("gives every byte of a bytea", function()
            local all = {}
            for byte = 0, 255 do
                all[#all + 1] = string.char(byte)
            end
            assert.equal(table.concat(all), value
                [[select string_agg(set_byte('\x00'::bytea, 0, i), ''::bytea order by i)
                    from generate_series(0, 255) i]])
            assert.equal("", value "select ''::bytea")
            assert.equal(("\0"):rep(50000), value "select decode(repeat('00', 50000), 'hex')")
        end)

        it("gives bytea in the escape format too", function()
            local conn = assert(db:acquire())
            assert(conn:exec "set bytea_output = escape")
            local got, err = conn:value [[select '\x005c61ff'::bytea]]
            assert(conn:exec "reset bytea_output")
            conn:release()
            assert.is_nil(err)
            assert.equal("\0\\a\255", got)
        end)

        it("gives dates, times, uuids and whatever else as the server writes them", function()
            local cases = {
                { "'2024-02-29'::date", "2024-02-29" },
                { "'2024-02-29 12:34:56.789'::timestamp", "2024-02-29 12:34:56.789" },
                { "'12:34:56'::time", "12:34:56" },
                { "'infinity'::timestamp", "infinity" },
                { "'1 day 02:03:04'::interval", "1 day 02:03:04" },
                { "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'::uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11" },
                { "'10.0.0.0/8'::inet", "10.0.0.0/8" },
                { "'[1,5)'::int4range", "[1,5)" },
                { "'(1,2)'::point", "(1,2)" },
                { "row(1, 'a')::text", "(1,a)" },
                { "'101'::bit(3)", "101" },
                { "'<a/>'::text", "<a/>" },
            }
            for _, case in ipairs(cases) do
                assert.equal(case[2], value("select " .. case[1]))
            end
        end)

        it("gives an enum as its label, also from an array", function()
            local conn = assert(db:acquire())
            assert(conn:exec "create type pg_temp.mood as enum ('sad', 'happy')")
            local got, err = conn:query "select 'happy'::pg_temp.mood as one, array['sad']::pg_temp.mood[] as many"
            conn:release()
            assert.is_nil(err)
            assert.equal("happy", got[1].one)
            assert.same({ "sad" }, got[1].many)
        end)
    end)

    describe("of NULL", function()
        it("gives nil, so the field is absent", function()
            local row = rows "select null::int as a, 1 as b, null as c"[1]
            assert.same({ b = 1 }, row)
            assert.is_nil(value "select null")
        end)

        it("gives tidepool.null where asked", function()
            local row = rows{ "select null::int as a, 1 as b", nulls = true }[1]
            assert.equal(tidepool.null, row.a)
            assert.equal(1, row.b)
            assert.equal(tidepool.null, value{ "select null", nulls = true })
        end)

        it("gives tidepool.null inside of arrays and JSON", function()
            assert.same({ 1, tidepool.null, 3 }, value "select array[1, null, 3]")
            assert.same({ a = tidepool.null }, value [[select '{"a": null}'::jsonb]])
            assert.equal(tidepool.null, value "select 'null'::json")
        end)
    end)

    describe("of arrays", function()
        it("gives lists of each element type", function()
            local cases = {
                { "array[1, 2]::int2[]", { 1, 2 } },
                { "array[1, 2]::int8[]", { 1, 2 } },
                { "array[true, false, null]", { true, false, tidepool.null } },
                { "array[1.5, 2]::float8[]", { 1.5, 2.0 } },
                { "array[1.50, 2]::numeric(4,2)[]", { "1.50", "2.00" } },
                { "array['a', 'b']::varchar[]", { "a", "b" } },
                { "array['\\x00ff', '\\x5c22']::bytea[]", { "\0\255", "\\\"" } },
                { "array['2024-01-01']::date[]", { "2024-01-01" } },
                { "array['2024-01-01 10:00']::timestamp[]", { "2024-01-01 10:00:00" } },
                { "array['(1,1),(0,0)', '(3,3),(2,2)']::box[]", { "(1,1),(0,0)", "(3,3),(2,2)" } },
            }
            for _, case in ipairs(cases) do
                assert.same(case[2], value("select " .. case[1]))
            end
            assert.equal(portable.FLOAT, portable.math_type(value "select array[5]::float8[]"[1]))
            assert.equal(portable.INTEGER, portable.math_type(value "select array[5]::int4[]"[1]))
        end)

        it("gives {} for the empty array", function()
            assert.same({}, value "select '{}'::text[]")
        end)

        it("nests the dimensions", function()
            assert.same({ { 1, 2 }, { 3, tidepool.null } }, value "select '{{1,2},{3,NULL}}'::int[]")
            assert.same({ { { { { { 7 } } } } } }, value "select '{{{{{{7}}}}}}'::int[]")
        end)

        it("counts from 1 whatever the bounds of the array are", function()
            assert.same({ "a", "b" }, value "select '[0:1]={a,b}'::text[]")
            assert.same({ { 1 }, { 2 } }, value "select '[-3:-2][5:5]={{1},{2}}'::int[]")
        end)

        it("keeps quotes, backslashes, commas, braces, blanks and the text NULL", function()
            local odd = { 'q"q', "b\\b", "a,b", "{x}", " pad ", "NULL", "null", "", "\n\t", "Ω🌊", "'" }
            assert.same(odd, value("select $1::text[]", odd))
        end)

        it("reads the JSON of a json array", function()
            assert.same({ { a = { 1, "x\"y" } }, 5, tidepool.null, "s" },
                value [[select array['{"a": [1, "x\"y"]}', '5', null, '"s"']::jsonb[] ]])
        end)

        it("reads an array of 100,000 elements", function()
            local list = value "select array_agg(i) from generate_series(1, 100000) i"
            assert.equal(100000, #list)
            assert.equal(100000, list[100000])
        end)
    end)

    describe("of JSON", function()
        it("gives nested values", function()
            local text = [[{"a":[1,2.5,{"b":null}],"t":true,"f":false,"s":"\u00e9\"\\\n","e":[],"o":{}}]]
            local doc = { a = { 1, 2.5, { b = tidepool.null } }, t = true, f = false, s = "é\"\\\n", e = {}, o = {} }
            for _, type in ipairs{ "json", "jsonb" } do
                assert.same(doc, value("select $1::" .. type, text))
            end
        end)

        it("gives scalars at the top", function()
            assert_number(5, value "select '5'::json")
            assert_number(5.5, value "select '5.5'::json")
            assert.equal("x", value [[select '"x"'::jsonb]])
            assert.is_false(value "select 'false'::json")
        end)

        it("gives integers of 64 bits exactly, and all other numbers as floats", function()
            local list = value [[select '[1, -7, 9007199254740993, -9007199254740993, 9223372036854775807,
                -9223372036854775808, 9223372036854775808, -9223372036854775809, 123456789012345678901234567890,
                1.0, 0.1, 1e2, 1E+2, 5e-324, 1e300, -2.5e-3]'::json]]
            local expected = {
                1, -7, portable.int8 "9007199254740993", portable.int8 "-9007199254740993", portable.maxinteger,
                portable.mininteger, 2.0 ^ 63, -2.0 ^ 63, 123456789012345678901234567890,
                1.0, 0.1, 100.0, 100.0, 5e-324, 1e300, -0.0025,
            }
            assert.equal(#expected, #list)
            for i, number in ipairs(expected) do
                assert_number(number, list[i])
            end
        end)

        it("gives -0 as the integer 0, keeps the sign of -0.0, and makes what is out of range infinite", function()
            assert_number(0, value "select '-0'::json")
            assert_number(-math.huge, 1 / value "select '-0.0'::json")
            assert_number(math.huge, value "select '1e400'::json")
            assert_number(-math.huge, value "select '[-1e400]'::json"[1])
            assert_number(0.0, value "select '1e-400'::json")
            assert_number(math.huge, value("select repeat('9', 1000)::json"))
            assert_number(1.0, value("select ('1' || repeat('0', 300) || 'e-300')::json"))
        end)

        it("sends back what it read: [] and {}, integers to the last digit, nulls", function()
            for _, text in ipairs{
                "[]", "{}", "[[], {}, [[]], [{}]]", '{"a": []}', '{"a": {}}', "[null]", '{"a": null}', "null",
                portable.has_integers and "[9223372036854775807, -9223372036854775808, 9007199254740993]"
                    or "[9007199254740992, -9007199254740992, 0]",
                '[0.1, 1.5, "", "\\u0001", true, false]',
                '{"1": "a", "2": "b"}',
            } do
                local doc = value("select $1::text::jsonb", text)
                assert.is_true(value("select $1::jsonb = $2::text::jsonb", tidepool.json(doc), text), text)
            end
        end)

        it("marks every array, so that one which was emptied is still an array", function()
            local doc = value [[select '{"tags": ["a", "b"], "object": {"x": 1}}'::jsonb]]
            assert.equal(tidepool.array_mt, getmetatable(doc.tags))
            assert.is_nil(getmetatable(doc.object))
            assert.equal(2, #doc.tags)
            table.remove(doc.tags)
            table.remove(doc.tags)
            doc.object.x = nil
            assert.is_nil(next(doc.tags))
            assert.equal('{"tags": [], "object": {}}', value("select $1::jsonb::text", doc))
        end)

        it("keeps the place of each null in an array", function()
            local list = value "select '[null, 1, null]'::json"
            assert.equal(3, #list)
            assert.equal(tidepool.null, list[1])
            assert.equal(tidepool.null, list[3])
        end)

        it("takes the last of several members with one name", function()
            assert.same({ a = 3, b = 2 }, value [[select '{"a": 1, "b": 2, "a": 3}'::json]])
            assert.same({ a = tidepool.null }, value [[select '{"a": {"b": 1}, "\u0061": null}'::json]])
        end)

        it("reads every escape, and pairs of surrogates", function()
            assert.equal('"\\/\b\f\n\r\t', value [[select '"\"\\\/\b\f\n\r\t"'::json]])
            assert.equal("A" .. utf8(0x7f, 0x80, 0x7ff, 0x800, 0xffff),
                value [[select '"\u0041\u007F\u0080\u07ff\u0800\uFFFF"'::json]])
            assert.equal(utf8(0x10000, 0x20, 0x1f30a, 0x20, 0x10ffff),
                value [[select '"\ud800\udc00 \uD83C\uDF0A \udbff\udfff"'::json]])
            assert.equal("a\0b", value [[select '"a\u0000b"'::json]])
            assert.same({ ["é\n"] = "🌊" }, value [[select '{"\u00e9\n": "🌊"}'::json]])
        end)

        -- jsonb refuses them, as does json from PostgreSQL's own functions, but a json column may hold them.
        it("gives U+FFFD for half a pair of surrogates", function()
            local strange = utf8(0xfffd)
            local cases = {
                [ [["\ud800"]] ] = strange, [ [["\udc00x"]] ] = strange .. "x",
                [ [["\udc00\ud800"]] ] = strange .. strange, [ [["\ud800\ud83c\udf0a"]] ] = strange .. "🌊",
                [ [["\ud800\u0041"]] ] = strange .. "A", [ [["\ud800\n"]] ] = strange .. "\n",
            }
            for text, expected in pairs(cases) do
                assert.equal(expected, value("select $1::text::json", text))
            end
        end)

        it("reads strings longer than any buffer, with and without escapes", function()
            assert.equal(("x"):rep(100000), value "select to_json(repeat('x', 100000))")
            assert.equal(("x\n"):rep(100000), value "select to_json(repeat(E'x\\n', 100000))")
            assert.equal(("🌊"):rep(1000), value [[select ('"' || repeat('\ud83c\udf0a', 1000) || '"')::json]])
        end)

        it("reads json however its white space is", function()
            assert.same({ a = { 1, { b = true } }, c = "d" },
                value("select $1::text::json", ' \t\r\n{ "a"\n:\t[ 1 ,\r\n{"b" : true } ] , "c":"d"\n}\n '))
            assert.same({}, value "select E'[ \\n ]'::json")
            assert.equal(7, value "select ' 7 '::json")
        end)

        it("reads objects and arrays of 100,000 entries", function()
            local list = value "select json_agg(json_build_object('i', i)) from generate_series(1, 100000) i"
            assert.equal(100000, #list)
            assert.same({ i = 100000 }, list[100000])
            local object = value "select json_object_agg(i::text, i) from generate_series(1, 100000) i"
            assert.equal(1, object["1"])
            assert.equal(100000, object["100000"])
        end)

        it("reads documents that are 512 levels deep", function()
            for _, around in ipairs{ { "[", "]", 1 }, { '{"a":', "}", "a" } } do
                local deep = value("select $1::json", around[1]:rep(512) .. "7" .. around[2]:rep(512))
                local depth = 0
                while type(deep) == "table" do
                    deep, depth = deep[around[3]], depth + 1
                end
                assert.equal(512, depth)
                assert.equal(7, deep)
            end
        end)

        it("reports a document that is deeper, and the connection stays usable", function()
            local conn = assert(db:acquire())
            local result, err = conn:query("select 1 as a, $1::json as doc", ("["):rep(513) .. ("]"):rep(513))
            local after = conn:value "select 1"
            conn:release()
            assert.is_nil(result)
            assert.equal("database", err.kind)
            assert.equal("doc", err.column)
            assert.match("nested too deeply at byte 513", err.message)
            assert.equal(1, after)
        end)
    end)

    describe("of a result", function()
        it("is a list of rows by column name, with count, command and columns", function()
            local result = rows "select i as id, 'n' || i as name from generate_series(1, 3) i"
            assert.equal(3, #result)
            assert.equal(3, result.count)
            assert.equal("SELECT", result.command)
            assert.same({ id = 2, name = "n2" }, result[2])
            assert.same({ { name = "id", type = "int4", oid = 23 }, { name = "name", type = "text", oid = 25 } },
                result.columns)
        end)

        it("has rows as lists where asked", function()
            local result = rows{ "select 1 as a, 'x' as b, null as c, 4 as d", as = "arrays" }
            assert.equal(1, result[1][1])
            assert.equal("x", result[1][2])
            assert.is_nil(result[1][3])
            assert.equal(4, result[1][4])
            assert.equal(4, #result.columns)
            assert.same({ 1, tidepool.null }, rows{ "select 1, null", as = "arrays", nulls = true }[1])
        end)

        it("is an empty list with columns when no row matches", function()
            local result = rows "select 1 as a where false"
            assert.equal(0, #result)
            assert.equal(0, result.count)
            assert.equal("a", result.columns[1].name)
            assert.is_nil(result[1])
        end)

        it("is an empty list with count and command for a statement without rows", function()
            local conn = assert(db:acquire())
            local created = assert(conn:query "create temp table decode_t (id int)")
            local inserted = assert(conn:query "insert into decode_t select generate_series(1, 7)")
            local returned = assert(conn:query("delete from decode_t where id <= $1 returning id", 2))
            local done = assert(conn:exec("update decode_t set id = id + 1"))
            assert(conn:exec "drop table decode_t")
            conn:release()
            assert.same({ count = 0, command = "CREATE TABLE", columns = {} }, created)
            assert.same({ count = 7, command = "INSERT", columns = {} }, inserted)
            assert.equal("DELETE", returned.command)
            assert.same({ id = 1 }, returned[1])
            assert.equal(2, #returned)
            assert.same({ count = 5, command = "UPDATE" }, done)
        end)

        it("keeps columns called count, command and columns out of its own fields", function()
            local result = rows "select 10 as count, 'c' as command, 'd' as columns"
            assert.same({ count = 10, command = "c", columns = "d" }, result[1])
            assert.equal(1, result.count)
        end)

        it("has the last of several columns with one name", function()
            assert.same({ a = 2 }, rows "select 1 as a, 2 as a"[1])
            assert.same({}, rows "select 1 as a, null as a"[1])
            assert.same({ 1, 2 }, rows{ "select 1 as a, 2 as a", as = "arrays" }[1])
        end)

        it("has names with any characters", function()
            assert.same({ ["Ünï \"x\""] = 1, ["?column?"] = 2 }, rows [[select 1 as "Ünï ""x""", 2]][1])
        end)

        it("may have 1,600 columns", function()
            local list = {}
            for i = 1, 1600 do
                list[i] = i .. " as c" .. i
            end
            local result = rows("select " .. table.concat(list, ", ") .. " from generate_series(1, 2)")
            assert.equal(1600, #result.columns)
            assert.equal(1600, result[2].c1600)
            assert.equal(1, result[2].c1)
        end)

        it("names a type of the database's own", function()
            local conn = assert(db:acquire())
            assert(conn:exec "create type pg_temp.colour as enum ('red')")
            local result = assert(conn:query "select 'red'::pg_temp.colour as c")
            conn:release()
            assert.equal("colour", result.columns[1].type)
            assert.is_true(result.columns[1].oid >= 16384)
        end)

        it("gives one row or one value", function()
            assert.same({ a = 1, b = "x" }, db:one "select 1 as a, 'x' as b union all select 2, 'y' order by a")
            assert.is_nil((db:one "select 1 where false"))
            assert.is_nil((db:value "select 1 where false"))
            assert.equal(1, value "select 1, 2")
            assert.same({ 1, 2 }, db:one{ "select 1, 2", as = "arrays" })
        end)
    end)
end)
