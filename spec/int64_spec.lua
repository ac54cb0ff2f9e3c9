--- Integers of 64 bits on every Lua: none becomes another one on its way.
local tidepool = require "tidepool"
local portable = require "spec.support.portable"
local server = require "spec.support.server"

local closing = portable.closing
local has_ffi, ffi = pcall(require, "ffi")

local function open()
    return closing(assert(tidepool.open { url = server.url(), log = { queries = false } }))
end

-- What the server says a parameter was.
local function text(db, type, value)
    local said, err = db:value(("select $1::%s::text"):format(type), value)
    assert.is_nil(err, tostring(err))
    return said
end

local EDGES = {
    "9007199254740991", "9007199254740992", "9007199254740993", "-9007199254740991", "-9007199254740992",
    "-9007199254740993", "9223372036854775807", "-9223372036854775808", "4294967296", "-4294967297", "0",
}

describe("an int8", function()
    it("comes and goes exactly at every edge, in text and binary form", function()
        local db = open()
        for _, digits in ipairs(EDGES) do
            for _, sql in ipairs {
                "select '%s'::int8", "select '%s'::int8, null::money", "select ('{\"n\": %s}'::jsonb)->'n'",
            } do
                local got = db:value(sql:format(digits))
                local is_double = type(got) == "number" and not portable.has_integers
                assert.equal(digits, is_double and ("%.0f"):format(got) or tostring(got), sql)
                assert.equal(digits, text(db, "int8", got))
                assert.equal(digits, db:value("select ($1::int8[])[1]::text", { got }))
            end
        end
    end)

    it("is an integer or number where one holds it, a string of digits only where none does", function()
        local db = open()
        assert.equal("number", type(db:value "select 9007199254740992"))
        assert.equal("number", type(db:value "select -9007199254740992"))
        local kind = portable.has_integers and "number" or "string"
        assert.equal(kind, type(db:value "select 9007199254740993"))
        assert.equal(kind, type(db:value "select array[-9007199254740993]"[1]))
        assert.equal(kind, type(db:value [[select '[9007199254740993]'::json]][1]))
    end)
end)

describe("a number without a fraction", function()
    it("goes as an integer, also in lists, records and JSON", function()
        local db = open()
        local five = portable.has_integers and portable.tointeger(5) or 5.0
        assert.equal("5", text(db, "text", five))
        assert.equal("5", text(db, "numeric", five))
        assert.equal("{5,-7}", text(db, "text[]", { five, -7 }))
        assert.equal('{"a": [5, 1000000000000000]}', text(db, "jsonb", { a = { five, 1000000000000000 } }))
        assert.equal("5", text(db, "jsonb", tidepool.json(five)))
        assert(db:script "drop type if exists int64_pair; create type int64_pair as (id int8, name text)")
        assert.equal("(5,7)", text(db, "int64_pair", { id = five, name = 7 }))
        assert(db:exec "drop type int64_pair")
    end)

    it("keeps the sign of minus zero for types that have one", function()
        local db = open()
        assert.equal("-0", text(db, "float8", portable.minus_zero))
        assert.equal("0", text(db, "int8", portable.minus_zero))
    end)
end)

describe("the option int64", function()
    it("must be cdata, and there must be an FFI", function()
        local db = open()
        local function refused(value)
            local ok, err = pcall(db.query, db, { "select 1", int64 = value })
            assert.is_false(ok)
            return err
        end
        assert.truthy(refused "string":find("option 'int64' must be \"cdata\"", 1, true))
        assert.truthy(refused(true):find("option 'int64' must be \"cdata\"", 1, true))
        if has_ffi then
            assert.equal(5, db:value { "select 5::int8", int64 = "cdata" })
        else
            assert.truthy(refused "cdata":find("needs LuaJIT", 1, true))
        end
    end)
end)

