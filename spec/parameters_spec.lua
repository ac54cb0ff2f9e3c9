--- What Lua has becomes what the server expects of a parameter.
local tidepool = require "tidepool"
local portable = require "spec.support.portable"
local server = require "spec.support.server"

local null, json, array = tidepool.null, tidepool.json, tidepool.array

describe("parameters", function()
    local db, conn

    setup(function()
        db = assert(tidepool.open{ url = server.url(), log = { queries = false } })
        conn = assert(db:acquire())
        server.psql [[
            create schema parameters_spec;
            create type parameters_spec.level as enum ('low', 'high');
            create type parameters_spec.part as (name text, weight float4);
            create type parameters_spec.item as (id int4, part parameters_spec.part, tags text[], doc jsonb, raw bytea);
            create type parameters_spec.event as (id int2, at timestamptz);
            create domain parameters_spec.positive as int4 check (value > 0);
        ]]
        assert(conn:exec "set search_path = parameters_spec, public")
    end)

    teardown(function()
        conn:release()
        db:close()
        server.psql "drop schema parameters_spec cascade"
    end)

    -- The value of a query that must succeed; nil is allowed.
    local function value(sql, ...)
        local result, err = conn:value(sql, ...)
        assert.is_nil(err, tostring(err))
        return result
    end

    -- The text that the server has for `v` as a value of `type`.
    local function text(type, v)
        return value(("select ($1::%s)::text"):format(type), v)
    end

    -- A validation error with these words, after which the same backend serves on.
    local function refused(words, sql, ...)
        local pid = value "select pg_backend_pid()"
        local result, err = conn:query(sql, ...)
        assert.is_nil(result)
        assert.is_table(err, "no error for: " .. words)
        assert.equal("validation", err.kind, tostring(err))
        assert.is_truthy(err.message:find(words, 1, true), ("%q is not in %q"):format(words, err.message))
        assert.equal(pid, value "select pg_backend_pid()")
    end

    local function refused_as(type, v, words)
        refused("parameter $2: " .. words, ("select $1::int, $2::%s"):format(type), 1, v)
    end

    describe("that stand for NULL", function()
        it("are nil and tidepool.null, of any type, in any place", function()
            for _, type in ipairs{ "int4", "text", "bytea", "jsonb", "int[]", "bool", "timestamptz", "uuid" } do
                assert.is_true(value(("select ($1::%s) is null"):format(type), nil))
                assert.is_true(value(("select ($1::%s) is null"):format(type), null))
            end
            assert.same({ a = 1, c = 3 },
                conn:one("select $1::int as a, $2::int as b, $3::int as c, $4::int as d", 1, nil, 3, nil))
        end)
    end)

    describe("that are booleans", function()
        it("go to bool, text, JSON and untyped places", function()
            assert.is_true(value("select $1::bool", true))
            assert.is_false(value("select $1::bool", false))
            assert.equal("true", text("text", true))
            assert.equal("false", text("varchar", false))
            assert.equal("true", text("jsonb", true))
            assert.equal("false", value("select $1", false))
        end)

        it("are refused where no boolean can be meant", function()
            for _, type in ipairs{ "int4", "float8", "numeric", "bytea", "int4[]" } do
                refused_as(type, true, "a boolean cannot be sent as " .. type)
            end
        end)
    end)

    describe("that are integers", function()
        it("go to integer types to their extremes", function()
            local extremes = {
                int2 = { -32768, 32767 }, int4 = { -2147483648, 2147483647 },
                int8 = { portable.mininteger, portable.maxinteger }, oid = { 0, 4294967295 },
            }
            for type, numbers in pairs(extremes) do
                for _, number in ipairs(numbers) do
                    assert.equal(number, value(("select $1::%s"):format(type), number))
                end
            end
        end)

        it("are refused when they are out of range", function()
            refused_as("int2", 32768, "32768 is out of range for int2")
            refused_as("int2", -32769, "-32769 is out of range for int2")
            refused_as("int4", 2147483648, "2147483648 is out of range for int4")
            refused_as("int4", -2147483649, "-2147483649 is out of range for int4")
            refused_as("oid", -1, "-1 is out of range for oid")
            refused_as("oid", 4294967296, "4294967296 is out of range for oid")
            refused_as("int8", 2.0 ^ 63, "9.223372036854776e+18 is out of range for int8")
        end)

        it("go to other types as decimal text", function()
            assert.equal("9223372036854775807", text("numeric", portable.maxinteger))
            assert.equal("-12", text("text", -12))
            assert.equal("7", text("jsonb", 7))
            assert.equal(7.0, value("select $1::float8", 7))
        end)
    end)

    describe("that are floats", function()
        it("go to float8 and come back exactly", function()
            local numbers = {
                0.1, 1 / 3, 2 / 3, math.pi, 1e15, 1e-300, 5e-324, portable.maxnumber, 2.0 ^ 53, 2.0 ^ 53 + 2,
                -1.5, 123456789.123456789,
            }
            math.randomseed(20240229)
            for _ = 1, 200 do
                numbers[#numbers + 1] = (math.random() - 0.5) * 2 ^ math.random(-1000, 1000)
            end
            for _, number in ipairs(numbers) do
                assert.equal(number, value("select $1::float8", number))
            end
        end)

        it("go as NaN and the infinities where the type has them", function()
            local nan = value("select $1::float8", 0 / 0)
            assert.is_true(nan ~= nan)
            assert.equal(math.huge, value("select $1::float8", math.huge))
            assert.equal(-math.huge, value("select $1::float4", -math.huge))
            assert.equal("NaN", text("numeric", 0 / 0))
            assert.equal("-inf", tostring(1 / value("select $1::float8", portable.minus_zero)))
        end)

        it("go to integer types when they are integral", function()
            assert.equal(5, value("select $1::int4", 5.0))
            assert.equal(-32768, value("select $1::int2", -32768.0))
            assert.equal(portable.mininteger, value("select $1::int8", -2.0 ^ 63))
            assert.equal(0, value("select $1::int4", portable.minus_zero))
            assert.equal(9007199254740992, value("select $1::int8", 2.0 ^ 53))
        end)

        it("are refused by integer types when they are not", function()
            refused_as("int4", 1.5, "1.5 is no integer and cannot be sent as int4")
            refused_as("int8", 0 / 0, "NaN is no integer")
            refused_as("int2", math.huge, "Infinity is no integer")
            refused_as("oid", -math.huge, "-Infinity is no integer")
        end)

        it("go to float4 as the nearest one, and are refused beyond its range", function()
            assert.equal(0.1, value("select $1::float4", 0.1))
            assert.equal(16777216.0, value("select $1::float4", 16777217))
            assert.equal(1e-45, value("select $1::float4", 1e-45))
            assert.same({ 0.5, 1.0, 0.1 }, value("select $1::float4[]", { 0.5, 1, 0.1 }))
            refused_as("float4", 1e39, "1e+39 is out of range for float4")
            refused_as("float4", -1e-46, "-1e-46 is out of range for float4")
            refused_as("float4[]", { 1, 1e300 }, "element [2]: 1e+300 is out of range for float4")
        end)

        it("go to numeric and text in their shortest form", function()
            assert.equal("0.1", text("numeric", 0.1))
            assert.equal("0.3333333333333333", text("text", 1 / 3))
            assert.equal("2.5", text("jsonb", 2.5))
        end)

        it("are refused by JSON when they are not finite", function()
            refused_as("jsonb", 0 / 0, "NaN cannot be sent as jsonb")
            refused_as("json", math.huge, "Infinity cannot be sent as json")
        end)
    end)

    describe("that are strings", function()
        it("go to text unchanged", function()
            local strings = {
                "", "x", "it's", 'q"q', "back\\slash", "Grüße 世界 🌊", "\1\31\127", "line\nline", ("é"):rep(100000),
            }
            for _, s in ipairs(strings) do
                assert.equal(s, value("select $1::text", s))
            end
        end)

        it("go to every other type as the server reads them", function()
            assert.equal(42, value("select $1::int4", "42"))
            assert.equal("2024-02-29", value("select $1::date", "2024-02-29"))
            assert.equal("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
                value("select $1::uuid", "A0EEBC999C0B4EF8BB6D6BB9BD380A11"))
            assert.same({ 1, 2 }, value("select $1::int[]", "{1,2}"))
            assert.is_true(value("select $1::bool", "yes"))
            assert.equal("1.50", value("select $1::numeric", "1.50"))
        end)

        it("go to JSON as JSON text", function()
            assert.same({ a = 1 }, value("select $1::jsonb", '{"a": 1}'))
            assert.equal("x", value("select $1::json", '"x"'))
        end)

        it("go to bytea byte by byte", function()
            local all = {}
            for byte = 0, 255 do
                all[#all + 1] = string.char(byte)
            end
            all = table.concat(all)
            assert.equal(all, value("select $1::bytea", all))
            assert.equal(256, value("select length($1::bytea)", all))
            assert.equal("", value("select $1::bytea", ""))
            assert.equal("\\x6162", value("select $1::bytea", "\\x6162"))
            assert.equal(1000000, value("select length($1::bytea)", ("\0"):rep(1000000)))
        end)

        it("are refused with a NUL byte, which libpq would cut at", function()
            refused_as("text", "a\0b", "text with a NUL byte cannot be sent")
            refused_as("int4", "1\0", "text with a NUL byte")
            refused_as("jsonb", "1\0", "text with a NUL byte")
            refused("parameter $1: text with a NUL byte", "select $1", "\0")
        end)

        it("are refused when they are not valid UTF-8", function()
            for _, bad in ipairs{ "\255", "a\128", "\195", "\192\175", "\237\160\128", "\244\144\128\128" } do
                refused_as("text", bad, "text that is not valid UTF-8 cannot be sent")
            end
        end)

        it("that the server refuses give the server's error", function()
            local result, err = conn:value("select $1::int4", "forty-two")
            assert.is_nil(result)
            assert.equal("database", err.kind)
            assert.equal("22P02", err.code)
        end)
    end)

    describe("that are tables for JSON", function()
        local function round(v)
            return value("select $1::jsonb", v)
        end

        it("come back as they were", function()
            local doc = {
                id = 9007199254740992, list = { 1, 2.5, "x", true, false, null, { k = "v" } },
                text = "\"\\/\b\f\n\r\té🌊", ["odd key\""] = 1,
            }
            assert.same(doc, round(doc))
            assert.same({ { { { 1 } } } }, round{ { { { 1 } } } })
        end)

        it("are sent exactly", function()
            assert.equal("[9007199254740992, -9007199254740992, 0]",
                text("jsonb", { 9007199254740992, -9007199254740992, 0 }))
            if portable.has_integers then
                assert.equal("[9223372036854775807, -9223372036854775808, 9007199254740993]",
                    text("jsonb", { portable.maxinteger, portable.mininteger, 9007199254740993 }))
            end
            assert.equal("[0.1, 0.3333333333333333, 1234567.8901234567]",
                text("jsonb", { 0.1, 1 / 3, 1234567.8901234567 }))
            assert.equal([=[["\"\\\b\f\n\r\t\u0001\u001f"]]=], text("json", { "\"\\\b\f\n\r\t\1\31" }))
        end)

        it("are {} when empty, or [] when tidepool.array marked them", function()
            assert.equal("{}", text("json", {}))
            assert.equal("[]", text("json", array()))
            assert.equal("[]", text("json", array{}))
            assert.equal('{"a":[],"b":{}}', (text("jsonb", { a = array{}, b = {} }):gsub("%s", "")))
            assert.equal("[1,2]", text("json", array{ 1, 2 }))
            assert.equal("[]", text("json", setmetatable({}, tidepool.array_mt)))
        end)

        it("may nest 128 levels", function()
            local deep = 1
            for _ = 1, 128 do
                deep = { deep }
            end
            assert.equal(("["):rep(128) .. "1" .. ("]"):rep(128), text("json", deep))
            refused("nested too deeply or cyclic", "select $1::json", { deep })
        end)

        it("are refused with the path to what has no JSON form", function()
            refused_as("jsonb", { items = { 1, 2, { callback = print } } },
                "$.items[3].callback: a function cannot be written as JSON")
            refused_as("jsonb", { ["a b"] = { coroutine.create(function() end) } },
                '$["a b"][1]: a thread cannot be written as JSON')
            refused_as("jsonb", { file = io.stdout }, "$.file: a userdata cannot be written as JSON")
            refused_as("jsonb", { x = 0 / 0 }, "$.x: NaN cannot be written as JSON")
            refused_as("jsonb", { x = -math.huge }, "$.x: -Infinity cannot be written as JSON")
            refused_as("jsonb", { x = "\255" }, "$.x: a string that is not valid UTF-8")
            refused_as("jsonb", { ["\255"] = 1 }, "$[")
        end)

        it("are refused with keys that are neither a list's nor an object's", function()
            refused_as("jsonb", { 1, nil, 3 }, "the list has no element [2]")
            refused_as("jsonb", { a = { 1, [5] = 1 } }, "$.a: the list has no element [2]")
            refused_as("jsonb", { 1, a = 2 }, "a table with both integer and string keys")
            refused_as("jsonb", { [0] = 1 }, "the key 0 is below 1")
            refused_as("jsonb", { [1.5] = 1 }, "a fraction cannot be a key in JSON")
            refused_as("jsonb", { [true] = 1 }, "a boolean cannot be a key in JSON")
            local marked = array()
            marked.x = 1
            refused_as("jsonb", marked, "a table that tidepool.array marked has string keys")
        end)

        it("are refused when they are cyclic", function()
            local object, list = {}, {}
            object.self, list[1] = object, list
            refused("nested too deeply or cyclic", "select $1::jsonb", object)
            refused("nested too deeply or cyclic", "select $1::jsonb", list)
        end)
    end)

    describe("that tidepool.json wraps", function()
        it("are sent as JSON, whatever they are", function()
            assert.equal('"x"', text("jsonb", json "x"))
            assert.equal("5", text("json", json(5)))
            assert.equal("true", text("json", json(true)))
            assert.equal("null", text("jsonb", json(null)))
            assert.equal("null", text("jsonb", json(nil)))
            assert.equal('{"a":1}', text("text", json{ a = 1 }))
            assert.equal('{"a":[2]}', text("json", { a = json{ json(2) } }))
            assert.equal("[1]", value("select $1::bytea", json{ 1 }))
        end)

        it("are refused when they have no JSON form", function()
            refused_as("jsonb", json(print), "a function cannot be written as JSON")
            refused_as("text", json{ print }, "$[1]: a function cannot be written as JSON")
        end)
    end)

    describe("that are tables for arrays", function()
        local function round(type, v)
            assert.same(v, value(("select $1::%s[]"):format(type), v))
        end

        it("come back as they were", function()
            round("int2", { -32768, 0, 32767 })
            round("int4", { 1, null, 3 })
            round("int8", { portable.mininteger, portable.maxinteger })
            round("bool", { true, false, null })
            round("float8", { 0.1, 1 / 3, math.huge, -math.huge, 5.0 })
            round("numeric", { "1.50", "NaN" })
            round("text", { "a", 'q"b\\', "", "NULL", "null", "{,}", " pad ", "é🌊", "\n\t", "'", null })
            round("bytea", { "\0\1\255", "", "\\x", null })
            round("uuid", { "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11" })
            round("date", { "2024-02-29", null })
            round("timestamp", { "2024-02-29 12:00:00" })
            round("box", { "(1,1),(0,0)", "(3,3),(2,2)" })
            round("int4", {})
        end)

        it("nest to dimensions", function()
            round("int4", { { 1, 2 }, { 3, null } })
            round("text", { { { "a", "b" } }, { { "c", 'd"' } } })
            round("int4", { { { { { { 7 } } } } } })
            assert.same({}, value("select $1::int[]", { {}, {} }))
        end)

        it("convert each element as a parameter of the element's type", function()
            assert.same({ "1", "2.5", "true", "x" }, value("select $1::text[]", { 1, 2.5, true, "x" }))
            assert.same({ 1, 2 }, value("select $1::int[]", { 1.0, "2" }))
            assert.same({ 1, 16 }, value("select $1::int[]", { 1, " 16 " }))
            assert.same({ 1.5, 2.0 }, value("select $1::float8[]", { "1.5", 2 }))
            assert.same({ true, false, true }, value("select $1::bool[]", { 1, 0, "yes" }))
            assert.same({ "1", "2.50", "1e3" }, value("select $1::text[]", { 1, "2.50", "1e3" }))
            assert.same({ "1", "2.50", "1000" }, value("select $1::numeric[]", { 1, "2.50", "1e3" }))
            assert.same({ ("x"):rep(63) }, value("select $1::name[]", { ("x"):rep(70) }))
            assert.same({ 5.0 }, value("select $1::float8[]", { 5 }))
            assert.same({ "[1]" }, value("select $1::text[]", { json{ 1 } }))
        end)

        it("hold documents when the elements are JSON", function()
            round("jsonb", { { a = 'x"y' }, { 1, 2 }, null, 5, true })
            assert.same({ "s", { k = 1 } }, value("select $1::json[]", { json "s", '{"k":1}' }))
        end)

        it("serve in any()", function()
            assert.equal(2, value("select count(*) from generate_series(1, 5) i where i = any($1)", { 2, 4, 99 }))
        end)

        it("may have a length in the field n", function()
            assert.same({ 1, 2 }, value("select $1::int[]", portable.pack(1, 2)))
            assert.same({}, value("select $1::int[]", portable.pack()))
            refused_as("int[]", portable.pack(1, nil), "the list has no element [2] (tidepool.null stands for NULL)")
            refused_as("int[]", { 1, 2, n = 1 }, "the list has an element [2], but its n is 1")
        end)

        it("may have 100,000 elements", function()
            local list = {}
            for i = 1, 100000 do
                list[i] = i
            end
            assert.equal(5000050000, value("select sum(x)::int8 from unnest($1::int8[]) x", list))
        end)

        it("are refused when they are ragged or of mixed depth", function()
            refused_as("int[]", { { 1, 2 }, { 3 } },
                "element [2]: the list has length 1, the first one beside it has length 2")
            refused_as("int[]", { 1, { 2 } }, "element [2]: a list stands where other elements are plain values")
            refused_as("int[]", { { 1 }, 2 }, "element [2]: a plain value stands where other elements are lists")
            refused_as("int[]", { { 1 }, null }, "element [2]: a plain value")
            refused_as("int[]", { {}, { 1 } }, "element [2]: the list has length 1")
        end)

        it("are refused with holes or other keys", function()
            refused_as("int[]", { 1, nil, 3 }, "the list has no element [2]")
            refused_as("int[]", { { 1 }, { [2] = 1 } }, "element [2]: the list has no element [1]")
            refused_as("int[]", { x = 1 }, "a table with string keys is no array")
            refused_as("int[]", { [0] = 1 }, "a table with keys other than 1, 2, 3, ... is no array")
            refused_as("int[]", { 1, [2.5] = 1 }, "a table with keys other than")
        end)

        it("are refused with the place of the element that cannot be sent", function()
            refused_as("int[]", { 1, 2147483648 }, "element [2]: 2147483648 is out of range for int4")
            refused_as("text[]", { { "a", "b\0" } }, "element [1][2]: text with a NUL byte cannot be sent")
            refused_as("text[]", { "\255" }, "element [1]: text that is not valid UTF-8")
            refused_as("int[]", { print }, "element [1]: a function cannot be sent")
            refused_as("jsonb[]", { { a = print } }, "element [1]: $.a: a function cannot be written as JSON")
            refused_as("bool[]", { true, {} }, "element [2]: a list stands")
        end)

        it("are refused beyond six dimensions, and so when they are cyclic", function()
            local cycle = {}
            cycle[1] = cycle
            refused("an array has at most 6 dimensions", "select $1::int[]", { { { { { { { 1 } } } } } } })
            refused("an array has at most 6 dimensions", "select $1::int[]", cycle)
        end)

        it("take no plain value in place of the list", function()
            refused_as("int[]", 5, "a number cannot be sent as int4[]")
        end)
    end)

    describe("that are of types that the database defines", function()
        it("are enums and domains, alone and in lists", function()
            assert.equal("high", value("select $1::level", "high"))
            assert.same({ "low", null }, value("select $1::level[]", { "low", null }))
            assert.same({ { "low" }, { "high" } }, value("select $1::level[]", { { "low" }, { "high" } }))
            assert.equal(5, value("select $1::positive", 5.0))
            assert.same({ 1, 2 }, value("select $1::positive[]", { 1, 2 }))
            refused_as("positive", 2147483648, "2147483648 is out of range for positive")
            local _, err = conn:value("select $1::positive", 0)
            assert.equal("23514", err.code)
            assert.equal("22P02", select(2, conn:value("select $1::level[]", { "middle" })).code)
        end)

        it("are composite values by field name and by position", function()
            local written = "select format('%s', $1::item)"
            local sent = { id = 1, part = { name = "a", weight = 2 }, tags = { "x", "y" }, doc = { 1 }, raw = "\0" }
            assert.equal('(1,"(a,2)","{x,y}",[1],"\\\\x00")', value(written, sent))
            sent = { 1, { "a", 2 }, { "x", "y" }, { 1 }, "\0" }
            assert.equal('(1,"(a,2)","{x,y}",[1],"\\\\x00")', value(written, sent))
            assert.equal('(,"(,)",,,)', value(written, { part = {} }))
            assert.equal("(,,,,)", value(written, {}))
            assert.equal("(,,,,)", value(written, { null, null, nil, null }))
            assert.equal("(,,,5,)", value(written, { [4] = 5 }))
            assert.equal('(7,,,"""x""",)', value(written, { id = 7.0, part = null, doc = json "x" }))
            assert.equal("(3,,,,)", value(written, "(3,,,,)"))
            assert.equal('(2,"2024-02-29 12:00:00+00")',
                value("select format('%s', $1::event)", { id = 2, at = "2024-02-29 12:00+00" }))
        end)

        it("are lists of composite values in any form", function()
            local written = "select format('%s', $1::part[])"
            assert.equal('{"(a,1)",NULL,"(b,)"}', value(written, { { name = "a", weight = 1 }, null, { "b" } }))
            assert.equal('{"(a,1)","(,2)"}', value(written, { { "a", 1 }, { null, 2 } }))
            assert.equal('{{"(a,1)"},{"(,2)"}}', value(written, { { { "a", 1 } }, { { weight = 2 } } }))
            assert.equal('{"(,)"}', value(written, { {} }))
            assert.equal("{}", value(written, {}))
            assert.equal("{{NULL,NULL}}", value(written, { { null, null } }))
            assert.equal('{"(1,\\"2024-01-01 00:00:00+00\\")","(,)"}',
                value("select format('%s', $1::event[])", { { 1, "2024-01-01 00:00+00" }, {} }))
            assert.equal(10000, value("select count(*) from unnest($1::part[]) p where p.weight is not null",
                (function()
                    local list = {}
                    for i = 1, 10000 do
                        list[i] = { name = "n" .. i, weight = i }
                    end
                    return list
                end)()))
        end)

        it("are refused with fields that the type has not, and with what a field does not take", function()
            refused_as("item", { id = 1, colour = "red" }, 'the composite type item has no field "colour"')
            refused_as("item", { ID = 1 }, 'the composite type item has no field "ID"')
            refused_as("item", { ["id\0"] = 1 }, "the composite type item has no field")
            refused_as("item", { part = { nme = "x" } }, 'field "part": the composite type part has no field "nme"')
            refused_as("part[]", { {}, { weigth = 1 } }, 'element [2]: the composite type part has no field "weigth"')
            refused_as("part", { 1, 2, 3 }, "the composite type part has 2 fields, and no field [3]")
            refused_as("part", { [0] = 1 }, "the composite type part has 2 fields, and no field [0]")
            refused_as("part", { "a", weight = 1 }, "a composite value has either field names or positions, not both")
            refused_as("part", { [1.5] = 1 }, "a fraction is no key of a composite value")
            refused_as("part", { [{}] = 1 }, "a table is no key of a composite value")
            refused_as("item", { id = 2147483648 }, 'field "id": 2147483648 is out of range for int4')
            refused_as("item", { id = 1.5 }, 'field "id": 1.5 is no integer')
            refused_as("item", { tags = { "a", {} } }, 'field "tags": element [2]: a list stands where')
            refused_as("item", { doc = { f = print } }, 'field "doc": $.f: a function cannot be written as JSON')
            refused_as("item", { part = { name = "\0" } }, 'field "part": field "name": text with a NUL byte')
            refused_as("event", { id = 70000 }, 'field "id": 70000 is out of range for int2')
            refused_as("event", { at = {} }, 'field "at": a table cannot be sent as timestamptz')
            local cycle = {}
            cycle.part = cycle
            refused_as("item", cycle, 'field "part": the composite type part has no field "part"')
        end)

        it("are hstore tables", function()
            if server.psql "select count(*) from pg_available_extensions where name = 'hstore'" == "0" then
                pending "PostgreSQL's contrib modules are not installed"
                return
            end
            server.psql "create extension if not exists hstore schema public"
            assert.same({ a = "1", b = "x", c = null, d = "false", e = "2.5" },
                value("select $1::hstore", { a = 1, b = "x", c = null, d = false, e = 2.5 }))
            assert.equal('"a"=>"1"', text("hstore", { a = 1 }))
            refused_as("hstore", { "a" }, "the keys of an hstore are strings")
            refused_as("hstore", { a = { 1 } }, 'key "a": a table cannot be sent as hstore')
            refused_as("hstore", { a = print }, 'key "a": a function cannot be sent')
            refused_as("hstore", { a = "\255" }, 'key "a": text that is not valid UTF-8')
            refused_as("hstore", { ["a\0"] = 1 }, 'key "a ": text with a NUL byte')
            refused_as("hstore", 5, "a number cannot be sent as hstore")
            refused_as("hstore[]", { { a = 1 }, { b = {} } }, 'element [2]: key "b": a table')
        end)
    end)

    describe("that cannot be sent", function()
        it("are named", function()
            for _, type in ipairs{ "int4", "text", "jsonb", "bytea", "int[]" } do
                refused_as(type, print, "a function cannot be sent")
                refused_as(type, coroutine.create(function() end), "a thread cannot be sent")
                refused_as(type, io.stdout, "a userdata cannot be sent")
            end
            refused_as("int4", {}, "a table cannot be sent as int4")
            refused_as("text", { 1 }, "a table cannot be sent as text")
            refused_as("bytea", { 1 }, "a table cannot be sent as bytea")
            refused_as("timestamptz", { year = 2024 }, "a table cannot be sent as timestamptz")
            refused_as("bytea", 5, "a number cannot be sent as bytea")
            refused_as("int4range", 5, "a number cannot be sent as int4range")
            refused_as("int4range", { 1, 2 }, "a table cannot be sent as int4range")
            refused_as("part", 5, "a number cannot be sent as part")
            refused_as("part", true, "a boolean cannot be sent as part")
        end)

        it("do not end the transaction that they were meant for", function()
            assert(conn:exec "begin")
            refused_as("int4", print, "a function cannot be sent")
            assert.equal(1, value "select 1")
            assert(conn:exec "rollback")
        end)
    end)

    describe("in number", function()
        it("have to be what the statement takes", function()
            refused("the statement has 2 parameters, 3 were given", "select $1::int, $2::int", 1, 2, 3)
            refused("the statement has 2 parameters, 1 was given", "select $1::int, $2::int", 1)
            refused("the statement has 1 parameter, 0 were given", "select $1::int")
            refused("the statement has 0 parameters, 1 was given", "select 1", 1)
            refused("the statement has 1 parameter, 2 were given", "select $1::int", 1, nil)
        end)

        it("may be 65,535 and no more", function()
            local marks, numbers = {}, {}
            for i = 1, 65535 do
                marks[i], numbers[i] = "$" .. i .. "::int", i
            end
            local function count(n)
                return "select count(*) from unnest(array[" .. table.concat(marks, ",", 1, n) .. "])"
            end
            -- libpq 15 loses the connection over a description of more than 7,498 parameters.
            local has_room = _VERSION ~= "Lua 5.1" -- whose functions take 8,000 arguments at most
            for _, n in ipairs{ 7498, 7499, has_room and 65535 or 7900 } do
                assert.equal(n, value(count(n), portable.unpack(numbers, 1, n)))
            end
            if has_room then
                numbers[65536] = 1
                refused("65535", count(65535), portable.unpack(numbers))
            end
        end)
    end)

    describe("constructors", function()
        it("raise an error when they are misused", function()
            assert.has_error(function() json() end)
            assert.has_error(function() array(5) end)
            assert.has_error(function() array(setmetatable({}, {})) end)
        end)

        it("return the same table, marked", function()
            local t = { 1 }
            assert.equal(t, array(t))
            assert.equal(t, array(t))
            assert.equal(tidepool.array_mt, getmetatable(t))
        end)

        it("have a null that is one light userdata", function()
            assert.equal("userdata", type(null))
            assert.equal(null, require "cjson".null)
        end)
    end)
end)