if has_ffi then
    describe("an integer of LuaJIT's FFI", function()
        local int64, uint64 = ffi.typeof "int64_t", ffi.typeof "uint64_t"
        local least = -int64(2) ^ 63
        local greatest = -(least + 1)

        it("comes where the call says so and a number would not be exact", function()
            local db = open()
            local function value(sql)
                local got, err = db:value { sql, int64 = "cdata" }
                assert.is_nil(err, tostring(err))
                return got
            end
            assert.equal("number", type(value "select 9007199254740992"))
            for _, case in ipairs {
                { "9223372036854775807", greatest }, { "'-9223372036854775808'::int8", least },
                { "9007199254740993", int64(2) ^ 53 + 1 }, { "-9007199254740993", -int64(2) ^ 53 - 1 },
                { "9223372032559808512", int64(0x7fffffff) * 2 ^ 32 }, { "-4294967296000001", -4294967296000001 },
            } do
                for _, sql in ipairs { "select %s", "select %s, null::money", "select to_json(%s)" } do
                    local got = value(sql:format(case[1]))
                    assert.is_true(got == case[2], ("%s gave %s"):format(case[1], tostring(got)))
                end
            end
            assert.is_true(ffi.istype(int64, value "select array[9223372036854775807]"[1]))
            local rows = assert(db:query { "select 9223372036854775807 as i", int64 = "cdata", as = "lazy" })
            assert.is_true(rows[1].i == greatest)
            for row in db:each { "select 9223372036854775807 as i", int64 = "cdata" } do
                assert.is_true(row.i == greatest)
            end
        end)

        it("goes exactly to every type that takes numbers", function()
            local db = open()
            for _, case in ipairs { { greatest, "9223372036854775807" }, { least, "-9223372036854775808" } } do
                for _, type in ipairs { "int8", "numeric", "text", "jsonb", "json" } do
                    assert.equal(case[2], text(db, type, case[1]), type)
                end
                assert.equal("{" .. case[2] .. "}", text(db, "int8[]", { case[1] }))
                assert.equal("{" .. case[2] .. "}", text(db, "numeric[]", { case[1] }))
                assert.equal('{"n": ' .. case[2] .. "}", text(db, "jsonb", { n = case[1] }))
            end
            assert.equal("18446744073709551615", text(db, "numeric", uint64(0) - 1))
            assert.equal("7", text(db, "int4", int64(7)))
            assert.equal("7", text(db, "int2", uint64(7)))
            assert.is_true(db:value("select $1::float8 = 9007199254740992", int64(2) ^ 53))
            assert.equal(7, db:value("select $1::float8", int64(7)))
        end)

        it("is refused where it does not fit, as is any other cdata", function()
            local db = open()
            local function refused(words, type, value)
                local got, err = db:value(("select $1::%s"):format(type), value)
                assert.is_nil(got)
                assert.equal("validation", err.kind)
                assert.truthy(err.message:find(words, 1, true), err.message)
            end
            refused("9223372036854775807 is out of range for int4", "int4", greatest)
            refused("18446744073709551615 is out of range for int8", "int8", uint64(0) - 1)
            refused("element [2]: 65536 is out of range for int2", "int2[]", { 1, int64(65536) })
            refused("a number cannot be sent as bytea", "bytea", int64(1))
            refused("a cdata cannot be sent", "int8", ffi.new "int[2]")
            refused("a cdata cannot be written as JSON", "jsonb", { ffi.new "int" })
        end)

        it("is copied in", function()
            local db = open()
            assert(db:script "drop table if exists int64_spec; create table int64_spec (i int8, n numeric, j jsonb)")
            for _, format in ipairs { "text", "binary" } do
                assert(db:copy_in("int64_spec", { { greatest, greatest, { least } } }, { format = format }))
            end
            assert.equal(2, db:value([[select count(*) from int64_spec
                where i = 9223372036854775807 and n = i and j = '[-9223372036854775808]' ]]))
            assert(db:exec "drop table int64_spec")
        end)
    end)
end
